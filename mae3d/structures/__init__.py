"""The values that flow between the parts: point clouds, tokens, masks, boxes."""

"""Pictures: clouds, masks, reconstructions, curves and whole reports."""

"""Statistics of colours that published models are normalised by."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue in [0, 1] over ImageNet, as torchvision rounds them."""

"""Clouds and models that the tests of DiT-3D and of its parts share."""

import torch


def clouds(count=2, points=40, seed=0):
    return torch.randn(count, points, 3, generator=torch.Generator().manual_seed(seed))


def shaken(model, seed=0):
    """The model with no weight at its start, so that gates and heads, which start at 0, let numbers through."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()

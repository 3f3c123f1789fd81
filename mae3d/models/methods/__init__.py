"""Methods: one file per system of the literature."""

from mae3d.models.methods.masked_autoencoder import MaskedAutoencoder, MaskedPrediction
from mae3d.models.methods.point_mae import PointMAE, point_mae_base, point_mae_test, point_mae_tiny

__all__ = [
    "MaskedAutoencoder",
    "MaskedPrediction",
    "PointMAE",
    "point_mae_base",
    "point_mae_test",
    "point_mae_tiny",
]

"""Gaussian diffusion: the noising process, and the samplers that run it backwards."""

from mae3d.models.diffusion.process import Denoised, GaussianDiffusion
from mae3d.models.diffusion.samplers import SAMPLERS, Guidance, sample, timesteps
from mae3d.models.diffusion.schedules import SCHEDULES, noise_schedule

__all__ = [
    "SAMPLERS",
    "SCHEDULES",
    "Denoised",
    "GaussianDiffusion",
    "Guidance",
    "noise_schedule",
    "sample",
    "timesteps",
]

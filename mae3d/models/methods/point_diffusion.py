"""Diffusion of clouds: what training shows a network, and how clouds are drawn with it.

    cloud [B, P, 3] + noise of a random time --network--> the noise of each point, compared by the squared error

A subclass is the network. Drawing starts from noise, or from noised clouds to vary, and may keep known points.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mae3d.errors import ConfigError, DataError
from mae3d.models.building import build, evaluating
from mae3d.models.diffusion import Denoised, GaussianDiffusion, Guidance, sample
from mae3d.models.layers import TimeAndClass
from mae3d.models.masking.random import random_numbers


class Corrupted(NamedTuple):
    """A batch as training shows it to the network."""

    noisy: Tensor
    """[B, P, 3], x_t."""
    times: Tensor
    """int64 [B]."""
    noise: Tensor
    """[B, P, 3]."""
    label: Tensor
    """int64 [B], ``num_classes`` where the class is hidden."""


class PointDiffusion(BaseModel):
    """Training and sampling of a network that takes the noise off clouds.

    Args:
        diffusion: Arguments of :class:`GaussianDiffusion`.
        fixed_noise_at_zero: At time 0 take a noise that belongs to the sample's ``index``, as PVD's and DiT-3D's code
            does, instead of a fresh one.
        sampling: Arguments of :meth:`generate` that "predict" uses: ``sampler``, ``steps``, ``guidance``, ``eta``,
            ``clip``.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation.
    """

    modality = "points"
    condition: TimeAndClass
    """Embedding of times and classes, which a subclass makes."""

    def __init__(
        self,
        *,
        diffusion: Mapping[str, Any] | None = None,
        fixed_noise_at_zero: bool = False,
        sampling: Mapping[str, Any] | None = None,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(None if data_preprocessor is None else build(data_preprocessor), init_cfg)
        self.diffusion = GaussianDiffusion(**(diffusion or {}))
        self.fixed_noise_at_zero = fixed_noise_at_zero
        self.sampling = dict(sampling or {})

    @abstractmethod
    def denoise(self, noisy: Tensor, times: Tensor, label: Tensor | None = None) -> Tensor:
        """The network: noisy clouds [B, P, 3], times int64 [B] and classes [B] -> prediction [B, P, 3], float32."""

    def forward(
        self,
        points: Tensor,
        mode: Literal["tensor", "loss", "predict"] = "tensor",
        *,
        label: Tensor | None = None,
        index: Tensor | None = None,
        mean: Tensor | None = None,
        std: Tensor | None = None,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch.

        Args:
            points: [B, P, 3] clouds of unit variance.
            mode: "loss" gives the training loss; "tensor" what the network predicts for the clouds noised to random
                times; "predict" one generated cloud per sample, of its class and its number of points: dicts of
                ``sample`` and ``reference`` [P, 3] (and ``label``).
            label: int64 [B]; None: no class.
            index: int64 [B], number of each sample in its data set.
            mean: [B, 3], with ``std`` what "predict" gives its clouds back in the units of the files with.
            std: [B].
            generator: Source of all randomness; None: the global RNG of the device.
            **options: Passed to :meth:`compute_loss` ("loss"); further fields of the batch are not used.
        """
        if mode == "loss":
            return self.compute_loss(points, label, index, generator, **options)
        if mode == "tensor":
            seen = self.corrupt(points, label, index, generator)
            return self.denoise(seen.noisy, seen.times, seen.label)
        if mode == "predict":
            clouds = self.generate(len(points), points.shape[1], label=label, generator=generator, **self.sampling)
            if mean is not None and std is not None:
                clouds, points = (x * std[:, None, None] + mean[:, None] for x in (clouds, points))
            rows = [{"sample": cloud, "reference": own} for cloud, own in zip(clouds, points)]
            return rows if label is None else [{**row, "label": own} for row, own in zip(rows, label)]
        raise ValueError(f'mode must be "tensor", "loss" or "predict", got {mode!r}')

    def compute_loss(
        self,
        points: Tensor,
        label: Tensor | None = None,
        index: Tensor | None = None,
        generator: torch.Generator | None = None,
        **_: Any,
    ) -> dict[str, Tensor]:
        """Mean squared error over points and samples."""
        seen = self.corrupt(points, label, index, generator)
        output = self.denoise(seen.noisy, seen.times, seen.label)
        target = self.diffusion.target(points, seen.times, seen.noise)
        return {"loss": (output - target).square().mean()}

    def corrupt(
        self,
        points: Tensor,
        label: Tensor | None = None,
        index: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Corrupted:
        """Noise a batch at random times; in training mode hide some classes."""
        if points.dim() != 3 or points.shape[2] != 3 or points.shape[1] == 0:
            raise DataError(f"points must be [B, P, 3] with at least one point in each cloud, got {list(points.shape)}")
        label = self.condition.check(label, len(points), points.device)
        draws = random_numbers((2, len(points)), points.device, generator)
        times = (draws[0] * self.diffusion.steps).long().clamp(max=self.diffusion.steps - 1)
        if self.training:
            label = self.condition.drop(label, draws[1])
        source = points.device if generator is None else generator.device
        noise = torch.randn(points.shape, generator=generator, device=source).to(points.device)
        if self.fixed_noise_at_zero:
            noise = self._fix_noise(noise, times, index)
        return Corrupted(self.diffusion.add_noise(points, times, noise), times, noise, label)

    @staticmethod
    def _fix_noise(noise: Tensor, times: Tensor, index: Tensor | None) -> Tensor:
        if index is None:
            raise DataError("fixed_noise_at_zero needs the index of each sample; the data set must give it")
        for row in (times == 0).nonzero().flatten().tolist():
            own = torch.Generator().manual_seed(int(index[row]))
            noise[row] = torch.randn(noise.shape[1:], generator=own).to(noise)
        return noise

    @torch.no_grad()
    def generate(
        self,
        count: int,
        num_points: int = 2048,
        *,
        label: Tensor | None = None,
        sampler: str = "ddpm",
        steps: int | None = None,
        guidance: float = 1.0,
        eta: float | None = None,
        clip: float | None = None,
        known: Tensor | None = None,
        edit: Tensor | None = None,
        strength: float = 0.5,
        generator: torch.Generator | None = None,
        watch: Callable[[int, Tensor, Denoised], None] | None = None,
    ) -> Tensor:
        """Draw clouds, in eval mode.

        Args:
            count: Number of clouds B.
            num_points: Points P of each.
            label: int64 [B], class of each; None: no class.
            sampler: "ddpm" (published, all steps), "ddim" or "dpm-solver++".
            steps: Times visited, None for all.
            guidance: Classifier-free guidance; 1 for none.
            eta: Fresh noise of "ddim".
            clip: Bound of the coordinates of every clean estimate; None, as published, for no bound.
            known: [B, K, 3] with K < P: partial clouds to complete, in the units of training. They are the first K
                points of the result.
            edit: [B, P, 3] clouds to vary instead of starting from noise (SDEdit, Meng et al. 2022).
            strength: How far ``edit`` is noised, in (0, 1]; 1 forgets it.
            generator: Source of all randomness; None: the global RNG of the device.
            watch: See :func:`mae3d.models.diffusion.sample`.

        Returns:
            float32 [B, P, 3] in the units of training.

        Raises:
            ConfigError: Impossible settings.
            DataError: Labels, known or edited clouds that do not fit.
        """
        self._check_request(count, num_points, known, edit, strength)
        device = self.diffusion.signal.device
        label = self.condition.check(None if label is None else label.to(device), count, device)
        source = device if generator is None else generator.device
        start = torch.randn((count, num_points, 3), generator=generator, device=source).to(device)
        start_time = None
        if edit is not None:
            start_time = max(0, round(strength * self.diffusion.steps) - 1)
            start = self.diffusion.add_noise(edit.to(device), torch.full((count,), start_time, device=device), start)
        nothing = torch.full_like(label, self.condition.num_classes)
        denoiser = Guidance(
            lambda noisy, times: self.denoise(noisy, times, label),
            lambda noisy, times: self.denoise(noisy, times, torch.cat((label, nothing))),
            guidance,
        )
        with evaluating(self):
            return sample(
                denoiser,
                self.diffusion,
                start,
                sampler=sampler,
                steps=steps,
                start_time=start_time,
                eta=eta,
                clip=clip,
                known=None if known is None else known.to(device),
                generator=generator,
                watch=watch,
            )

    def _check_request(
        self, count: int, num_points: int, known: Tensor | None, edit: Tensor | None, strength: float
    ) -> None:
        name = type(self).__name__
        if count < 1 or num_points < 1:
            raise ConfigError(f"{name}.generate: count and num_points must be at least 1, got {count}, {num_points}")
        if known is not None and (known.dim() != 3 or len(known) != count or not 0 < known.shape[1] < num_points):
            raise DataError(
                f"{name}.generate: known must be [{count}, K, 3] with 0 < K < num_points {num_points}, got "
                f"{list(known.shape)}; take fewer known points or ask for more"
            )
        if edit is not None and tuple(edit.shape) != (count, num_points, 3):
            raise DataError(f"{name}.generate: edit must be [{count}, {num_points}, 3], got {list(edit.shape)}")
        if edit is not None and not 0 < strength <= 1:
            raise ConfigError(f"{name}.generate: strength must be in (0, 1], got {strength}")

"""DiT-3D: Exploring Plain Diffusion Transformers for 3D Shape Generation (Mo et al., NeurIPS 2023, arXiv 2307.01831).

    cloud [B, 2048, 3] + noise of a random time --voxel means--> grid [B, 3, 32, 32, 32]
    patches of 4^3 voxels --linear, fixed positions--> 512 tokens [B, 512, 384]
    time and class --embedding--> condition that shifts, scales and gates every block
    12 blocks --modulated linear--> grid, read at the points by trilinear interpolation --> the noise of each point
    mean squared error; a fresh model predicts 0

Sampling starts from noise and follows the process backwards; see :mod:`mae3d.models.diffusion`.

Deviations from the official code: the paper's window attention never runs there (its block numbers are parsed into
characters) and is off here; a noise fixed per shape for time 0 is a switch, ``fixed_noise_at_zero``, off by default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mae3d.errors import ConfigError, DataError
from mae3d.models.backbones import DiT
from mae3d.models.building import build, evaluating
from mae3d.models.diffusion import Denoised, GaussianDiffusion, Guidance, sample
from mae3d.models.layers import AdaptiveHead, TimeAndClass
from mae3d.models.masking.random import random_numbers
from mae3d.models.tokenizers import GridPatches, GridPatchTokenizer
from mae3d.registry import MODELS

SIZES: dict[str, dict[str, int]] = {
    "s": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "b": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "l": {"embed_dim": 1152, "depth": 24, "num_heads": 16},
    "xl": {"embed_dim": 1152, "depth": 28, "num_heads": 16},
}
"""Name -> published size."""


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


@MODELS.register_module()
class DiT3D(BaseModel):
    """DiT-3D with the hyper-parameters of S/4 as defaults.

    Args:
        resolution: Voxels R along each axis.
        patch_size: Voxels p of a patch along each axis; divides R.
        embed_dim: Width C.
        depth: Number of blocks.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLPs over C.
        num_classes: Number of classes; 0 for a model without.
        label_dropout: Probability with which training hides the class, as guidance needs it.
        diffusion: Arguments of :class:`GaussianDiffusion`.
        fixed_noise_at_zero: At time 0 take a noise that belongs to the sample's ``index``, as PVD's and DiT-3D's code
            does, instead of a fresh one.
        sampling: Arguments of :meth:`generate` that "predict" uses: ``sampler``, ``steps``, ``guidance``, ``eta``,
            ``clip``.
        encoder_options: Further arguments of :class:`DiT`; ``window_blocks=(0, 3, 6, 9)`` is the paper's window
            attention.
        gradient_checkpointing: Recompute blocks in the backward pass.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation.
    """

    modality = "points"

    def __init__(
        self,
        *,
        resolution: int = 32,
        patch_size: int = 4,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
        num_classes: int = 1,
        label_dropout: float = 0.1,
        diffusion: Mapping[str, Any] | None = None,
        fixed_noise_at_zero: bool = False,
        sampling: Mapping[str, Any] | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(None if data_preprocessor is None else build(data_preprocessor), init_cfg)
        self.tokenizer = GridPatchTokenizer(resolution, patch_size, embed_dim)
        self.condition = TimeAndClass(embed_dim, num_classes, label_dropout)
        self.encoder = DiT(
            embed_dim,
            depth,
            num_heads,
            mlp_ratio=mlp_ratio,
            grid=self.tokenizer.grid,
            gradient_checkpointing=gradient_checkpointing,
            **(encoder_options or {}),
        )
        self.head = AdaptiveHead(embed_dim, embed_dim, 3 * patch_size**3)
        self.diffusion = GaussianDiffusion(**(diffusion or {}))
        self.fixed_noise_at_zero = fixed_noise_at_zero
        self.sampling = dict(sampling or {})

    @property
    def tokens_per_sample(self) -> int:
        """Tokens of one cloud, for the throughput."""
        return self.tokenizer.num_tokens

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

    def denoise(self, noisy: Tensor, times: Tensor, label: Tensor | None = None) -> Tensor:
        """The network: noisy clouds [B, P, 3], times int64 [B] and classes [B] -> prediction [B, P, 3], float32."""
        label = self.condition.check(label, len(noisy), noisy.device)
        patches = self.tokenizer(noisy)
        condition = self.condition(times, label)
        tokens = self.encoder(self.tokenizer.embed(patches.content) + self.tokenizer.position, condition).tokens
        return self.predict(tokens, condition, patches)

    def predict(self, tokens: Tensor, condition: Tensor, patches: GridPatches) -> Tensor:
        """Features of all tokens [B, N, C] -> prediction at the points [B, P, 3]."""
        return self.tokenizer.to_points(self.head(tokens, condition), patches.coordinates)

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
        device = self.tokenizer.position.device
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

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Layer of a parameter and number of layers: embeddings, one per block of the encoder, the rest."""
        total = self.encoder.depth + 2
        if name.startswith(("tokenizer.", "condition.")):
            return 0, total
        if name.startswith("encoder.blocks."):
            return int(name.split(".")[2]) + 1, total
        return total - 1, total


@MODELS.register_module()
def dit3d_s(**overrides: Any) -> DiT3D:
    """DiT-3D-S: 32.8 M parameters at p = 4, R = 32, one class."""
    return DiT3D(**{**SIZES["s"], **overrides})


@MODELS.register_module()
def dit3d_b(**overrides: Any) -> DiT3D:
    """DiT-3D-B: width 768, 12 blocks."""
    return DiT3D(**{**SIZES["b"], **overrides})


@MODELS.register_module()
def dit3d_l(**overrides: Any) -> DiT3D:
    """DiT-3D-L: width 1152, 24 blocks."""
    return DiT3D(**{**SIZES["l"], **overrides})


@MODELS.register_module()
def dit3d_xl(**overrides: Any) -> DiT3D:
    """DiT-3D-XL: width 1152, 28 blocks."""
    return DiT3D(**{**SIZES["xl"], **overrides})


TEST_SIZE: dict[str, Any] = {
    "resolution": 8,
    "patch_size": 2,
    "embed_dim": 48,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 4,
    "sampling": {"sampler": "ddim", "steps": 2},
}
"""The smallest model with every mechanism in it."""


@MODELS.register_module()
def dit3d_test(**overrides: Any) -> DiT3D:
    """For tests."""
    return DiT3D(**{**TEST_SIZE, **overrides})

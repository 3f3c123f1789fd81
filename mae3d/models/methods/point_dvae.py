"""The discrete tokenizer of Point-BERT, a variational autoencoder of point patches (arXiv 2111.14819, section 3.2).

    cloud [B, 1024, 3] --FPS + kNN--> 64 patches of 32 points --mini-PointNet--> [B, 64, 256]
    --DGCNN over the centres--> scores of 8192 codes --Gumbel softmax--> weights --codebook--> [B, 64, 256]
    --DGCNN--> features --folding--> 8 coarse points and 32 points of each patch
    Chamfer distance (l1) of both to the patch + w * KL(uniform || mean of a cloud's code distributions)

The temperature falls from 1 to 1/16 by a cosine; w stays 0 for a while, then rises to 0.1 by a cosine, both over
numbers of training batches.

Official code followed where the paper differs: the direction of the divergence, which the paper has the other way. The
official one takes the logarithm of a mean of probabilities, -inf where they underflow; here it is a log-sum-exp, with
equal values elsewhere. Codes are the largest scores; the official validation still draws noise, as
:meth:`PointDVAE.reconstruct` does with ``noise=True``.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.models.backbones import DGCNN
from mae3d.models.building import build, evaluating
from mae3d.models.decoders import FoldingDecoder, PatchPoints
from mae3d.models.losses import ChamferLoss
from mae3d.models.methods.masked_autoencoder import Pooling, encoder_layer_depth, pool
from mae3d.models.tokenizers import PointPatchTokenizer
from mae3d.registry import MODELS
from mae3d.structures import Reconstruction, Tokens


@MODELS.register_module()
class PointDVAE(BaseModel):
    """Point patches to codes and back, with the paper's hyper-parameters as defaults.

    Args:
        num_groups: Patches per cloud G.
        group_size: Points per patch K, a multiple of 4.
        embed_dim: Width C of patches, of codebook and of what is decoded.
        num_codes: Size of the codebook V.
        graph_dim: See :class:`DGCNN`.
        neighbours: See :class:`DGCNN`.
        decoder_dim: Width of the decoder's MLPs: this for the coarse points, half of it for the folding.
        temperature: First and last temperature of the Gumbel softmax.
        temperature_steps: Training batches in which it gets there.
        divergence_weight: Last weight of the divergence.
        divergence_start: Training batches without it.
        divergence_steps: Training batches after those in which its weight rises.
        skip_near_origin: See :func:`mae3d.models.tokenizers.cut_patches`.
        pooling: Of :meth:`extract_features`.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation.

    Raises:
        ConfigError: A temperature that is not positive, or no steps.
    """

    modality = "points"

    def __init__(
        self,
        *,
        num_groups: int = 64,
        group_size: int = 32,
        embed_dim: int = 256,
        num_codes: int = 8192,
        graph_dim: int = 128,
        neighbours: int = 4,
        decoder_dim: int = 1024,
        temperature: tuple[float, float] = (1.0, 0.0625),
        temperature_steps: int = 100_000,
        divergence_weight: float = 0.1,
        divergence_start: int = 10_000,
        divergence_steps: int = 100_000,
        skip_near_origin: float | None = 1e-3,
        pooling: Pooling = "max_mean",
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(None if data_preprocessor is None else build(data_preprocessor), init_cfg)
        if min(temperature) <= 0 or temperature_steps < 1 or divergence_steps < 1:
            raise ConfigError(
                f"PointDVAE: temperature must be positive and steps at least 1, got {tuple(temperature)}, "
                f"{temperature_steps} and {divergence_steps}"
            )
        self.tokenizer = PointPatchTokenizer(
            num_groups, group_size, embed_dim, skip_near_origin=skip_near_origin, initialization="default"
        )
        self.encoder = DGCNN(embed_dim, num_codes, graph_dim, neighbours)
        self.codebook = nn.Parameter(torch.randn(num_codes, embed_dim))
        self.graph = DGCNN(embed_dim, embed_dim, graph_dim, neighbours)
        self.decoder = FoldingDecoder(embed_dim, group_size, decoder_dim, decoder_dim // 2)
        self.loss = ChamferLoss("cdl1")
        self.temperature, self.temperature_steps = tuple(temperature), temperature_steps
        self.divergence_weight = divergence_weight
        self.divergence_start, self.divergence_steps = divergence_start, divergence_steps
        self.pooling = pooling
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    @property
    def num_codes(self) -> int:
        """V."""
        return len(self.codebook)

    def forward(
        self,
        points: Tensor,
        mode: Literal["tensor", "loss", "predict"] = "tensor",
        *,
        label: Tensor | None = None,
        generator: torch.Generator | None = None,
        **annotations: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch.

        Args:
            points: [B, N, 3 or more].
            mode: "tensor" gives the points [B, G, K, 3] of patches decoded from their codes, relative to the centres;
                "loss" the training losses; "predict" one dict per sample with its pooled ``features`` (and ``label``).
            label: int64 [B], passed through by "predict".
            generator: Source of the Gumbel noise of "loss"; None: the global RNG of the device.
            **annotations: Further fields of the batch, not used.
        """
        if mode == "tensor":
            tokens = self.tokenizer(points)
            return self.decode(self.assign(self.scores(tokens), hard=True), tokens.coordinates).fine
        if mode == "loss":
            return self.compute_loss(points, generator)
        if mode == "predict":
            features = self.extract_features(points)
            if label is None:
                return [{"features": row} for row in features]
            return [{"features": row, "label": own} for row, own in zip(features, label)]
        raise ValueError(f'mode must be "tensor", "loss" or "predict", got {mode!r}')

    def compute_loss(self, points: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Losses of one batch, temperature and the number of codes in use; in training the batch is counted."""
        tokens = self.tokenizer(points)
        scores = self.scores(tokens)
        temperature, weight = self.schedule()
        noise = gumbel_noise(scores, generator)
        decoded = self.decode(self.assign(scores, temperature, noise), tokens.coordinates)
        if self.training:
            self.batches += 1
        return {
            "loss_coarse": self.loss(decoded.coarse, tokens.content),
            "loss_fine": self.loss(decoded.fine, tokens.content),
            "loss_divergence": weight * divergence_from_uniform(scores),
            "temperature": temperature,
            "codes_used": torch.zeros_like(scores[0, 0]).index_fill(0, scores.argmax(dim=-1).flatten(), 1.0).sum(),
        }

    def schedule(self) -> tuple[Tensor, Tensor]:
        """Temperature and weight of the divergence at the present number of batches, scalars."""
        first, last = self.temperature
        done = self.batches.float()
        temperature = last + (first - last) * falling_cosine(done / self.temperature_steps)
        rising = 1 - falling_cosine((done - self.divergence_start) / self.divergence_steps)
        return temperature, self.divergence_weight * rising

    def scores(self, tokens: Tokens) -> Tensor:
        """Scores of the codes for every patch [B, G, V], at least in float32."""
        scores = self.encoder(tokens.features, tokens.coordinates)
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    def assign(
        self, scores: Tensor, temperature: Tensor | float = 1.0, noise: Tensor | None = None, *, hard: bool = False
    ) -> Tensor:
        """Weights of the codes [B, G, V]: a softmax of (scores + noise) / temperature, or 1 for the largest."""
        noisy = scores if noise is None else scores + noise
        if hard:
            return torch.zeros_like(noisy).scatter(-1, noisy.argmax(dim=-1, keepdim=True), 1.0)
        return (noisy / temperature).softmax(dim=-1)

    def features(self, weights: Tensor, centers: Tensor) -> Tensor:
        """What is decoded, [B, G, C]: the codebook by ``weights`` [B, G, V], then the graph over ``centers``."""
        return self.graph(weights.to(self.codebook.dtype) @ self.codebook, centers)

    def decode(self, weights: Tensor, centers: Tensor) -> PatchPoints:
        """Points of patches whose codes have ``weights`` [B, G, V], around ``centers`` [B, G, 3]."""
        return self.decoder(self.features(weights, centers))

    @torch.no_grad()
    def codes(self, patches: Tensor, centers: Tensor) -> Tensor:
        """The code of every patch, int64 [B, G], of patches [B, G, K, 3] around ``centers`` [B, G, 3]."""
        return self.scores(self.tokenizer.embed_patches(patches, centers)).argmax(dim=-1)

    @torch.no_grad()
    def decode_codes(self, codes: Tensor, centers: Tensor) -> Tensor:
        """Points [B, G, K, 3] of patches with ``codes`` int64 [B, G], relative to ``centers``, in eval mode."""
        with evaluating(self):
            return self.decode(F.one_hot(codes, self.num_codes).float(), centers).fine

    @torch.no_grad()
    def extract_features(self, points: Tensor, pooling: Pooling | None = None) -> Tensor:
        """Feature of every sample for probes [B, D]: of what is decoded, in eval mode, pooled over the patches."""
        with evaluating(self):
            tokens = self.tokenizer(points)
            features = self.features(self.assign(self.scores(tokens), hard=True), tokens.coordinates)
        return pool(features, pooling or self.pooling)

    @torch.no_grad()
    def reconstruct(
        self, points: Tensor, generator: torch.Generator | None = None, *, noise: bool = False
    ) -> Reconstruction:
        """Clouds for pictures: the input, the centres of its patches, and the points decoded from their codes.

        Args:
            points: [B, N, 3 or more].
            generator: Source of the noise.
            noise: Draw codes by their probabilities, as the official validation does, instead of the likeliest.
        """
        with evaluating(self):
            tokens = self.tokenizer(points)
            scores = self.scores(tokens)
            drawn = gumbel_noise(scores, generator) if noise else None
            decoded = self.decode(self.assign(scores, noise=drawn, hard=True), tokens.coordinates).fine
        centers = tokens.coordinates
        return Reconstruction(points[..., :3], centers, (decoded + centers.unsqueeze(2)).flatten(1, 2))

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Layer of a parameter and number of layers, see :meth:`MaskedAutoencoder.get_layer_depth`."""
        return encoder_layer_depth(name, self.encoder.depth)


def gumbel_noise(scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Independent draws of the standard Gumbel distribution in the shape of ``scores``."""
    device = scores.device if generator is None else generator.device
    draws = torch.empty(scores.shape, dtype=scores.dtype, device=device).exponential_(generator=generator)
    return -draws.log().to(scores.device)


def divergence_from_uniform(scores: Tensor) -> Tensor:
    """KL(uniform || p), p the mean of a cloud's code distributions softmax(scores [B, G, V]); mean over the clouds."""
    num_groups, num_codes = scores.shape[1:]
    log_mean = scores.log_softmax(dim=-1).logsumexp(dim=1) - math.log(num_groups)  # [B, V]
    return -(log_mean.mean(dim=-1) + math.log(num_codes)).mean()


def falling_cosine(progress: Tensor) -> Tensor:
    """1 up to ``progress`` 0, half a cosine, 0 from 1 on."""
    return (1 + torch.cos(math.pi * progress.clamp(0, 1))) / 2


@MODELS.register_module()
def point_dvae_base(**overrides: Any) -> PointDVAE:
    """The published tokenizer: 27.6 M parameters."""
    return PointDVAE(**overrides)


@MODELS.register_module()
def point_dvae_tiny(**overrides: Any) -> PointDVAE:
    """128 codes for 32 patches of 16 points: trains on a CPU."""
    small = {"num_groups": 32, "group_size": 16, "embed_dim": 96, "num_codes": 128, "graph_dim": 32}
    return PointDVAE(**{**small, "decoder_dim": 256, **overrides})


@MODELS.register_module()
def point_dvae_test(**overrides: Any) -> PointDVAE:
    """The smallest model with every mechanism in it, for tests."""
    small = {"num_groups": 16, "group_size": 8, "embed_dim": 32, "num_codes": 24, "graph_dim": 8}
    return PointDVAE(**{**small, "decoder_dim": 32, **overrides})

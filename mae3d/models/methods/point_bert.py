"""Point-BERT: Pre-training 3D Point Cloud Transformers with Masked Point Modeling (Yu et al., CVPR 2022, arXiv
2111.14819).

    cloud [B, 1024, 3] --FPS + kNN--> 64 patches of 32 points --frozen dVAE--> one of 8192 codes each
    patches --mini-PointNet, linear--> tokens [B, 64, 384]; a block of 16 to 28 replaced by a mask token
    class token | all tokens, centre positions added before every block --12 blocks--> latents
    latents of hidden tokens --linear--> scores of the codes (cross entropy)
    the same of mixed clouds: every patch of sample b kept with a probability drawn for b, else taken from sample B-1-b
    class latents --MLP--> unit vectors, contrasted with those of a slow copy of the network and a queue of past ones

Differs from Point-MAE in: codes as targets, an encoder that takes mask tokens in, no decoder, another number of hidden
tokens in each sample, mixed clouds and a contrastive term. The mini-PointNet starts from that of the dVAE.

Official code followed: of the two contrastive terms that the paper describes, the released config trains with that of
mixed clouds alone, the default here (``losses`` takes the other in). The slow copy trains in its own mode, with its own
BatchNorm statistics and masks. Officially the frozen dVAE is in training mode during pre-training, so that its codes
depend on the batch and its BatchNorm drifts; here it is not (``frozen_statistics=False`` gives that behaviour).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.models.building import evaluating
from mae3d.models.layers import MaskToken, initialize
from mae3d.models.losses import KeyQueue
from mae3d.models.masking import RaggedMasking
from mae3d.models.masking.random import random_numbers
from mae3d.models.methods.masked_autoencoder import MaskedAutoencoder, MaskedPrediction, Pooling
from mae3d.models.methods.point_dvae import point_dvae_base, point_dvae_test, point_dvae_tiny
from mae3d.models.methods.point_mae import encoder_parts
from mae3d.models.targets import EmaTeacher, PointCodeTarget
from mae3d.registry import MODELS
from mae3d.structures import RaggedMask, Reconstruction, Tokens

TERMS = ("codes", "contrast", "mixed_contrast")
PARTS = ("tokenizer", "position_embedding", "mask_token", "encoder", "prediction", "contrast")
"""What the slow copy has a copy of."""


@MODELS.register_module()
class PointBERT(MaskedAutoencoder):
    """Point-BERT with the paper's hyper-parameters as defaults.

    Args:
        dvae: The trained tokenizer, a :class:`PointDVAE` or its config; it has the same patches.
        num_groups: Patches per cloud G.
        group_size: Points per patch K.
        patch_dim: Width of the mini-PointNet's output, that of the dVAE.
        mask_ratio: Lowest and highest share of hidden patches.
        masking: "block" or "random", see :class:`RaggedMasking`.
        replacement: See :class:`RaggedMasking`.
        embed_dim: Width C.
        depth: Blocks.
        num_heads: Attention heads.
        drop_path: Rate at the last block, rising linearly from 0.
        losses: Terms, which are summed: "codes" (plain and mixed clouds), "contrast" (a cloud with the slow copy's view
            of it) and "mixed_contrast" (a mixed cloud with both of its sources).
        predicted: Codes of "masked" tokens (and replaced ones), or of "all".
        contrast_dim: Length of the vectors that are contrasted.
        queue_length: Vectors of past batches, a multiple of the batch size over all processes.
        contrast_temperature: Divides similarities.
        momentum: Share of its weights that the slow copy keeps in a step.
        frozen_statistics: See :class:`PointCodeTarget`.
        skip_near_origin: See :func:`mae3d.models.tokenizers.cut_patches`.
        pooling: Of :meth:`extract_features`.
        gradient_checkpointing: Recompute blocks in the backward pass.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation, usually a file of the whole model.

    Without a contrastive term or without "codes" the head of the other gets no gradient, so that several processes need
    ``find_unused_parameters=True``.

    Raises:
        ConfigError: Unknown or no terms, unknown ``predicted``, or a dVAE of other patches.
    """

    def __init__(
        self,
        dvae: nn.Module | dict,
        *,
        num_groups: int = 64,
        group_size: int = 32,
        patch_dim: int = 256,
        mask_ratio: tuple[float, float] = (0.25, 0.45),
        masking: Literal["block", "random"] = "block",
        replacement: float = 0.0,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        drop_path: float = 0.1,
        losses: Sequence[str] = ("codes", "mixed_contrast"),
        predicted: Literal["masked", "all"] = "masked",
        contrast_dim: int = 512,
        queue_length: int = 16384,
        contrast_temperature: float = 0.07,
        momentum: float = 0.999,
        frozen_statistics: bool = True,
        skip_near_origin: float | None = 1e-3,
        pooling: Pooling | Literal["contrast"] = "contrast",
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if not losses or set(losses) - set(TERMS):
            raise ConfigError(f"PointBERT: losses must be some of {TERMS}, got {tuple(losses)}")
        if predicted not in ("masked", "all"):
            raise ConfigError(f'PointBERT: predicted must be "masked" or "all", got {predicted!r}')
        super().__init__(
            **encoder_parts(
                num_groups=num_groups,
                group_size=group_size,
                embed_dim=embed_dim,
                depth=depth,
                num_heads=num_heads,
                drop_path=drop_path,
                skip_near_origin=skip_near_origin,
                gradient_checkpointing=gradient_checkpointing,
                class_token=True,
                patch_dim=patch_dim,
            ),
            masking=RaggedMasking(mask_ratio, masking, replacement),
            decoder=None,
            target=PointCodeTarget(dvae, frozen_statistics=frozen_statistics),
            loss=nn.CrossEntropyLoss(reduction="sum"),  # then divided, since there may be nothing to predict
            pooling=pooling,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.mask_token = MaskToken(embed_dim)
        self.contrast = nn.Sequential(
            nn.Linear(embed_dim, contrast_dim), nn.GELU(), nn.Linear(contrast_dim, contrast_dim)
        )
        initialize(self.prediction, "trunc_normal")
        initialize(self.contrast, "trunc_normal")
        self.terms = tuple(losses)
        self.predicted = predicted
        self.queue = KeyQueue(contrast_dim, queue_length, contrast_temperature)
        self._start_from_dvae()
        self.teacher = EmaTeacher(self.student_parts(), momentum, own_statistics=True)

    def student_parts(self) -> nn.ModuleDict:
        """What the slow copy follows."""
        return nn.ModuleDict({part: getattr(self, part) for part in PARTS})

    def init_weights(self) -> None:
        """Load the dVAE, start patch embedding and slow copy from it; a file of the whole model has the last word."""
        self.target.init_weights()
        self._start_from_dvae()
        self.teacher.reset(self.student_parts())
        super().init_weights()

    def _start_from_dvae(self) -> None:
        trained, own = self.target.dvae.tokenizer, self.tokenizer
        found, wanted = (trained.group_size, trained.embed_dim), (own.group_size, own.projection.in_features)
        if found != wanted:
            raise ConfigError(f"PointBERT: group_size and patch_dim are {wanted}, those of the dVAE {found}")
        own.embedding.load_state_dict(trained.embedding.state_dict())

    def compute_loss(
        self, inputs: Tensor, mask: RaggedMask | None = None, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Losses of one batch; in training the slow copy follows and its vectors join the queue.

        Drawn from ``generator`` in this order: the mask, unless it is given, the share of its own patches that each
        mixed cloud keeps, which ones, the mixture's mask and the slow copy's.
        """
        tokens = self.tokenizer(inputs)
        codes = self.target(tokens)
        mask = self.masking(tokens, generator) if mask is None else mask
        share = random_numbers((len(codes), 1), codes.device, generator)
        kept = random_numbers(tuple(codes.shape), codes.device, generator) < share  # [B, G]
        mixed, mixed_codes = self.mix(tokens, codes, kept)
        mixed_mask = self.masking(mixed, generator)
        key_mask = self.masking(tokens, generator)

        latents = self.encode(tokens, mask)
        mixed_latents = self.encode(mixed, mixed_mask)
        if self.training:
            self.teacher.update(self.student_parts())
        keys = self.view_keys(tokens, key_mask)
        losses = {}
        if "codes" in self.terms:
            losses["loss_codes"] = self.code_loss(*self.predict_codes(latents, codes, mask))
            losses["loss_mixed_codes"] = self.code_loss(*self.predict_codes(mixed_latents, mixed_codes, mixed_mask))
        if "contrast" in self.terms:
            losses["loss_contrast"] = self.queue.contrast(contrast_vectors(self, latents), keys)
        if "mixed_contrast" in self.terms:
            queries = contrast_vectors(self, mixed_latents)
            losses["loss_mixed_contrast"] = self.queue.mixed_contrast(queries, keys, share.squeeze(1))
        if self.training:
            self.queue.push(keys)
        return losses

    def mix(self, tokens: Tokens, codes: Tensor, kept: Tensor) -> tuple[Tokens, Tensor]:
        """Tokens and codes [B, G] of samples b whose patches that are not ``kept`` [B, G] come from B - 1 - b."""
        patches = torch.where(kept[..., None, None], tokens.content, tokens.content.flip(0))
        centers = torch.where(kept[..., None], tokens.coordinates, tokens.coordinates.flip(0))
        return self.tokenizer.embed_patches(patches, centers), torch.where(kept, codes, codes.flip(0))

    def encode(self, tokens: Tokens, mask: RaggedMask | None = None) -> Tensor:
        """Latents of the class token and all others [B, 1 + G, C], hidden ones behind the mask token."""
        return encode(self, tokens, mask)

    def predict_codes(self, latents: Tensor, codes: Tensor, mask: RaggedMask) -> tuple[Tensor, Tensor]:
        """Scores [asked, V], at least in float32, and codes [asked] of the tokens that are asked about."""
        rows = latents[:, 1:]
        asked = mask.asked if self.predicted == "masked" else torch.ones_like(mask.masked)
        scores = self.prediction(rows[asked])
        return scores.to(torch.promote_types(scores.dtype, torch.float32)), codes[asked]

    def code_loss(self, scores: Tensor, codes: Tensor) -> Tensor:
        """Mean cross entropy of scores [asked, V] and codes [asked], 0 of none."""
        return self.loss(scores, codes) / max(len(codes), 1)

    @torch.no_grad()
    def view_keys(self, tokens: Tokens, mask: RaggedMask) -> Tensor:
        """Unit vectors [B, D] that the slow copy gives of clouds whose patches are those of ``tokens``."""
        copy = self.teacher.model
        own = copy.tokenizer.embed_patches(tokens.content, tokens.coordinates)
        return contrast_vectors(copy, encode(copy, own, mask))

    def predict_masked(
        self, inputs: Tensor, mask: RaggedMask | None = None, generator: torch.Generator | None = None
    ) -> MaskedPrediction:
        """Hide tokens and predict their codes: scores [asked, V] and codes int64 [asked]."""
        tokens = self.tokenizer(inputs)
        mask = self.masking(tokens, generator) if mask is None else mask
        scores, codes = self.predict_codes(self.encode(tokens, mask), self.target(tokens), mask)
        return MaskedPrediction(scores, codes, mask, tokens)

    @torch.no_grad()
    def extract_features(self, inputs: Tensor, pooling: Pooling | Literal["contrast"] | None = None) -> Tensor:
        """Feature of every sample [B, D], see :class:`MaskedAutoencoder`; "contrast": the vector that is contrasted.

        That vector is not normalised here, as in the official linear SVM.
        """
        pooling = pooling or self.pooling
        if pooling != "contrast":
            return super().extract_features(inputs, pooling)
        with evaluating(self):
            return self.contrast(self.encode(self.tokenizer(inputs))[:, 0])

    @torch.no_grad()
    def reconstruct(
        self, inputs: Tensor, mask: RaggedMask | None = None, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """For pictures: the input, visible patches, and what the dVAE makes of the codes predicted for the others."""
        with evaluating(self):
            tokens = self.tokenizer(inputs)
            mask = self.masking(tokens, generator) if mask is None else mask
            predicted = self.prediction(self.encode(tokens, mask)[:, 1:]).argmax(dim=-1)
            codes = torch.where(mask.masked, predicted, self.target(tokens))
        centers = tokens.coordinates.unsqueeze(2)
        visible = tokens.content + centers
        decoded = self.target.dvae.decode_codes(codes, tokens.coordinates) + centers
        return Reconstruction(
            inputs[..., :3],
            [cloud[~hidden].flatten(0, 1) for cloud, hidden in zip(visible, mask.masked)],
            [cloud[hidden].flatten(0, 1) for cloud, hidden in zip(decoded, mask.masked)],
        )


def encode(parts: nn.Module, tokens: Tokens, mask: RaggedMask | None) -> Tensor:
    """Latents of all tokens by the network ``parts`` or its slow copy, see :meth:`PointBERT.encode`."""
    features = tokens.features if mask is None else parts.mask_token(tokens.features, mask)
    return parts.encoder(features, parts.position_embedding(tokens.coordinates))


def contrast_vectors(parts: nn.Module, latents: Tensor) -> Tensor:
    """Unit vectors [B, D] of class latents, at least in float32."""
    vectors = parts.contrast(latents[:, 0])
    return F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=1)


@MODELS.register_module()
def point_bert_base(dvae: nn.Module | dict | None = None, **overrides: Any) -> PointBERT:
    """The published model; without a ``dvae`` it has an untrained one, to be filled from a file."""
    return PointBERT(point_dvae_base() if dvae is None else dvae, **overrides)


@MODELS.register_module()
def point_bert_tiny(dvae: nn.Module | dict | None = None, **overrides: Any) -> PointBERT:
    """Width 96 and 4 blocks over the patches of ``point_dvae_tiny``: trains on a CPU."""
    small = {"num_groups": 32, "group_size": 16, "patch_dim": 96, "embed_dim": 96, "depth": 4, "num_heads": 3}
    small |= {"drop_path": 0.0, "contrast_dim": 64, "queue_length": 512}
    return PointBERT(point_dvae_tiny() if dvae is None else dvae, **{**small, **overrides})


@MODELS.register_module()
def point_bert_test(dvae: nn.Module | dict | None = None, **overrides: Any) -> PointBERT:
    """The smallest model with every mechanism in it, for tests."""
    small = {"num_groups": 16, "group_size": 8, "patch_dim": 32, "embed_dim": 32, "depth": 3, "num_heads": 2}
    small |= {"contrast_dim": 16, "queue_length": 16, "contrast_temperature": 1.0, "replacement": 0.1}
    return PointBERT(point_dvae_test() if dvae is None else dvae, **{**small, **overrides})

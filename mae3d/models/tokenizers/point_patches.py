"""Point patches: neighbourhoods around far-apart centres, each embedded by a small PointNet.

Source: Point-BERT (arXiv 2111.14819, section 3.1) and Point-MAE (arXiv 2203.06604, section 3.1).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d import ops
from mae3d.errors import ConfigError
from mae3d.models.layers.initialization import Initialization, initialize
from mae3d.registry import MODELS
from mae3d.structures import Tokens

PatchContent = Literal["relative", "rows"]


class PointPatches(NamedTuple):
    """Patches of a batch of clouds.

    Attributes:
        points: [B, G, K, 3], coordinates relative to the patch centre, nearest first (the centre itself is row 0).
        centers: [B, G, 3], in the frame of the cloud.
        indices: int64 [B, G, K], the cloud's point behind every patch point.
    """

    points: Tensor
    centers: Tensor
    indices: Tensor


def cut_patches(
    points: Tensor, num_groups: int, group_size: int, skip_near_origin: float | None = None
) -> PointPatches:
    """Cut clouds into patches: furthest point samples as centres, their nearest neighbours as content.

    Args:
        points: [B, N, 3].
        num_groups: Number of patches G.
        group_size: Points per patch K, at most N.
        skip_near_origin: Squared norm up to which points are never picked as centres; 1e-3 is what the published
            models of the Point-MAE family were trained with. None picks among all points.

    Raises:
        ValueError: A cloud has fewer than K points.
    """
    if points.shape[1] < group_size:
        raise ValueError(
            f"cut_patches needs at least group_size = {group_size} points per cloud, got points of shape "
            f"{list(points.shape)}; lower group_size or sample more points"
        )
    chosen = ops.furthest_point_sample(points, num_groups, skip_near_origin=skip_near_origin)
    centers = ops.gather_points(points, chosen)
    indices = ops.knn(points, centers, k=group_size).indices
    return PointPatches(ops.group_points(points, indices, centers), centers, indices)


class MiniPointNet(nn.Module):
    """Embedding of a point patch: two shared MLPs with a maximum over the points after each.

    The second MLP sees [patch maximum | point feature]; its first layer is applied to the two halves separately, so
    the half that is equal for all points of a patch is computed once per patch.

    Args:
        embed_dim: Width C of the tokens.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(3, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 256))
        self.second = nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, embed_dim))

    def forward(self, patches: Tensor) -> Tensor:
        """[B, G, K, 3] -> [B, G, C]; BatchNorm statistics run over all B * G * K points."""
        batch_size, num_groups, group_size, _ = patches.shape
        point = self.first(patches.reshape(-1, 3)).unflatten(0, (-1, group_size))  # [B G, K, 256]
        whole = point.max(dim=1).values  # [B G, 256]
        widen, norm, activation, project = self.second
        of_whole, of_point = widen.weight.split(256, dim=1)
        hidden = F.linear(point, of_point) + F.linear(whole, of_whole, widen.bias).unsqueeze(1)  # [B G, K, 512]
        hidden = project(activation(norm(hidden.flatten(0, 1))))
        tokens = hidden.unflatten(0, (-1, group_size)).max(dim=1).values
        return tokens.reshape(batch_size, num_groups, -1)


@MODELS.register_module()
class PointPatchTokenizer(nn.Module):
    """Clouds to patch tokens.

    Args:
        num_groups: Patches per cloud G.
        group_size: Points per patch K.
        embed_dim: Width C of the tokens.
        content: What tokens stand for: "relative" coordinates [B, G, K, 3], or "rows" of the cloud as they are, with
            all columns [B, G, K, D].
        skip_near_origin: See :func:`cut_patches`.
        initialization: Of the linear layers of the embedding.
        patch_dim: Width of the embedding where a linear layer then brings it to C (Point-BERT); None: C.
    """

    def __init__(
        self,
        num_groups: int = 64,
        group_size: int = 32,
        embed_dim: int = 384,
        *,
        content: PatchContent = "relative",
        skip_near_origin: float | None = 1e-3,
        initialization: Initialization = "trunc_normal",
        patch_dim: int | None = None,
    ) -> None:
        super().__init__()
        if content not in ("relative", "rows"):
            raise ConfigError(f'PointPatchTokenizer: content must be "relative" or "rows", got {content!r}')
        self.content = content
        self.num_groups = num_groups
        self.group_size = group_size
        self.embed_dim = embed_dim
        self.skip_near_origin = skip_near_origin
        self.embedding = MiniPointNet(patch_dim or embed_dim)
        self.projection = nn.Linear(patch_dim, embed_dim) if patch_dim else nn.Identity()
        initialize(self, initialization)

    @property
    def tokens_per_sample(self) -> int:
        """Tokens of every cloud."""
        return self.num_groups

    def forward(self, points: Tensor) -> Tokens:
        """Points [B, N, D >= 3], of which the coordinates are embedded -> tokens.

        Patches are cut in float32; float64 points give float64 tokens.
        """
        dtype = torch.promote_types(points.dtype, torch.float32)
        with torch.no_grad(), torch.autocast(points.device.type, enabled=False):
            coordinates = points[..., :3].float().contiguous()
            patches = cut_patches(coordinates, self.num_groups, self.group_size, self.skip_near_origin)
            relative, centers = patches.points.to(dtype), patches.centers.to(dtype)
            content = ops.gather_points(points.to(dtype), patches.indices) if self.content == "rows" else None
        return self.embed_patches(relative, centers, content)

    def embed_patches(self, patches: Tensor, centers: Tensor, content: Tensor | None = None) -> Tokens:
        """Patches [B, G, K, 3] around ``centers`` [B, G, 3] that are cut already -> tokens.

        ``content`` is what the tokens stand for; None: the patches.
        """
        return Tokens(self.projection(self.embedding(patches)), centers, patches if content is None else content)

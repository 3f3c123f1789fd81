"""Pure-torch reference of :mod:`mae3d.ops.ray_cast`: every ray against every solid, in three dimensions."""

from __future__ import annotations

import torch
from torch import Tensor


def ray_cast(
    origins: Tensor, azimuths: Tensor, elevations: Tensor, primitives: Tensor, ground_z: float, max_range: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Ranges [A, E], index [A, E], cosine of incidence [A, E]; see the operator for their meaning."""
    az, el = azimuths[:, None], elevations[None, :]
    direction = torch.stack((az.cos() * el.cos(), az.sin() * el.cos(), el.sin().expand(len(az), -1)), dim=-1)
    best = direction.new_full(direction.shape[:2], torch.inf)
    cosine = torch.zeros_like(best)
    index = torch.full_like(best, -1, dtype=torch.int64)
    for number, solid in enumerate(primitives):
        if not bool(torch.isfinite(solid).all()) or not bool((solid[4:7] > 0).all()):
            continue
        distance, normal = _HITS[int(solid[0]) if solid[0] in (1, 2) else 0](origins, direction, solid)
        nearer = distance < best
        best = torch.where(nearer, distance, best)
        cosine = torch.where(nearer, (normal * direction).sum(-1).abs(), cosine)
        index = torch.where(nearer, number, index)
    ground = (ground_z - origins[:, None, 2]) / direction[..., 2]
    below = (ground > 0) & (direction[..., 2] < 0) & (ground < best)
    best = torch.where(below, ground, best)
    cosine = torch.where(below, direction[..., 2].abs(), cosine)
    index = torch.where(below, -2, index)
    seen = best <= max_range
    return (
        torch.where(seen, best, torch.inf),
        torch.where(seen, index, -1),
        torch.where(seen, cosine, 0.0),
    )


def _local(origins: Tensor, direction: Tensor, solid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Origins [A, 1, 3] and directions [A, E, 3] in the frame of the solid, and its rotation to the world."""
    c, s = solid[7].cos(), solid[7].sin()
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    world_from_solid = torch.stack((c, -s, zero, s, c, zero, zero, zero, one)).reshape(3, 3)
    return (origins - solid[1:4])[:, None] @ world_from_solid, direction @ world_from_solid, world_from_solid


def _hit_box(origins: Tensor, direction: Tensor, solid: Tensor) -> tuple[Tensor, Tensor]:
    o, d, rotation = _local(origins, direction, solid)
    half = solid[4:7] / 2
    a, b = (-half - o) / d, (half - o) / d
    near, axis = torch.minimum(a, b).nan_to_num(-torch.inf).max(dim=-1)
    far = torch.maximum(a, b).nan_to_num(torch.inf).amin(dim=-1)
    distance = torch.where((near < far) & (near > 0), near, torch.inf)
    return distance, rotation.T[axis]


def _hit_cylinder(origins: Tensor, direction: Tensor, solid: Tensor) -> tuple[Tensor, Tensor]:
    o, d = (origins - solid[1:4])[:, None], direction
    radius, half = solid[4] / 2, solid[6] / 2
    a = (d[..., :2] ** 2).sum(-1)
    b = (o[..., :2] * d[..., :2]).sum(-1)
    root = b**2 - a * ((o[..., :2] ** 2).sum(-1) - radius**2)
    t = (-b - root.sqrt()) / a
    side = torch.where((root > 0) & (t > 0) & ((o[..., 2] + t * d[..., 2]).abs() <= half), t, torch.inf)
    cap = (torch.sign(-d[..., 2]) * half - o[..., 2]) / d[..., 2]
    at_cap = ((o[..., :2] + cap[..., None] * d[..., :2]) ** 2).sum(-1) <= radius**2
    cap = torch.where(at_cap & (cap > 0), cap, torch.inf)
    inside = ((o[..., :2] ** 2).sum(-1) < radius**2) & (o[..., 2].abs() < half)
    distance = torch.where(inside, torch.inf, torch.minimum(side, cap))
    point = o + distance.nan_to_num(posinf=0.0)[..., None] * d
    radial = torch.cat((point[..., :2] / radius, torch.zeros_like(point[..., :1])), dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=d.dtype, device=d.device)
    return distance, torch.where((cap < side)[..., None], up, radial)


def _hit_ellipsoid(origins: Tensor, direction: Tensor, solid: Tensor) -> tuple[Tensor, Tensor]:
    o, d, rotation = _local(origins, direction, solid)
    axes = solid[4:7] / 2
    u, v = o / axes, d / axes
    a, b, c = (v**2).sum(-1), (u * v).sum(-1), (u**2).sum(-1) - 1
    root = b**2 - a * c
    t = (-b - root.sqrt()) / a
    distance = torch.where((root > 0) & (c > 0) & (t > 0), t, torch.inf)
    normal = (o + distance.nan_to_num(posinf=0.0)[..., None] * d) / axes**2
    return distance, torch.nn.functional.normalize(normal, dim=-1) @ rotation.T


_HITS = {0: _hit_box, 1: _hit_cylinder, 2: _hit_ellipsoid}

"""Metrics of generated clouds against reference clouds: MMD, COV, 1-NNA and JSD, on full sets.

MMD, COV and JSD: Achlioptas et al., Learning Representations and Generative Models for 3D Point Clouds (ICML 2018);
1-NNA: Lopez-Paz and Oquab (ICLR 2017), as PointFlow (ICCV 2019) and PVD report them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mae3d.errors import ConfigError, DataError
from mae3d.evaluation.pairwise_clouds import DISTANCES, Kind, check_clouds, pairwise_distances
from mae3d.evaluation.sample_metric import SampleMetric
from mae3d.registry import METRICS

JSD_RESOLUTION = 28


def coverage(distances: Tensor) -> tuple[float, float]:
    """Minimum matching distance and coverage of distances [samples, references].

    MMD: mean over references of the distance to the nearest sample. COV: share of references that are the nearest one
    of some sample.
    """
    matched = distances.argmin(dim=1).unique().numel()
    return distances.amin(dim=0).double().mean().item(), matched / distances.shape[1]


def nearest_neighbour_accuracy(samples: Tensor, references: Tensor, across: Tensor) -> float:
    """Leave-one-out accuracy of telling samples from references by the nearest other cloud; 0.5 is ideal.

    Args:
        samples: [S, S] distances among the samples.
        references: [R, R] among the references.
        across: [S, R] from samples to references.
    """
    own_samples = samples.masked_fill(_diagonal(samples), torch.inf).amin(dim=1)
    own_references = references.masked_fill(_diagonal(references), torch.inf).amin(dim=1)
    right = (own_samples < across.amin(dim=1)).sum() + (own_references < across.amin(dim=0)).sum()
    return right.item() / (len(samples) + len(references))


def _diagonal(matrix: Tensor) -> Tensor:
    return torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)


def occupancy(clouds: Tensor, resolution: int = JSD_RESOLUTION, radius: float = 0.5) -> Tensor:
    """Share of all points of clouds [S, P, 3] whose nearest node is each node of a cubic grid inside a sphere.

    Nodes lie at -radius .. radius along each axis; those farther than ``radius`` from the origin are left out.

    Returns:
        float64 [nodes].
    """
    axis = torch.linspace(-radius, radius, resolution, device=clouds.device)
    nodes = torch.cartesian_prod(axis, axis, axis)
    nodes = nodes[nodes.norm(dim=1) <= radius * (1 + 1e-6)]
    counts = torch.zeros(len(nodes), dtype=torch.int64, device=clouds.device)
    for points in clouds.flatten(0, 1).split(4096):
        counts += torch.cdist(points, nodes).argmin(dim=1).bincount(minlength=len(nodes))
    return counts.double() / counts.sum()


def jensen_shannon(p: Tensor, q: Tensor) -> float:
    """Jensen-Shannon divergence of two distributions [K], in bits: 0 for equal ones, 1 for disjoint ones."""

    def entropy(share: Tensor) -> Tensor:
        positive = share[share > 0]
        return -(positive * positive.log2()).sum()

    return (entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2).item()


def compare_sets(samples: Tensor, references: Tensor, distances: Sequence[Kind] = ("cd", "emd")) -> dict[str, float]:
    """``mmd_*``, ``cov_*`` and ``1nna_*`` for each distance of samples [S, P, 3] and references [R, Q, 3]."""
    results: dict[str, float] = {}
    for kind in distances:
        across = pairwise_distances(samples, references, kind)
        mmd, cov = coverage(across)
        among = [pairwise_distances(clouds, kind=kind) for clouds in (samples, references)]
        accuracy = nearest_neighbour_accuracy(*among, across)
        results |= {f"mmd_{kind}": mmd, f"cov_{kind}": cov, f"1nna_{kind}": accuracy}
    return results


@METRICS.register_module()
class GenerationMetric(SampleMetric):
    """MMD, COV and 1-NNA with Chamfer and earth mover's distance, and JSD; shares in [0, 1].

    Takes ``sample`` and ``reference`` [P, 3] per cloud, in the units of the data set. All clouds of the run are
    compared with all references. The earth mover's distance takes hours for published sizes on a CPU and minutes on a
    GPU; leave "emd" out where there is none.

    Args:
        distances: "cd", "emd" or both.
        jsd: Whether to give JSD.
        radius: Of the sphere that JSD counts in; published: 0.5, for shapes inside a unit box.
        per_batch: Compare batches of this many clouds and average, as DiT-3D's test program does; such numbers are
            not comparable with those of full sets. None compares the full sets.
        device: Where to compute; None for the GPU where there is one.
        prefix: See :class:`SampleMetric`.
        collect_device: See :class:`SampleMetric`.
    """

    default_prefix = "generation"
    fields = ("sample", "reference")

    def __init__(
        self,
        distances: Sequence[Kind] = ("cd", "emd"),
        *,
        jsd: bool = True,
        radius: float = 0.5,
        per_batch: int | None = None,
        device: str | None = None,
        prefix: str | None = None,
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(prefix, collect_device)
        unknown = sorted(set(distances) - set(DISTANCES))
        if unknown or isinstance(distances, str):
            raise ConfigError(f"GenerationMetric: distances must be among {sorted(DISTANCES)}, got {distances!r}")
        if per_batch is not None and per_batch < 2:
            raise ConfigError(f"GenerationMetric: per_batch must be at least 2 or None, got {per_batch}")
        if radius <= 0:
            raise ConfigError(f"GenerationMetric: radius must be above 0, got {radius}")
        self.distances = tuple(distances)
        self.jsd = jsd
        self.radius = radius
        self.per_batch = per_batch
        self.device = device

    def summarize(self, sample: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The two clouds."""
        return sample["sample"].float(), sample["reference"].float()

    def compute_metrics(self, results: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """See the class."""
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        samples, references = (stack_clouds(clouds).to(device) for clouds in zip(*results))
        if len(samples) < 2:
            raise DataError("GenerationMetric: needs at least two clouds, got one; evaluate more samples")
        check_clouds("sample", samples)
        check_clouds("reference", references)
        size = self.per_batch or len(samples)
        parts = [
            compare_sets(own, others, self.distances)
            for own, others in zip(samples.split(size), references.split(size))
        ]
        found = {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}
        if self.jsd:
            shares = [occupancy(clouds, radius=self.radius) for clouds in (samples, references)]
            found["jsd"] = jensen_shannon(*shares)
        return found


def stack_clouds(clouds: Sequence[Tensor]) -> Tensor:
    """Clouds [P, 3] of equal size -> [S, P, 3].

    Raises:
        DataError: Sizes differ.
    """
    sizes = sorted({tuple(cloud.shape) for cloud in clouds})
    if len(sizes) > 1:
        raise DataError(f"clouds must have one number of points, got shapes {sizes}; set the data set's npoints")
    return torch.stack(list(clouds))

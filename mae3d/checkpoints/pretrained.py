"""Start of downstream training: a pre-trained encoder into a larger model, counted tensor by tensor."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.logging import print_log
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from mae3d.checkpoints.conversion import SYSTEMS, convert
from mae3d.checkpoints.files import load_weights
from mae3d.checkpoints.key_map import different_shapes, listing
from mae3d.errors import CheckpointError, ConfigError
from mae3d.models.layers import GridPositions


@dataclass(frozen=True)
class LoadReport:
    """What a pre-trained file did to a model.

    Attributes:
        loaded: Names set from the file.
        fresh: Names of the model that keep their initialisation.
        unused: Names of the file that the model does not have.
    """

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        """One line for the log."""
        left = f"; new {listing(self.fresh)}" if self.fresh else ""
        return f"{len(self.loaded)} tensors loaded, {len(self.fresh)} new, {len(self.unused)} of the file unused{left}"


def load_pretrained(
    model: nn.Module,
    path: str | Path,
    fresh: Sequence[str] | None = None,
    system: str | None = None,
    *,
    prefix: str = "",
) -> LoadReport:
    """Load what ``model`` shares with a pre-training file, ours or an official one of a known system.

    Args:
        model: Downstream model.
        path: ``.safetensors``, a training checkpoint, or an official file.
        fresh: Prefixes of the tensors that may be absent from the file; None takes ``model.fresh``. Every other tensor
            of the model must be in the file.
        system: Whose official file it is, as ``tools/convert_checkpoint.py`` names it; None: ours, or the system whose
            names, translated, fit most tensors of the model.
        prefix: For a ``model`` that is a part: what precedes its names in the file, as in "encoder."; only tensors so
            named count.

    Position tables of another grid are resized (bicubic).

    Raises:
        CheckpointError: A tensor that is not fresh is missing, or a shape differs.
    """
    prefixes = tuple(getattr(model, "fresh", ()) if fresh is None else fresh)
    own = model.state_dict()
    weights = load_weights(path)
    weights = convert(system, weights).state if system else _our_names(weights, [prefix + name for name in own])
    if prefix:
        weights = _below(prefix, weights, path)
    weights |= dict(_resized_tables(model, weights))
    left = [name for name in own if name not in weights]
    missing = [name for name in left if not name.startswith(prefixes)]
    if missing:
        raise CheckpointError(
            f"{path} lacks {listing(missing)}. Only tensors named {', '.join(prefixes) or '(none)'} may be new; "
            f"the file's names begin {sorted(weights)[:5]}"
        )
    wrong = different_shapes(weights, own)
    if wrong:
        raise CheckpointError(f"{path} is of another size than the model: {listing(wrong)}")
    loaded = {name: weights[name] for name in own if name in weights}
    model.load_state_dict(loaded, strict=False)
    return LoadReport(tuple(loaded), tuple(left), tuple(name for name in weights if name not in own))


def _below(prefix: str, weights: dict[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    part = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if not part:
        raise CheckpointError(f"{path} holds no tensor named {prefix}*; its names begin {sorted(weights)[:5]}")
    return part


def _our_names(weights: dict[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Weights in our names: as they are, or translated from the system that then fits the names ``own`` best."""
    candidates, refusals = [weights], []
    for system, layouts in SYSTEMS.items():
        if any(layout.is_official(weights) for layout in layouts):
            try:
                candidates.append(convert(system, weights).state)
            except CheckpointError as error:  # another system's file, or a damaged one
                refusals.append(error)
    best = max(candidates, key=lambda state: sum(name in state for name in own))
    if refusals and not any(name in best for name in own):
        raise refusals[0]
    return best


def _resized_tables(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Position tables of the file that were made for another grid than the model's."""
    for place, module in model.named_modules():
        name = f"{place}.table"
        if isinstance(module, GridPositions) and name in weights and weights[name].shape != module.table.shape:
            try:
                yield name, module.fit(weights[name])
            except ConfigError as error:
                raise CheckpointError(f"{name}: {error}") from None


@WEIGHT_INITIALIZERS.register_module()
class PretrainedEncoder:
    """mmengine initialiser: ``init_cfg=dict(type=PretrainedEncoder, checkpoint="pretrained.safetensors")``.

    Args:
        checkpoint: File, see :func:`load_pretrained`.
        fresh: See :func:`load_pretrained`.
        system: See :func:`load_pretrained`.
    """

    def __init__(self, checkpoint: str, fresh: Sequence[str] | None = None, system: str | None = None) -> None:
        self.checkpoint = checkpoint
        self.fresh = fresh
        self.system = system

    def __call__(self, module: nn.Module) -> None:
        """Load into ``module`` and log the counts."""
        report = load_pretrained(module, self.checkpoint, self.fresh, self.system)
        print_log(f"{self.checkpoint}: {report}", logger="current")

"""Start of a training: a pre-trained encoder into a larger model, or its blocks into a model of another modality.

Tensors are counted one by one.
"""

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
    whole: bool = False,
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
        whole: Every tensor of the file (of those under ``prefix``) must have its place in the model.

    Position tables of another grid are resized (bicubic).

    Raises:
        CheckpointError: A tensor that is not fresh is missing, a shape differs, or, with ``whole``, one is left over.
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
    unused = tuple(name for name in weights if name not in own)
    if whole and unused:
        raise CheckpointError(f"{path} holds {listing(unused)} that the model has no place for")
    loaded = {name: weights[name] for name in own if name in weights}
    model.load_state_dict(loaded, strict=False)
    return LoadReport(tuple(loaded), tuple(left), unused)


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


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBlocks:
    """Transformer blocks of another model, whatever its modality: ``init_cfg=dict(type=PretrainedBlocks, ...)``.

    Tokenizer, positions, class token, final norm and decoder keep their initialisation. Depth, width, MLP and the form
    of the biases must be the same: every tensor of the file's blocks goes to the tensor of the same name. How many
    heads and where the norms sit is in no file; that they agree is for the user to see to.

    Args:
        checkpoint: File, see :func:`load_pretrained`.
        part: Name of the blocks in the model.
        source: Name of the blocks in the file; None: the same.
        system: See :func:`load_pretrained`.
    """

    def __init__(
        self, checkpoint: str, part: str = "encoder.blocks", source: str | None = None, system: str | None = None
    ) -> None:
        self.checkpoint = checkpoint
        self.part = part
        self.source = part if source is None else source
        self.system = system

    def __call__(self, module: nn.Module) -> None:
        """Load into the blocks of ``module`` and log the count.

        Raises:
            ConfigError: The model has no such part.
            CheckpointError: A tensor is missing or left over, or a shape differs.
        """
        try:
            blocks = module.get_submodule(self.part)
        except AttributeError:
            known = [name for name, _ in module.named_children()]
            raise ConfigError(f"PretrainedBlocks: {type(module).__name__} has no {self.part!r}, only {known}") from None
        prefix = f"{self.source}."
        report = load_pretrained(blocks, self.checkpoint, (), self.system, prefix=prefix, whole=True)
        print_log(f"{self.checkpoint}: {len(report.loaded)} tensors of {self.source} loaded", logger="current")

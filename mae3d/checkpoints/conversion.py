"""Conversion of whole files: strict in both directions, with a count of what was converted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mae3d.checkpoints import (
    audio_mae,
    data2vec2,
    dit3d,
    gd_mae,
    mae,
    mae_st,
    maskfeat3d,
    openpcdet,
    p3p,
    point_bert,
    point_cmae,
    point_mae,
    r_mae,
    retro_mae,
    videomae,
    voxel_mae,
)
from mae3d.checkpoints.key_map import check_fit
from mae3d.checkpoints.layout import Layout
from mae3d.errors import CheckpointError

SYSTEMS: dict[str, tuple[Layout, ...]] = {
    "audio-mae": audio_mae.LAYOUTS,
    "data2vec2": data2vec2.LAYOUTS,
    "dit3d": dit3d.LAYOUTS,
    "dup-mae": retro_mae.LAYOUTS,
    "mae": mae.LAYOUTS,
    "mae-st": mae_st.LAYOUTS,
    "maskfeat3d": maskfeat3d.LAYOUTS,
    "gd-mae": gd_mae.GD_MAE,
    "openpcdet": openpcdet.LAYOUTS,
    "p3p": p3p.LAYOUTS,
    "point-bert": point_bert.LAYOUTS,
    "point-cmae": point_cmae.LAYOUTS,
    "point-mae": point_mae.LAYOUTS,
    "r-mae": r_mae.LAYOUTS,
    "retro-mae": retro_mae.LAYOUTS,
    "videomae": videomae.LAYOUTS,
    "t-mae": gd_mae.T_MAE,
    "voxel-mae": voxel_mae.LAYOUTS,
}
"""System name, as typed on the command line -> its kinds of official files."""


@dataclass(frozen=True)
class Conversion:
    """A state dict that fits its model exactly.

    Attributes:
        system: Name of the system.
        layout: Kind of file.
        state: Converted weights.
        parameters: Number of values among them that are parameters, not buffers.
    """

    system: str
    layout: Layout
    state: dict[str, Tensor]
    parameters: int

    def __str__(self) -> str:
        """One line for the console."""
        return (
            f"{self.system} {self.layout.kind}: {len(self.state)} tensors, {self.parameters:,} parameters, "
            "0 missing, 0 unexpected"
        )


def layouts_of(system: str) -> tuple[Layout, ...]:
    """Kinds of official files of ``system``."""
    if system not in SYSTEMS:
        raise CheckpointError(f"no key map for system {system!r}; known: {', '.join(sorted(SYSTEMS))}")
    return SYSTEMS[system]


def convert(system: str, official: Mapping[str, Tensor]) -> Conversion:
    """Official state dict (no wrapper, no ``module.``) to ours.

    Raises:
        CheckpointError: The kind is not recognised, or a tensor is missing, unexpected or of the wrong shape.
    """
    layout = next((one for one in layouts_of(system) if one.is_official(official)), None)
    if layout is None:
        markers = ", ".join(f"{one.official_marker} ({one.kind})" for one in layouts_of(system))
        raise CheckpointError(
            f"not an official {system} file: none of {markers} among its names, which begin {sorted(official)[:5]}"
        )
    weights = {name: value for name, value in layout.prepare(official).items() if name not in layout.constants}
    state, unknown = layout.keys.to_ours(weights)
    return Conversion(system, layout, state, _check(system, layout, state, unknown))


def export(system: str, ours: Mapping[str, Tensor], kind: str | None = None) -> Conversion:
    """Our state dict to the official names; wrapper and prefix of the file are in ``layout``.

    Args:
        system: Name of the system.
        ours: State dict.
        kind: Kind of file to write; None: the first that holds all of ``ours``.

    Raises:
        CheckpointError: As for :func:`convert`, or there is no such kind.
    """
    kinds = {one.kind: one for one in layouts_of(system)}
    if kind is not None and kind not in kinds:
        raise CheckpointError(f"{system} has no kind of file {kind!r}; known: {', '.join(kinds)}")
    layout = next((one for one in kinds.values() if kind in (None, one.kind) and one.is_ours(ours)), None)
    if layout is not None and kind is not None:
        ours = {name: value for name, value in ours.items() if not name.startswith(layout.our_extra)}
    if layout is None:
        markers = ", ".join(f"{one.our_marker} ({one.kind})" for one in layouts_of(system))
        raise CheckpointError(f"not a {system} model of ours: none of {markers} among its names")
    parameters = _check(system, layout, ours, [])
    official = {**layout.constants, **layout.restore(layout.keys.to_official(ours))}
    return Conversion(system, layout, official, parameters)


def _check(system: str, layout: Layout, state: Mapping[str, Tensor], unknown: Sequence[str]) -> int:
    """Raise unless ``state`` is exactly that of the model it belongs to; its number of parameters."""
    what = f"{system} {layout.kind} file"
    try:
        with torch.device("meta"):
            model = layout.build(state)
    except KeyError as error:
        raise CheckpointError(
            f"{what} does not fit: missing {error.args[0]}, without which the model's size is unknown"
        ) from None
    check_fit(state, model.state_dict(), what, unknown)
    return sum(parameter.numel() for parameter in model.parameters())

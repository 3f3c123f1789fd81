"""One kind of official file of a system."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from mae3d.checkpoints.key_map import KeyMap


@dataclass(frozen=True)
class Layout:
    """How one kind of official file is recognised, renamed and written.

    Attributes:
        kind: Name of the kind, e.g. "pretrain".
        keys: Names both ways.
        official_marker: A tensor that, of the system's kinds of official files, only this one has.
        our_marker: The same tensor in our names.
        build: Model of the size that a state dict (our names) was made with.
        wrapper: Key of the official file that holds the weights.
        prefix: What precedes every official name in the file.
        constants: Official tensors that are no weights (counters): left out on reading, written with these values.
        prepare: Brings files to the layout that ``keys`` describe: older ones, or tensors to be split or joined.
        restore: Its inverse, for writing.
        official_absent: Tensors that a file of this kind does not have, where others share the marker.
        our_absent: The same in our names.
        our_extra: Prefixes of tensors of ours that a file of this kind has no place for; they are left out where the
            kind is asked for by its name.
        nested: Prefixes of official names that the file holds as dicts of their own.
    """

    kind: str
    keys: KeyMap
    official_marker: str
    our_marker: str
    build: Callable[[Mapping[str, Tensor]], nn.Module]
    wrapper: str = "base_model"
    prefix: str = "module."
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    prepare: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict
    restore: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict
    official_absent: tuple[str, ...] = ()
    our_absent: tuple[str, ...] = ()
    our_extra: tuple[str, ...] = ()
    nested: tuple[str, ...] = ()

    def file_content(self, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """What an official file with the official weights ``state`` holds."""
        weights: dict[str, Any] = {}
        for name, value in state.items():
            part = next((part for part in self.nested if name.startswith(f"{part}.")), None)
            if part is None:
                weights[self.prefix + name] = value
            else:
                weights.setdefault(part, {})[name.removeprefix(f"{part}.")] = value
        return {self.wrapper: weights} if self.wrapper else weights

    def is_official(self, state: Mapping[str, Tensor]) -> bool:
        """Tell whether official weights are of this kind."""
        return self.official_marker in state and not any(name in state for name in self.official_absent)

    def is_ours(self, state: Mapping[str, Tensor]) -> bool:
        """Tell whether weights in our names are of this kind."""
        return self.our_marker in state and not any(name in state for name in self.our_absent)

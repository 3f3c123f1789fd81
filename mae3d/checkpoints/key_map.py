"""Names of an official state dict and ours, both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from mae3d.errors import CheckpointError


@dataclass(frozen=True)
class Rule:
    """One prefix of official names and the prefix of ours that replaces it.

    Attributes:
        official: Prefix in the official file: a whole name, or one that a dot follows.
        ours: Prefix in our models.
        convolution: Axes of the official convolution of width 1 ([out, in, 1] has one) that is a linear layer here.
    """

    official: str
    ours: str
    convolution: int = 0


class KeyMap:
    """Rules applied longest prefix first; both directions are exact inverses.

    Args:
        rules: No two may share a prefix on either side.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._by_prefix = {side: {getattr(rule, side): rule for rule in rules} for side in ("official", "ours")}
        for side in ("official", "ours"):
            prefixes = [getattr(rule, side) for rule in rules]
            if len(set(prefixes)) != len(prefixes):
                raise ValueError(f"KeyMap: {side} prefixes must differ, got {prefixes}")

    def to_ours(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Our state dict, and the official names that no rule covers."""
        result, unknown = {}, []
        for name, value in state.items():
            rule = self._find(name, "official")
            if rule is None:
                unknown.append(name)
                continue
            squeeze = rule.convolution and value.shape[2:] == (1,) * rule.convolution
            result[rule.ours + name.removeprefix(rule.official)] = value.flatten(1) if squeeze else value
        return result, unknown

    def to_official(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The official state dict.

        Raises:
            CheckpointError: A name of ours is covered by no rule.
        """
        result, unknown = {}, []
        for name, value in state.items():
            rule = self._find(name, "ours")
            if rule is None:
                unknown.append(name)
                continue
            shape = (*value.shape, *(1,) * rule.convolution) if value.dim() == 2 else value.shape
            result[rule.official + name.removeprefix(rule.ours)] = value.reshape(shape)
        if unknown:
            raise CheckpointError(f"no official name is known for {listing(unknown)}")
        return result

    def _find(self, name: str, side: str) -> Rule | None:
        prefix = name
        while prefix and prefix not in self._by_prefix[side]:
            prefix = prefix.rpartition(".")[0]
        return self._by_prefix[side].get(prefix)


def listing(names: Sequence[str], limit: int = 8) -> str:
    """``3 tensors: a, b, c``, cut after ``limit`` names."""
    shown = ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
    return f"{len(names)} tensor{'s' if len(names) != 1 else ''}: {shown}"


def different_shapes(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """One line for each tensor that both have in different shapes."""
    return [
        f"{name} is {list(state[name].shape)} in the file, {list(value.shape)} in the model"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]


def check_fit(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str, unknown: Sequence[str] = ()
) -> None:
    """Raise CheckpointError unless ``state`` has exactly the names and shapes of ``expected``."""
    findings = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [*unknown, *(name for name in state if name not in expected)],
        "wrong shape of": different_shapes(state, expected),
    }
    problems = [f"{title} {listing(names)}" for title, names in findings.items() if names]
    if problems:
        raise CheckpointError(f"{what} does not fit: " + "; ".join(problems))

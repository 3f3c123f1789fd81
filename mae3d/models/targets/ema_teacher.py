"""A teacher whose weights follow those of its student as an exponential moving average."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError

Annealing = Literal["linear", "cosine"]


class EmaTeacher(nn.Module):
    """A slow copy of a network: without gradients, saved with the model, in eval mode unless told otherwise.

    Call :meth:`update` before each forward pass in training. The first call starts from equal weights and changes
    nothing; update k, after k optimizer steps, keeps ``decay_at(k)`` of the old weights. What does not learn (buffers,
    parameters with ``requires_grad=False``) is copied, not averaged.

    Args:
        student: Network to copy.
        decay: Share of the old weights that an update keeps.
        end_decay: That share from update ``anneal_steps`` on; None: as ``decay``.
        anneal_steps: Updates in which it gets there.
        annealing: "linear", or "cosine": end - (end - decay) (1 + cos(pi k / steps)) / 2.
        copied: Prefixes of names that are copied as well.
        own_statistics: The copy trains when the model does (BatchNorm on its own batch, drop path) and its buffers are
            its own, as in momentum contrast; False: eval mode, with the student's buffers.

    Attributes:
        model: The copy.
        every: Training forwards per optimizer step, more than 1 under gradient accumulation; a run sets it.

    Raises:
        ConfigError: A decay outside [0, 1], a change without steps, or unknown annealing.
    """

    def __init__(
        self,
        student: nn.Module,
        decay: float = 0.999,
        end_decay: float | None = None,
        anneal_steps: int = 0,
        annealing: Annealing = "linear",
        copied: Sequence[str] = (),
        own_statistics: bool = False,
    ) -> None:
        super().__init__()
        end_decay = decay if end_decay is None else end_decay
        if not 0.0 <= decay <= 1.0 or not 0.0 <= end_decay <= 1.0:
            raise ConfigError(f"EmaTeacher: decay and end_decay must be in [0, 1], got {decay} and {end_decay}")
        if annealing not in ("linear", "cosine"):
            raise ConfigError(f'EmaTeacher: annealing must be "linear" or "cosine", got {annealing!r}')
        if decay != end_decay and anneal_steps < 1:
            raise ConfigError(f"EmaTeacher: from decay {decay} to {end_decay} needs anneal_steps >= 1")
        self.decay, self.end_decay = decay, end_decay
        self.anneal_steps, self.annealing = anneal_steps, annealing
        self.copied = tuple(copied)
        self.own_statistics = own_statistics
        self.every = 1
        self.model = copy.deepcopy(student).requires_grad_(False)
        self.register_buffer("forwards", torch.zeros((), dtype=torch.int64))
        self._forwards = 0  # the same number, to be read without waiting for a device
        self.eval()

    def decay_at(self, update: int) -> float:
        """Share of the old weights that update number ``update`` keeps."""
        if update >= self.anneal_steps:
            return self.end_decay
        left = 1 - update / self.anneal_steps
        if self.annealing == "cosine":
            left = (1 + math.cos(math.pi * (1 - left))) / 2
        return self.end_decay - (self.end_decay - self.decay) * left

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Count a training forward and, where the student has stepped since the last one, follow it.

        Args:
            student: Of the same structure as the one copied.
        """
        if self._forwards and self._forwards % self.every == 0:
            self.follow(student, self.decay_at(self._forwards // self.every))
        self._forwards += 1
        self.forwards.fill_(self._forwards)

    @torch.no_grad()
    def follow(self, student: nn.Module, decay: float) -> None:
        """One step towards ``student``: own weights * decay + its weights * (1 - decay).

        Raises:
            ConfigError: Weights in half precision, in which such steps are lost.
        """
        mine, theirs = dict(self.model.named_parameters()), dict(student.named_parameters())
        averaged = [name for name, value in theirs.items() if value.requires_grad and not name.startswith(self.copied)]
        half = [name for name in averaged if mine[name].dtype in (torch.float16, torch.bfloat16)]
        if half:
            raise ConfigError(
                f"EmaTeacher: {half[0]} is {mine[half[0]].dtype}; keep weights in float32 and use autocast "
                "(optim_wrapper.precision)"
            )
        if averaged and decay < 1:
            torch._foreach_lerp_([mine[name] for name in averaged], [theirs[name] for name in averaged], 1 - decay)
        for name in theirs.keys() - set(averaged):
            mine[name].copy_(theirs[name])
        if self.own_statistics:
            return
        for own, value in zip(self.model.buffers(), student.buffers(), strict=True):
            own.copy_(value)

    @torch.no_grad()
    def reset(self, student: nn.Module) -> None:
        """Become an exact copy of ``student``."""
        self.model.load_state_dict(student.state_dict())

    @torch.no_grad()
    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the copy gives."""
        return self.model(*inputs, **options)

    def train(self, mode: bool = True) -> EmaTeacher:
        """Stay in eval mode, unless with ``own_statistics``."""
        return super().train(mode and self.own_statistics)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *arguments: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        self._forwards = int(self.forwards)

"""Hooks that remember something across a restart."""

from __future__ import annotations

from abc import abstractmethod

from mmengine.hooks import Hook


class StatefulHook(Hook):
    """A hook whose state travels in the checkpoint under ``hooks.<class name>``.

    The state is made of plain values and tensors, so that checkpoints load with ``weights_only=True``.
    """

    @abstractmethod
    def state_dict(self) -> dict:
        """Return what a resumed run must know."""

    @abstractmethod
    def load_state_dict(self, state: dict) -> None:
        """Take over the state of the run that is resumed."""

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the state to the checkpoint."""
        checkpoint.setdefault("hooks", {})[type(self).__name__] = self.state_dict()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Restore the state when the run is resumed; starting from weights alone leaves it fresh."""
        state = checkpoint.get("hooks", {}).get(type(self).__name__)
        if runner._resume and state is not None:
            self.load_state_dict(state)

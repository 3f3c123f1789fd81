"""The end of a masked training on whole inputs, as inference will see them."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.logging import print_log

from mae3d.errors import ConfigError
from mae3d.registry import HOOKS


@HOOKS.register_module()
class WholeCloudsHook(Hook):
    """From iteration ``begin`` on, hide no token of a model with ``token_masking`` (unmasked tuning, MaskDiT).

    Sampling hides nothing, so a network that only ever saw a few tokens of each cloud meets something new there.

    Args:
        begin: First iteration without masking, counted from 0.
    """

    priority = "VERY_HIGH"

    def __init__(self, begin: int) -> None:
        self.begin = begin

    def before_train(self, runner) -> None:
        """Check that there is something to switch off."""
        model = getattr(runner.model, "module", runner.model)
        if not hasattr(model, "token_masking"):
            raise ConfigError(f"WholeCloudsHook: {type(model).__name__} has no token_masking; drop the hook")

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Switch the masking off when it is time; a resumed run does so too."""
        model = getattr(runner.model, "module", runner.model)
        if runner.iter >= self.begin and model.token_masking is not None:
            model.token_masking = None
            print_log(f"iteration {runner.iter}: no token is hidden from here on", logger="current")

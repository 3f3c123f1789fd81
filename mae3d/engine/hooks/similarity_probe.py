"""How well the features of two sentences tell how alike people find them, while a model learns."""

from __future__ import annotations

import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.nn import functional as F

from mae3d.engine.features import quiet
from mae3d.engine.hooks.probe import EveryFewEpochs
from mae3d.engine.hooks.stateful import StatefulHook
from mae3d.engine.sampling import seeded
from mae3d.evaluation.similarity import spearman
from mae3d.registry import HOOKS


@HOOKS.register_module()
class SimilarityProbeHook(EveryFewEpochs, StatefulHook):
    """Spearman's correlation of the cosine of ``model.extract_features`` of both sentences and the judged similarity.

    Nothing is fitted. Logged as ``probe/spearman``; the step is the epoch (iteration loops: the iteration). 0 is the
    untrained model.

    Args:
        dataloader: Config of scored pairs, batches by ``collate_tokens``.
        interval: Epochs (iterations) between two probes.
    """

    priority = "NORMAL"

    def __init__(self, dataloader: dict, interval: int = 10) -> None:
        super().__init__(interval)
        self._config = dataloader
        self._loader = None
        self.history: dict[int, float] = {}

    def state_dict(self) -> dict:
        """Return the correlations so far."""
        return {"history": self.history}

    def load_state_dict(self, state: dict) -> None:
        """Continue the record."""
        self.history = dict(state["history"])

    @torch.no_grad()
    def act(self, runner, step: int) -> None:
        """Extract, compare and log; every process sees all pairs."""
        if not is_main_process():
            return
        if self._loader is None:
            self._loader = Runner.build_dataloader(seeded(self._config), seed=runner.seed)
        model = getattr(runner.model, "module", runner.model)
        cosines, scores = [], []
        with quiet(model):
            for data in self._loader:
                batch = model.data_preprocessor(data, training=False)
                first, second = (
                    model.extract_features(batch[f"{side}_tokens"], batch[f"{side}_offsets"])
                    for side in ("query", "passage")
                )
                cosines.append(F.cosine_similarity(first.double(), second.double()).cpu())
                scores.append(batch["score"].cpu())
        correlation = spearman(torch.cat(cosines), torch.cat(scores))
        self.history[step] = correlation
        runner.visualizer.add_scalar("probe/spearman", correlation, step=step)
        print_log(f"probe (spearman) at {step}: {correlation:.4f}", logger="current")

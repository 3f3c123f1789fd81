"""Look at a model while it learns: probe accuracy of its features, pictures of its reconstructions."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch.utils.data import DataLoader

from mae3d.engine.features import context_of, extract_features, inputs_of, quiet
from mae3d.engine.hooks.stateful import StatefulHook
from mae3d.engine.loops import counts_epochs
from mae3d.engine.sampling import seeded
from mae3d.errors import ConfigError
from mae3d.evaluation.probes import find_probe
from mae3d.registry import HOOKS
from mae3d.structures import PixelReconstruction, SceneReconstruction
from mae3d.visualization.pixels import render_pixels, save_pixel_reconstructions
from mae3d.visualization.points import render_reconstruction, save_reconstructions
from mae3d.visualization.scenes import draw_reconstruction


class EveryFewEpochs(Hook):
    """Act before training, every ``interval`` epochs (or iterations, in an iteration loop) and at the end.

    A run that a time limit ends is at its end there.
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval

    def before_train(self, runner) -> None:
        """Show where the run starts, unless it is resumed."""
        if runner.iter == 0:
            self.act(runner, 0)

    def after_train_epoch(self, runner) -> None:
        """Count epochs."""
        epoch = runner.epoch + 1
        if counts_epochs(runner) and (epoch % self.interval == 0 or epoch == runner.max_epochs):
            self.act(runner, epoch)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Count iterations where there are no epochs."""
        step = runner.iter + 1
        if not counts_epochs(runner) and (step % self.interval == 0 or step == runner.max_iters):
            self.act(runner, step)

    def after_train(self, runner) -> None:
        """Show where a run of iterations was stopped before its last."""
        stopped = not counts_epochs(runner) and runner.train_loop.stop_training
        if stopped and runner.iter < runner.max_iters and runner.iter % self.interval:
            self.act(runner, runner.iter)

    @abstractmethod
    def act(self, runner, step: int) -> None:
        """Do it."""


@HOOKS.register_module()
class ProbeHook(EveryFewEpochs, StatefulHook):
    """Fit a probe to ``model.extract_features`` on labelled samples and log its accuracy on held-out ones.

    Logged as ``probe/<kind>``; the step is the epoch (iteration loops: the iteration). 0 is the untrained model.

    Args:
        train_dataloader: Config of the samples that the probe is fitted to.
        test_dataloader: Config of the samples it is judged on.
        interval: Epochs (iterations) between two probes.
        kind: ``svm``, ``linear`` or ``knn``. The SVM takes features as they are (Point-BERT's protocol), so its figure
            also follows their scale, which moves in the first epochs; ``linear`` standardises them.
    """

    priority = "NORMAL"

    def __init__(self, train_dataloader: dict, test_dataloader: dict, interval: int = 10, kind: str = "svm") -> None:
        super().__init__(interval)
        self.kind = kind
        self.probe = find_probe(kind)
        self._configs = {"train": train_dataloader, "test": test_dataloader}
        self._loaders: dict[str, DataLoader] = {}
        self.history: dict[int, float] = {}

    def state_dict(self) -> dict:
        """Return the accuracies so far."""
        return {"history": self.history}

    def load_state_dict(self, state: dict) -> None:
        """Continue the record."""
        self.history = dict(state["history"])

    def act(self, runner, step: int) -> None:
        """Extract, fit, judge and log."""
        model = getattr(runner.model, "module", runner.model)
        if not hasattr(model, "extract_features"):
            raise ConfigError(f"ProbeHook: {type(model).__name__} has no extract_features(points)")
        data = {split: extract_features(model, self._loader(runner, split)) for split in self._configs}
        if is_main_process():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an SVM that has not converged is still a probe
                accuracy = self.probe(*data["train"], *data["test"])
            self.history[step] = accuracy
            runner.visualizer.add_scalar(f"probe/{self.kind}", accuracy, step=step)
            print_log(f"probe ({self.kind}) at {step}: accuracy {accuracy:.4f}", logger="current")

    def _loader(self, runner, split: str) -> DataLoader:
        if split not in self._loaders:
            self._loaders[split] = Runner.build_dataloader(seeded(self._configs[split]), seed=runner.seed)
        return self._loaders[split]


@HOOKS.register_module()
class ReconstructionHook(EveryFewEpochs):
    """Save pictures of ``model.reconstruct``: input, what was visible, and the prediction for the rest.

    The samples and their masks are the same each time. PNG files go to ``pictures/`` in the work directory (driving
    scenes: one each), the first pictures also to TensorBoard.

    Args:
        dataloader: Config of the samples; None takes the first samples of the validation or training data.
        interval: Epochs (iterations) between two sheets.
        samples: Samples on a sheet.
        up: Axis of object clouds that points up in the picture, "y" or "z".
    """

    priority = "NORMAL"

    def __init__(
        self, dataloader: dict | None = None, interval: int = 10, samples: int = 6, up: Literal["y", "z"] = "y"
    ) -> None:
        super().__init__(interval)
        if up not in ("y", "z"):
            raise ConfigError(f'ReconstructionHook: up must be "y" or "z", got {up!r}')
        self.samples = samples
        self.up = up
        self._config = dataloader
        self._batch: dict | None = None
        self._names: list[str] = []

    def act(self, runner, step: int) -> None:
        """Draw a sheet."""
        model = getattr(runner.model, "module", runner.model)
        if not hasattr(model, "reconstruct"):
            raise ConfigError(f"ReconstructionHook: {type(model).__name__} has no reconstruct(points)")
        if self._batch is None:
            self._batch = self._first_samples(runner)
        with quiet(model):
            batch = model.data_preprocessor(self._batch, training=False)
            inputs = inputs_of(model, batch)
            generator = torch.Generator(device=inputs[0].device).manual_seed(0)
            result = model.reconstruct(*inputs, generator=generator, **context_of(model, batch)).to("cpu")
        if is_main_process():
            self._draw(runner, step, result)

    def _draw(self, runner, step: int, result) -> None:
        if isinstance(result, SceneReconstruction):
            self._draw_scenes(runner, step, result)
            return
        path = Path(runner.work_dir) / "pictures" / f"reconstruction_{step:06d}.png"
        shown = range(min(2, len(result.original)))
        if isinstance(result, PixelReconstruction):
            save_pixel_reconstructions(result, path, titles=self._names, limit=self.samples)
            rows = [render_pixels(result, number) for number in shown]
        else:
            save_reconstructions(result, path, titles=self._names, limit=self.samples, up=self.up)
            clouds = (result.original, result.visible, result.predicted)
            rows = [render_reconstruction(*(part[number] for part in clouds), up=self.up) for number in shown]
        for number, row in enumerate(rows):
            runner.visualizer.add_image(f"reconstruction_{number}", np.concatenate(row, axis=1), step=step)

    def _draw_scenes(self, runner, step: int, result: SceneReconstruction) -> None:
        folder = Path(runner.work_dir) / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(self._names):
            figure = draw_reconstruction(result, title=name, index=number)
            figure.savefig(folder / f"reconstruction_{step:06d}_{number}.png")
            if number < 2:
                image = np.asarray(figure.canvas.buffer_rgba())[..., :3]
                runner.visualizer.add_image(f"reconstruction_{number}", image, step=step)

    def _first_samples(self, runner) -> dict:
        if self._config is not None:
            loader = Runner.build_dataloader(seeded(self._config), seed=runner.seed)
        elif isinstance(runner._val_loop, BaseLoop):
            loader = runner.val_dataloader
        else:
            loader = runner.train_dataloader
        dataset = loader.dataset
        step = max(len(dataset) // self.samples, 1)
        chosen = list(range(0, len(dataset), step))[: self.samples]
        name_of = getattr(dataset, "sample_name", str)
        samples = [dataset[index] for index in chosen]
        own = [int(sample.get("index", index)) for index, sample in zip(chosen, samples)]  # a subset keeps its set's
        self._names = [Path(str(name_of(index))).name for index in own]
        return loader.collate_fn(samples)

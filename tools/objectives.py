"""The objectives of a comparison: what each needs, whether their backbones are the same, what a run of one measured."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from trainings import Training  # noqa: E402  (beside this file)

from mae3d.datasets.text.prepare import prepare_sts  # noqa: E402
from mae3d.engine.config import load_config  # noqa: E402
from mae3d.errors import ConfigError  # noqa: E402
from mae3d.models.backbones import ViT  # noqa: E402
from mae3d.registry import MODELS  # noqa: E402

DATA = "data/"
"""Paths in configs that begin so are looked for in the folder of ``--data``."""
VOCABULARY = 2000
"""Words of the text objectives."""
SIMULATED = "-simulated"
"""Ending of the config that takes the place of one whose data are not there."""


@dataclass(frozen=True)
class Backbone:
    """Form of the blocks that objectives share.

    Attributes:
        size: (blocks, width, heads).
        shapes: Name and shape of every tensor of the blocks.
        norm: Where the norms sit in a block.
    """

    size: tuple[int, int, int]
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    norm: str

    def difference(self, other: Backbone) -> str:
        """What keeps the blocks of ``other`` from starting these; empty where nothing does."""
        if self.size != other.size:
            return f"blocks x width x heads are {self.size} and {other.size}"
        if self.shapes != other.shapes:
            names = sorted({name for name, _ in set(self.shapes) ^ set(other.shapes)})
            return f"the blocks' tensors differ: {', '.join(names[:4])}"
        return "" if self.norm == other.norm else f"norms are {self.norm} and {other.norm}"


@dataclass(frozen=True)
class Objective:
    """One row of the comparison.

    Attributes:
        name: Stem of the config without its size: "images", "points-simulated".
        config: File.
        options: Config values that lead to the data.
        missing: Why it cannot run; empty where it can.
        about: First line of the config's description.
        part: Name of the backbone in the model.
        source: Objective whose trained blocks it starts from, None for random ones.
    """

    name: str
    config: Path
    options: dict[str, object] = field(default_factory=dict)
    missing: str = ""
    about: str = ""
    part: str = "encoder"
    source: Objective | None = None

    def backbone(self) -> Backbone:
        """Form of the blocks.

        Raises:
            ConfigError: The part of that name has no blocks.
        """
        cfg = load_config(self.config, self.options)
        with torch.device("meta"):
            model = MODELS.build({**cfg.model, "data_preprocessor": None})
        vit = dict(model.named_modules()).get(self.part)
        if not isinstance(vit, ViT):
            raise ConfigError(f"{self.config.name}: {type(model).__name__} has no transformer named {self.part!r}")
        shapes = tuple((name, tuple(value.shape)) for name, value in vit.blocks.state_dict().items())
        size = (vit.depth, vit.embed_dim, vit.blocks[0].attn.num_heads)
        return Backbone(size, shapes, vit.blocks[0].norm_placement)

    def training(self, output: Path, options: dict[str, object], seed: int, amp: str | None = None) -> Training:
        """Its run with a seed; of one that starts from another, whose run must be finished."""
        folder = output / "runs" / self.name.replace(" ", "_") / f"seed_{seed}"
        values, after = {**self.options, **options}, None
        if self.source is not None:
            after = self.source.training(output, options, seed, amp)
            values |= {
                "model.init_cfg.type": "mae3d.checkpoints.PretrainedBlocks",
                "model.init_cfg.checkpoint": after.checkpoint.resolve(),
                "model.init_cfg.part": f"{self.part}.blocks",
                "model.init_cfg.source": f"{self.source.part}.blocks",
            }
        return Training(f"{self.name}, seed {seed}", self.config, folder, values, seed, amp, after)

    def started_from(self, source: Objective, unlike: str = "") -> Objective:
        """The same objective on the blocks that ``source`` has trained, or the reason why it cannot take them."""
        missing = f"blocks do not fit: {unlike}" if unlike else ""
        return replace(self, name=f"{self.name} from {source.name}", missing=missing, source=source)


def find_objectives(configs: Sequence[Path], data: Path, made: Path) -> list[Objective]:
    """One objective a config; where its data are not there, the simulated one beside it, or the reason.

    A simulated config that is given together with the one it stands in for makes no row of its own.

    Args:
        configs: Files.
        data: Where the data are.
        made: Where to look for what is not there, and to write what has to be made of the data first.
    """
    given = {path.resolve() for path in configs}
    found = []
    for path in configs:
        if path.stem.endswith(SIMULATED) and path.with_stem(path.stem.removesuffix(SIMULATED)).resolve() in given:
            continue
        objective = _objective(path, data, made)
        instead = path.with_stem(path.stem + SIMULATED)
        found.append(_objective(instead, data, made) if objective.missing and instead.is_file() else objective)
    return found


def prepare(data: Path, made: Path) -> None:
    """Sentences and vocabulary of the STS benchmark, which text objectives need, where its table is."""
    table = data / "text" / "stsb_en_train.csv"
    places = (data / "sts" / "vocab.txt", made / "sts" / "vocab.txt")
    if table.is_file() and not any(place.is_file() for place in places):
        prepare_sts(made / "sts", table, VOCABULARY)


def _objective(path: Path, data: Path, made: Path) -> Objective:
    cfg = load_config(path)
    name = path.stem.replace("_tiny", "")
    wanted = dict(_paths(cfg.to_dict()))
    options = {key: _place(value.removeprefix(DATA), data, made) for key, value in wanted.items()}
    absent = sorted({str(where) for where in options.values() if not where.exists()})
    missing = f"no data: {', '.join(absent)}" if absent else ""
    about = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
    part = cfg.default_hooks.cost.get("backbone", "encoder") if "cost" in cfg.get("default_hooks", {}) else "encoder"
    return Objective(name, path, options, missing, about, part)


def _place(path: str, data: Path, made: Path) -> Path:
    """Where a path of a config is, or should be."""
    instead = made / path
    return (instead if instead.exists() and not (data / path).exists() else data / path).resolve()


def _paths(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, path) of every value below ``DATA``."""
    if isinstance(value, dict):
        items = [(name, item) for name, item in value.items() if not str(name).startswith("_")]
    elif isinstance(value, (list, tuple)):
        items = list(enumerate(value))
    else:
        if isinstance(value, str) and value.startswith(DATA):
            yield key, value
        return
    for name, item in items:
        yield from _paths(item, f"{key}.{name}" if key else str(name))

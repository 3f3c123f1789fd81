"""What a detector loses when the scanner leaves sectors out, beside what that saves.

Source of the idea: R-MAE (arXiv 2406.07833, section 4); the published code has no such inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from mmengine.config import Config

from mae3d.datasets.transforms.lidar import SensingReport, SkipSectors, sensing_table
from mae3d.engine.run import build_test_runner
from mae3d.errors import ConfigError

Row = tuple[SensingReport, dict[str, float]]


def sensing_budget(
    cfg: Config, ratios: Sequence[float], *, sector_degrees: float = 1.0, near_reach: float = 0.0
) -> dict[str, Row]:
    """Test ``cfg.load_from`` once for each share of skipped sectors.

    Each run draws the same sectors in every repetition: the config's seed decides.

    Args:
        cfg: Config of a detector with a test split; left as it is.
        ratios: Shares of the sectors that are skipped, in [0, 1).
        sector_degrees: Width of a sector.
        near_reach: Range of low-power pulses into skipped sectors, metres; 0 fires none.

    Returns:
        Name of a setting -> what was saved, and the metrics.

    Raises:
        ConfigError: no ratio, one outside [0, 1), or a config without a batch preprocessor.
    """
    if not ratios or not all(0 <= ratio < 1 for ratio in ratios):
        raise ConfigError(f"sensing budget: ratios must lie in [0, 1), got {list(ratios)}")
    if "data_preprocessor" not in cfg:
        raise ConfigError(f"{cfg.filename} has no data_preprocessor, in which sectors could be skipped")
    options = {"type": SkipSectors.__name__, "sector_degrees": sector_degrees, "near_reach": near_reach}
    rows = {}
    for ratio in ratios:
        own = deepcopy(cfg)
        kept = list(own.data_preprocessor.get("test_transforms", ()))
        own.data_preprocessor.test_transforms = [*kept, {**options, "ratio": ratio}]
        runner = build_test_runner(own)
        metrics = runner.test()
        model = getattr(runner.model, "module", runner.model)
        rows[f"{ratio:.0%} of the sectors skipped"] = model.data_preprocessor.test_transforms[-1].report, metrics
    return rows


def budget_table(rows: dict[str, Row], metrics: Sequence[str] | None = None) -> str:
    """Markdown table of :func:`sensing_budget`; ``metrics`` names those shown, default the first four."""
    names = list(next(iter(rows.values()))[1])
    shown = [name for name in names if name in metrics] if metrics else names[:4]
    return sensing_table({key: (report, {n: scores[n] for n in shown}) for key, (report, scores) in rows.items()})

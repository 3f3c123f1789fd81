"""Line charts of training scalars."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.figure

from mae3d.errors import DataError


def read_scalars(path: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Read a ``scalars.json`` of a run (one JSON object a line) into name -> [(step, value)].

    Raises:
        DataError: the file is missing or a line is not a JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such scalars file; a run writes it to <work_dir>/TIME/vis_data/scalars.json")
    series: dict[str, list[tuple[int, float]]] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            record = json.loads(line)
            step = int(record.pop("step"))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise DataError(f"{path}: line {number} is not a JSON object with a 'step': {line[:80]!r}") from error
        for name, value in record.items():
            if isinstance(value, (int, float)):
                series.setdefault(name, []).append((step, float(value)))
    return series


def line_chart(
    series: dict[str, list[tuple[float, float]]],
    *,
    x_label: str,
    y_label: str,
    log_y: bool = False,
) -> matplotlib.figure.Figure:
    """Draw named series of (x, y) pairs on one pair of axes."""
    figure = matplotlib.figure.Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, pairs in series.items():
        axes.plot([x for x, _ in pairs], [y for _, y in pairs], label=name, linewidth=1.4)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if log_y:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    if len(series) > 1:
        axes.legend(frameon=False)
    return figure

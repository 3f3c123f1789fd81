"""Tables and charts of a comparison, made of the results that tools/compare.py writes, and the page that holds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from mae3d.visualization.curves import line_chart
from mae3d.visualization.report import Report

Row = dict[str, Any]
Rows = Sequence[Row]
Table = list[list[str]]
BEFORE, AFTER = "#b8c0cc", "#2f6fb5"


def result_table(results: dict[str, Any]) -> Table:
    """What was learned: losses, and the probe before and after training; rows that did not run say why."""
    head = ["objective", "loss at start", "at end", "end / start", "probe", "before training", "after", "note"]
    body = []
    for row in results["rows"]:
        if not row["runs"]:
            body.append([row["name"], *[""] * 6, row["missing"] or "not finished"])
            continue
        losses = [spread(row, lambda run, at=at: run["loss"][at][1], ".3g") for at in (0, -1)]
        ratio = spread(row, lambda run: run["loss"][-1][1] / run["loss"][0][1], ".2f")
        probes = row["runs"][0]["probes"]
        name = next(iter(probes), None)
        scores = [spread(row, lambda run, at=at: percent(run, at), ".1f") if name else "-" for at in (0, 1)]
        body.append([row["name"], *losses, ratio, name or "-", *scores, row["missing"]])
    if any(line[-1] for line in body):
        return [head, *body]
    return [line[:-1] for line in (head, *body)]


def cost_table(results: dict[str, Any]) -> Table:
    """Speed and memory."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "steps": lambda c: f"{c['steps']}",
        "samples / s": lambda c: f"{c['samples'] / c['seconds']:.1f}",
        "tokens / s": lambda c: f"{c['tokens'] / c['seconds']:.0f}" if c["tokens"] else "-",
        "tokens / sample": lambda c: f"{c['tokens'] / c['samples']:.0f}" if c["tokens"] else "-",
        "through the backbone": lambda c: f"{c['encoded'] / c['samples']:.0f}",
        "CPU s / step": lambda c: f"{c['cpu_seconds'] / c['timed_steps']:.3f}",
        "loading": lambda c: f"{1 - c['step_seconds'] / c['seconds']:.0%}",
        "memory MB": lambda c: f"{c['memory_mb']:.0f}",
    }
    return _of_costs(results, columns)


def size_table(results: dict[str, Any]) -> Table:
    """Parameters and operations."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "backbone": lambda c: f"{c['parameters']['backbone']:,}",
        "other parameters": lambda c: f"{c['parameters']['rest']:,}",
        "GFLOP / step": lambda c: f"{c['flops_per_step'] / 1e9:.2f}",
        "MFLOP / sample": lambda c: (
            f"{c['flops_per_step'] * c['timed_steps'] / c['samples'] / 1e6:.0f}" if c["timed_steps"] else "-"
        ),
        "GFLOP / s": lambda c: f"{c['flops_per_step'] * c['timed_steps'] / c['step_seconds'] / 1e9:.1f}",
    }
    return _of_costs(results, columns)


def _of_costs(results: dict[str, Any], columns: dict[str, Callable[[dict[str, Any]], str]]) -> Table:
    """A line for each row that ran; of its first seed, for costs are those of a machine."""
    ran = [(row["name"], row["runs"][0]["cost"]) for row in results["rows"] if row["runs"] and not row["init_from"]]
    timed = [(name, cost) for name, cost in ran if cost["timed_steps"]]
    return [["objective", *columns], *([name, *(cell(cost) for cell in columns.values())] for name, cost in timed)]


def spread(row: Row, value: Callable[[dict[str, Any]], float], form: str) -> str:
    """Mean of a value over seeds, with the deviation of a sample where there are several."""
    values = np.array([value(run) for run in row["runs"]])
    return f"{values.mean():{form}}" + (f" ± {values.std(ddof=1):{form}}" if len(values) > 1 else "")


def percent(run: dict[str, Any], at: int) -> float:
    """The first probe of a run, before (0) or after (1) training."""
    return 100 * next(iter(run["probes"].values()))[at]


def curve(row: Row, *, relative: bool = False, by_time: bool = False) -> list[tuple[float, float]]:
    """Loss over steps, or seconds of training: the mean of the steps that every seed has."""
    runs = [dict(map(tuple, run["loss"])) for run in row["runs"]]
    steps = sorted(set.intersection(*(set(run) for run in runs)))
    rates = [run["cost"]["seconds"] / max(run["cost"]["timed_steps"], 1) if by_time else 1.0 for run in row["runs"]]
    rate = sum(rates) / len(rates)
    first = [run[steps[0]] if relative else 1.0 for run in runs]
    return [(step * rate, sum(run[step] / own for run, own in zip(runs, first)) / len(runs)) for step in steps]


def loss_panels(rows: Rows, by_time: bool) -> matplotlib.figure.Figure:
    """A panel for each objective with its own loss, from random blocks and from trained ones."""
    own = [row for row in rows if not row["init_from"]]
    columns = min(3, len(own))
    lines = -(-len(own) // columns)
    figure = matplotlib.figure.Figure(figsize=(3.2 * columns, 2.4 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, row in zip(grid.flat, own):
        others = [other for other in rows if other["init_from"] and other["config"] == row["config"]]
        for one in (row, *others):
            label = f"from {one['init_from']}" if one["init_from"] else "from random blocks"
            axes.plot(*zip(*curve(one, by_time=by_time)), label=label, linewidth=1.3)
        axes.set_title(row["name"], fontsize=10)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3, which="both")
        if others:
            axes.legend(frameon=False, fontsize=7)
    for axes in list(grid.flat)[len(own) :]:
        axes.axis("off")
    return figure


def probe_bars(rows: Rows) -> matplotlib.figure.Figure:
    """Probe before and after training."""
    shown = [row for row in rows if row["runs"][0]["probes"]]
    figure = matplotlib.figure.Figure(figsize=(7, 0.6 + 0.42 * len(shown)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(shown))[::-1]
    for at, (color, label, shift) in enumerate(((BEFORE, "before training", 0.19), (AFTER, "after", -0.19))):
        scores = [[percent(run, at) for run in row["runs"]] for row in shown]
        lengths = [np.mean(values) for values in scores]
        errors = [np.std(values, ddof=1) if len(values) > 1 else 0.0 for values in scores]
        axes.barh(places + shift, lengths, 0.36, color=color, label=label, xerr=errors if any(errors) else None)
    axes.set_yticks(places, [f"{row['name']} ({next(iter(row['runs'][0]['probes']))})" for row in shown])
    axes.set_xlabel("probe, percent")
    axes.grid(alpha=0.3, axis="x")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def write_page(path: Path, results: dict[str, Any]) -> Path:
    """The page; with nothing finished yet it holds the table of reasons alone."""
    settings, rows = results["settings"], [row for row in results["rows"] if row["runs"]]
    size = settings["backbone"]
    report = Report("One backbone, many objectives")
    length = f"{settings['steps']} steps" if settings["steps"] else f"{settings['minutes']:g} minutes of training"
    report.paragraph(
        f"The same transformer ({size['blocks']} blocks of width {size['width']}, {size['heads']} heads) trained "
        f"for {length} on each objective, with one optimizer, rate and schedule. Seeds: "
        f"{', '.join(map(str, settings['seeds']))}. {settings['device']}, {settings['precision']}."
    )
    report.table(*_split(result_table(results)))
    report.paragraph(
        "Losses are of different kinds: their values cannot be compared between rows, the last one over the first "
        "tells how far each went. A probe is fitted to frozen features of labelled samples and judged on others, in "
        "percent; before training it judges the random weights, or the blocks that a row starts from."
    )
    by_time = settings["minutes"] is not None
    x_label = "seconds of training" if by_time else "step"
    own = [row for row in rows if not row["init_from"]]
    if rows:
        report.heading("Loss relative to its start")
        series = {row["name"]: curve(row, relative=True, by_time=by_time) for row in own}
        figure = line_chart(series, x_label=x_label, y_label="loss / first logged loss", log_y=True)
        figure.axes[0].legend(series, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        report.figure(figure)
        report.heading("Loss")
        report.figure(loss_panels(rows, by_time), f"Each in its own unit, over the {x_label}.")
        report.heading("Probe")
        report.figure(probe_bars(rows))
        report.heading("Speed and memory")
        report.table(*_split(cost_table(results)))
        report.paragraph(
            "Tokens are those that the tokenizer makes of whole samples; through the backbone go those that are not "
            "hidden (and class tokens beside them). Times are of the training process with loading, whose share the "
            "column of that name tells; CPU seconds do not depend on what else the machine does. Memory is what the "
            "process grew by (on a GPU: what was allocated there at most)."
        )
        report.heading("Parameters and operations")
        report.table(*_split(size_table(results)))
        report.paragraph(
            "Matrix products, convolutions and attention of one training step, forward and backward, counted as they "
            "run; operations per second without loading."
        )
    report.heading("Objectives")
    for row in results["rows"]:
        if not row["init_from"]:
            report.paragraph(f"{row['name']} ({row['config']}). {row['about']}")
    return report.save(path)


def _split(table: Table) -> tuple[list[str], Table]:
    return table[0], table[1:]

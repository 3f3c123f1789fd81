"""What of a data set is there, what is missing and what is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch.utils.data import DataLoader

from mae3d.datasets.base import SampleDataset
from mae3d.datasets.parallel import Progress
from mae3d.errors import DataError

SHOWN = 5
"""Missing files that a report names one by one."""


@dataclass
class LayoutReport:
    """What was found under a folder.

    Attributes:
        root: The folder.
        found: One line for each thing that is there.
        notes: Things that differ from the published set or that could be built, but hinder nothing.
        problems: Things that hinder; each says what is missing or damaged.
    """

    root: Path
    found: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.root}"]
        lines += [f"  ok       {line}" for line in self.found]
        lines += [f"  note     {line}" for line in self.notes]
        lines += [f"  problem  {line}" for line in self.problems]
        return "\n".join(lines)

    def count(self, what: str, number: int, published: int) -> None:
        """Note a count, and the published one where it differs."""
        self.found.append(f"{what}: {number:,}")
        if number != published:
            self.notes.append(f"{what}: the published set has {published:,}")

    def files(self, what: str, paths: Sequence[Path]) -> None:
        """Note how many of ``paths`` exist and are not empty; name the first that are not."""
        sizes = {path: path.stat().st_size if path.is_file() else None for path in paths}
        absent = [path for path, size in sizes.items() if size is None]
        empty = [path for path, size in sizes.items() if size == 0]
        if not absent and not empty:
            self.found.append(f"{what}: all {len(paths):,} files")
        for kind, bad in (("missing", absent), ("empty", empty)):
            if bad:
                names = ", ".join(str(path.relative_to(self.root)) for path in bad[:SHOWN])
                rest = f" and {len(bad) - SHOWN:,} more" if len(bad) > SHOWN else ""
                self.problems.append(f"{what}: {len(bad):,} of {len(paths):,} files are {kind}: {names}{rest}")


def read_everything(
    dataset: SampleDataset, report: LayoutReport, what: str, *, workers: int = 0, progress: Progress | None = None
) -> None:
    """Load each sample of ``dataset`` (made with ``on_error="skip"``) and name the unreadable ones."""
    loader = DataLoader(dataset, batch_size=None, num_workers=workers)
    try:
        for done, _ in enumerate(loader, start=1):
            if progress is not None:
                progress(done, len(dataset))
    except DataError as error:
        report.problems.append(str(error))
        return
    if dataset.skipped:
        report.problems.append(f"{what}: {dataset.skip_report()}")
    else:
        report.found.append(f"{what}: all {len(dataset):,} samples are readable")

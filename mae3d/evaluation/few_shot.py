"""Summary of few-shot folds."""

from __future__ import annotations

import math

from mae3d.errors import DataError


class FewShotSummary:
    """Mean and standard deviation of accuracy over independent folds (ModelNet40 few-shot: 10 folds per setting)."""

    def __init__(self) -> None:
        self.folds: dict[int, float] = {}

    def process(self, fold: int, accuracy: float) -> None:
        """Take in the accuracy of one fold.

        Raises:
            DataError: The fold was given before.
        """
        if fold in self.folds:
            raise DataError(f"FewShotSummary: fold {fold} was given twice ({self.folds[fold]} and {accuracy})")
        self.folds[fold] = accuracy

    def compute(self) -> dict[str, float]:
        """``mean`` and population ``std`` over the folds, and their number ``folds``."""
        if not self.folds:
            raise DataError("FewShotSummary.compute: no fold was given")
        count = len(self.folds)
        mean = math.fsum(self.folds.values()) / count
        variance = math.fsum((value - mean) ** 2 for value in self.folds.values()) / count
        return {"mean": mean, "std": math.sqrt(variance), "folds": count}

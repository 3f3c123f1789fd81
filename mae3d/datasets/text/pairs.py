"""Texts that belong together: scored pairs of sentences, queries with passages."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mae3d.datasets.files import require_file
from mae3d.datasets.text.base import TokenDataset
from mae3d.datasets.text.documents import Documents, check_length, field_of
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS

HINT = "Expected sentence, sentence and score in each row (STS benchmark)."


def read_scored_pairs(path: str | Path, columns: Sequence[int] = (0, 1, 2)) -> list[tuple[str, str, float]]:
    """Rows of a .csv (RFC 4180 quoting) or .tsv (no quoting) file without header.

    Raises:
        DataError: The file is missing, or a row lacks a column or a number.
    """
    path = Path(path)
    dialect = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if path.suffix == ".tsv" else {}
    rows = []
    with require_file(path, HINT).open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file, **dialect)):
            try:
                first, second, score = (row[column] for column in columns)
                rows.append((first, second, float(score)))
            except (IndexError, ValueError) as error:
                raise DataError(
                    f"{path}[{number}]: columns {tuple(columns)} are no pair with a score: {row[:4]}. {HINT}"
                ) from error
    return rows


@DATASETS.register_module()
class SentencePairs(TokenDataset):
    """Pairs of sentences with a similarity, as the STS benchmark has them.

    A sample is ``{"query_tokens": int64 [n], "passage_tokens": int64 [m], "score": float32, "index": int64}``.

    Args:
        path: .csv or .tsv file without header.
        vocabulary: See :class:`TextTokenizer`.
        max_length: See :class:`TokenDataset`.
        columns: Columns of the two sentences and of the score.
        min_score: Only pairs with at least this score: positive pairs for contrastive training.
        **options: See :class:`TokenDataset`.
    """

    def __init__(
        self,
        path: str | Path,
        vocabulary: str | Path,
        max_length: int = 128,
        *,
        columns: Sequence[int] = (0, 1, 2),
        min_score: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(vocabulary, max_length, **options)
        self.path = Path(path)
        rows = read_scored_pairs(path, columns)
        self.rows = [(number, *row) for number, row in enumerate(rows) if min_score is None or row[2] >= min_score]
        if not self.rows:
            raise DataError(f"{path}: none of the {len(rows)} pairs has a score of at least {min_score}. {HINT}")
        self.prepare_skipping()

    def __len__(self) -> int:
        return len(self.rows)

    def sample_name(self, index: int) -> str:
        """File and row."""
        return f"{self.path}[{self.rows[int(index)][0]}]"

    def load(self, index: int) -> dict[str, Any]:
        """Pair ``index``."""
        name = self.sample_name(index)
        _, first, second, score = self.rows[int(index)]
        return {
            "query_tokens": self.enclosed(first, self.max_length, name),
            "passage_tokens": self.enclosed(second, self.max_length, name),
            "score": torch.tensor(score, dtype=torch.float32),
            "index": torch.tensor(int(index), dtype=torch.int64),
        }


@DATASETS.register_module()
class QueryPassages(TokenDataset):
    """Queries with positive and negative passages, for contrastive training.

    A row is an object with a query, one or more positives, and negatives (none where ``group_size`` is 1). A sample is
    ``{"query_tokens": int64 [n], "passage_tokens": [int64 [m], ...], "index": int64}`` with ``group_size`` passages:
    one of the positives, then negatives drawn without replacement (with it, where the row has too few); with
    ``teacher_fields`` also ``teacher_scores`` float32 [group_size].

    Args:
        path: .jsonl or .parquet file, or a folder of them.
        vocabulary: See :class:`TextTokenizer`.
        query_length: Largest number of tokens of a query.
        passage_length: Largest number of tokens of a passage.
        group_size: Passages of a sample, the positive counted.
        fields: Names of the fields of query, positives and negatives.
        teacher_fields: Names of the fields of a teacher's scores, lists beside positives and negatives.
        **options: See :class:`TokenDataset`.
    """

    def __init__(
        self,
        path: str | Path,
        vocabulary: str | Path,
        *,
        query_length: int = 32,
        passage_length: int = 140,
        group_size: int = 16,
        fields: Sequence[str] = ("query", "pos", "neg"),
        teacher_fields: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(vocabulary, passage_length, **options)
        if group_size < 1:
            raise ConfigError(f"QueryPassages: group_size must be at least 1, got {group_size}")
        self.query_length = check_length("QueryPassages: query_length", query_length)
        self.group_size = group_size
        self.fields, self.teacher_fields = tuple(fields), None if teacher_fields is None else tuple(teacher_fields)
        self.documents = Documents(path, self.fields[0])
        self.prepare_skipping()

    def __len__(self) -> int:
        return len(self.documents)

    def sample_name(self, index: int) -> str:
        """File and line."""
        return self.documents.name(index)

    def load(self, index: int) -> dict[str, Any]:
        """Query ``index`` with passages drawn for it."""
        name, row = self.sample_name(index), self.documents.row(index)
        query, positives, negatives = self._texts(row, name)
        generator = self.random_generator(index)
        positive = int(generator.integers(len(positives)))
        wanted = self.group_size - 1
        chosen = generator.choice(len(negatives), wanted, replace=len(negatives) < wanted) if wanted else []
        texts = [positives[positive], *(negatives[number] for number in chosen)]
        sample = {
            "query_tokens": self.enclosed(query, self.query_length, name),
            "passage_tokens": [self.enclosed(text, self.max_length, name) for text in texts],
            "index": torch.tensor(int(index), dtype=torch.int64),
        }
        if self.teacher_fields is not None:
            sample["teacher_scores"] = self._teacher_scores(row, positive, chosen, name)
        return sample

    def _texts(self, row: dict[str, Any], name: str) -> tuple[str, list[str], list[str]]:
        query, positive = (field_of(row, field, name) for field in self.fields[:2])
        negative = field_of(row, self.fields[2], name) if self.group_size > 1 else []
        positives, negatives = ([one] if isinstance(one, str) else one for one in (positive, negative))
        if not isinstance(query, str) or not positives or (self.group_size > 1 and not negatives):
            raise DataError(
                f"{name}: needs one {self.fields[0]!r} and at least one of {self.fields[1]!r}"
                + (f" and of {self.fields[2]!r}; group_size=1 trains without negatives" if self.group_size > 1 else "")
            )
        return query, positives, negatives

    def _teacher_scores(self, row: dict[str, Any], positive: int, chosen: Sequence[int], name: str) -> torch.Tensor:
        try:
            good, bad = (np.atleast_1d(row.get(field, ())) for field in self.teacher_fields)
            scores = [float(good[positive]), *(float(bad[number]) for number in chosen)]
        except (IndexError, TypeError, ValueError) as error:
            raise DataError(f"{name}: {self.teacher_fields} do not give a score for each passage ({error})") from error
        return torch.tensor(scores, dtype=torch.float32)

"""Retrieval sets in BEIR's layout: queries, a corpus, and which passages answer which query."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mae3d.datasets.files import read_lines
from mae3d.datasets.text.base import TokenDataset
from mae3d.datasets.text.documents import JsonLines, check_length
from mae3d.errors import DataError
from mae3d.registry import DATASETS

HINT = "BEIR's layout: corpus.jsonl (_id, title, text), queries.jsonl (_id, text), qrels/SPLIT.tsv."


def read_relevance(path: Path) -> dict[str, dict[str, int]]:
    """Query -> passage -> grade, of a qrels file.

    Lines are ``query passage grade`` (BEIR, with a header) or ``query 0 passage grade`` (TREC).

    Raises:
        DataError: The file is missing, or a line is of neither form.
    """
    found: dict[str, dict[str, int]] = {}
    for number, line in enumerate(read_lines(path, HINT)):
        parts = line.split()
        if number == 0 and not parts[-1].lstrip("-").isdigit():
            continue
        if len(parts) not in (3, 4) or not parts[-1].lstrip("-").isdigit():
            raise DataError(f"{path}[{number}]: expected query, passage and grade, found {line[:60]!r}. {HINT}")
        found.setdefault(parts[0], {})[parts[-2]] = int(parts[-1])
    return found


def _numbers(file: JsonLines) -> dict[str, int]:
    """Name of each text -> its line."""
    found = {}
    for number, row in enumerate(file.rows()):
        if "_id" not in row:
            raise DataError(f"{file.path}[{number}]: lacks the field '_id'. {HINT}")
        found[str(row["_id"])] = number
    return found


@DATASETS.register_module()
class RetrievalTexts(TokenDataset):
    """The texts of a retrieval set to be encoded: first the queries with known answers, then the corpus.

    A sample is ``{"tokens": int64 [n], "role": int64 (0 a query, 1 a passage), "relevant": int64 [R], "gains": int64
    [R], "namesake": int64, "index": int64}``: indices and grades of the passages that answer a query (R = 0 for
    passages), and index of the passage that has the query's name (-1 where there is none, and for passages).

    A passage without text, as some corpora have, keeps its place and is the two special tokens alone.

    Args:
        root: Folder in BEIR's layout.
        vocabulary: See :class:`TextTokenizer`.
        split: Name of the file below ``qrels/``.
        query_length: Largest number of tokens of a query.
        passage_length: Largest number of tokens of a passage, title and text together.
        **options: See :class:`TokenDataset`.

    Raises:
        DataError: A file is missing or malformed, or names a passage or query that is not there.
    """

    def __init__(
        self,
        root: str | Path,
        vocabulary: str | Path,
        split: str = "test",
        *,
        query_length: int = 32,
        passage_length: int = 144,
        **options: Any,
    ) -> None:
        super().__init__(vocabulary, passage_length, **options)
        self.query_length = check_length("RetrievalTexts: query_length", query_length)
        self.root, self.split = Path(root), split
        self.corpus, self.queries = (JsonLines(self.root / name) for name in ("corpus.jsonl", "queries.jsonl"))
        path = self.root / "qrels" / f"{split}.tsv"
        relevance = read_relevance(path)
        passages, lines = _numbers(self.corpus), _numbers(self.queries)
        unknown = [one for one in relevance if one not in lines]
        unknown += [one for grades in relevance.values() for one in grades if one not in passages]
        if unknown:
            raise DataError(f"{path}: {len(unknown)} names are in no corpus or query file, e.g. {unknown[:3]}. {HINT}")
        ordered = sorted(relevance.items(), key=lambda item: lines[item[0]])
        self.chosen = [
            (lines[query], [passages[one] for one in grades], list(grades.values())) for query, grades in ordered
        ]
        self.namesakes = [passages.get(query) for query, _ in ordered]
        self.prepare_skipping()

    def __len__(self) -> int:
        return len(self.chosen) + len(self.corpus)

    @property
    def num_queries(self) -> int:
        """Queries with known answers; they come first."""
        return len(self.chosen)

    def sample_name(self, index: int) -> str:
        """File and line."""
        kind, number = self._place(index)
        return f"{(self.queries if kind == 'query' else self.corpus).path}[{number}]"

    def _place(self, index: int) -> tuple[Literal["query", "passage"], int]:
        index = int(index)
        if index < len(self.chosen):
            return "query", self.chosen[index][0]
        return "passage", index - len(self.chosen)

    def load(self, index: int) -> dict[str, Any]:
        """Query or passage ``index``."""
        kind, number = self._place(index)
        namesake = None
        if kind == "query":
            namesake = self.namesakes[int(index)]
            text = self.queries.row(number).get("text") or ""
            tokens = self.enclosed(text, self.query_length, self.sample_name(index))
            lines, gains = self.chosen[int(index)][1:]
            relevant = [self.num_queries + line for line in lines]
        else:
            row = self.corpus.row(number)
            text = " ".join(str(row[key]) for key in ("title", "text") if row.get(key))
            tokens = torch.from_numpy(self.tokenizer.enclose(self.tokenizer.encode(text), self.max_length))
            relevant, gains = [], []
        return {
            "tokens": tokens,
            "role": torch.tensor(int(kind == "passage")),
            "relevant": torch.from_numpy(np.asarray(relevant, dtype=np.int64)),
            "gains": torch.from_numpy(np.asarray(gains, dtype=np.int64)),
            "namesake": torch.tensor(-1 if namesake is None else self.num_queries + namesake),
            "index": torch.tensor(int(index), dtype=torch.int64),
        }

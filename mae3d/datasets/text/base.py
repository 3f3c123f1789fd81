"""Samples of token ids, and packed batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mae3d.datasets.base import SampleDataset
from mae3d.datasets.text.documents import Documents, check_length
from mae3d.datasets.text.tokenizer import TextTokenizer
from mae3d.errors import DataError
from mae3d.registry import DATASETS

RAGGED = {
    "tokens": "offsets",
    "query_tokens": "query_offsets",
    "passage_tokens": "passage_offsets",
    "relevant": "relevant_offsets",
}
"""Fields whose lengths differ from sample to sample -> the field of their offsets in a batch."""
BESIDE = ("words", "gains")
"""Fields that have one value for each row of one of the above."""


class TokenDataset(SampleDataset):
    """Base of the text data sets.

    Args:
        vocabulary: See :class:`TextTokenizer`.
        max_length: Largest number of tokens of a sample, the special ones at both ends counted.
        lowercase: See :class:`TextTokenizer`.
        seed, on_error: See :class:`mae3d.datasets.base.SampleDataset`.
    """

    def __init__(
        self,
        vocabulary: str | Path,
        max_length: int = 512,
        *,
        lowercase: bool = True,
        seed: int = 0,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        super().__init__(seed=seed, on_error=on_error)
        self.max_length = check_length(type(self).__name__, max_length)
        self.tokenizer = TextTokenizer(vocabulary, lowercase=lowercase)

    def enclosed(self, text: str, max_length: int, name: str) -> Tensor:
        """Ids int64 [n] of a text with the special tokens at both ends; ``name`` begins the message of a DataError."""
        ids = self.tokenizer.encode(text)
        if not len(ids):
            raise DataError(f'{name}: the text {text[:40]!r} holds no token. Remove it or set on_error="skip".')
        return torch.from_numpy(self.tokenizer.enclose(ids, max_length))

    def token_sample(self, ids: np.ndarray, index: int) -> dict[str, Any]:
        """Sample of the raw ids of one text: ``tokens`` and ``words``, int64 [n] each, and ``index``."""
        if not len(ids):
            raise DataError(f'{self.sample_name(index)}: no token in it. Remove it or set on_error="skip".')
        tokens = self.tokenizer.enclose(ids, self.max_length)
        return {
            "tokens": torch.from_numpy(tokens),
            "words": torch.from_numpy(self.tokenizer.words(tokens)),
            "index": torch.tensor(int(index), dtype=torch.int64),
        }


@DATASETS.register_module()
class TextDocuments(TokenDataset):
    """Documents of .jsonl, .txt or .parquet files, tokenised as they are asked for.

    A sample is ``{"tokens": int64 [n], "words": int64 [n], "index": int64}``: the first ``max_length - 2`` ids between
    the special tokens, and the number of the word that each belongs to (-1 at the special tokens).

    Args:
        path: See :class:`Documents`.
        vocabulary: See :class:`TextTokenizer`.
        max_length: See :class:`TokenDataset`.
        field: See :class:`Documents`.
        **options: See :class:`TokenDataset`.
    """

    def __init__(
        self, path: str | Path, vocabulary: str | Path, max_length: int = 512, *, field: str = "text", **options: Any
    ) -> None:
        super().__init__(vocabulary, max_length, **options)
        self.documents = Documents(path, field)
        self.prepare_skipping()

    def __len__(self) -> int:
        return len(self.documents)

    def sample_name(self, index: int) -> str:
        """File and line."""
        return self.documents.name(index)

    def load(self, index: int) -> dict[str, Any]:
        """Document ``index``."""
        text = self.documents[int(index)]
        return self.token_sample(self.tokenizer.encode(text if isinstance(text, str) else " ".join(text)), index)


def collate_tokens(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Packed batch of texts: ``tokens`` int64 [T] and ``offsets`` int64 [B + 1]; nothing is padded.

    The same holds for ``query_tokens`` and ``query_offsets``, for ``passage_tokens`` and ``passage_offsets`` (where a
    sample has several passages, each is one text of the batch), and for ``relevant`` and ``relevant_offsets``. Values
    beside them (``words``, ``gains``) are concatenated, all others stacked.
    """
    batch = {}
    for name in samples[0]:
        values = [sample[name] for sample in samples]
        if name in RAGGED:
            rows = [row for value in values for row in (value if isinstance(value, list) else [value])]
            batch[name] = torch.cat(rows)
            batch[RAGGED[name]] = torch.tensor([0, *map(len, rows)]).cumsum(0)
        elif name in BESIDE:
            batch[name] = torch.cat(values)
        else:
            batch[name] = torch.stack([torch.as_tensor(value) for value in values])
    return batch

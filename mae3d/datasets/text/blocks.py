"""A corpus packed into blocks of token ids: sentences are joined until a block is full."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.files import atomic_write, require_file
from mae3d.datasets.parallel import Progress
from mae3d.datasets.text.base import TokenDataset
from mae3d.datasets.text.documents import Documents
from mae3d.datasets.text.tokenizer import TextTokenizer
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS

HINT = "Write the blocks with: python tools/prepare_data.py text --help"
SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]]))\s+(?=[\"'(\[]*[A-Z0-9])")


def split_sentences(text: str) -> list[str]:
    """Sentences of a text: cut at blanks between a final mark and a capital letter or digit."""
    return [part for part in SENTENCE_END.split(text.strip()) if part]


def pack_sentences(
    documents: Iterable[list[np.ndarray]],
    length: int,
    *,
    short_probability: float = 0.0,
    across_documents: bool = False,
    generator: np.random.Generator | None = None,
) -> Iterator[np.ndarray]:
    """Join sentences to blocks.

    A block is closed once it holds at least its target: ``length`` ids, or, with ``short_probability``, a uniform
    draw of [2, length]. So a block may be longer by one sentence, which the data set cuts off.

    Args:
        documents: Ids of the sentences of each document.
        length: Ids of a block, special tokens not counted.
        short_probability: Share of blocks with a shorter target, so that short texts are seen too.
        across_documents: Let a block go on with the next document (books: a document is a line) instead of closing it.
        generator: Source of the draws.

    Yields:
        int64 [n] ids of each block.
    """
    draws = np.random.default_rng(0) if generator is None else generator

    def target() -> int:
        if short_probability and draws.random() < short_probability:
            return int(draws.integers(2, length + 1))
        return length

    block: list[np.ndarray] = []
    held, wanted = 0, target()
    for sentences in documents:
        for sentence in sentences:
            if held >= wanted:
                yield np.concatenate(block)
                block, held, wanted = [], 0, target()
            block.append(sentence)
            held += len(sentence)
        if held and not across_documents:
            yield np.concatenate(block)
            block, held, wanted = [], 0, target()
    if held:
        yield np.concatenate(block)


def write_blocks(
    documents: Documents,
    tokenizer: TextTokenizer,
    folder: str | Path,
    length: int = 510,
    *,
    short_probability: float = 0.0,
    across_documents: bool = False,
    seed: int = 0,
    batch: int = 1000,
    progress: Progress | None = None,
) -> int:
    """Tokenise documents on all cores and write their blocks; the number of blocks.

    The folder gets ``tokens.bin`` (the ids, two bytes each where the vocabulary allows), ``offsets.npy`` (int64
    [blocks + 1]) and ``blocks.json``, which appears last: a folder without it is not read.
    """
    if length < 1 or not 0 <= short_probability <= 1:
        raise ConfigError(
            f"write_blocks: length must be positive and short_probability in [0, 1], got {length}, {short_probability}"
        )
    folder = Path(folder)
    (folder / "blocks.json").unlink(missing_ok=True)
    kind = np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32)

    def tokenised() -> Iterator[list[np.ndarray]]:
        for start in range(0, len(documents), batch):
            chosen = range(start, min(start + batch, len(documents)))
            texts = [documents[number] for number in chosen]
            sentences = [text if isinstance(text, list) else split_sentences(text) for text in texts]
            ids = iter(tokenizer.encode_all(sentence for group in sentences for sentence in group))
            yield from ([next(ids) for _ in group] for group in sentences)
            if progress is not None:
                progress(chosen.stop, len(documents))

    blocks = pack_sentences(
        tokenised(),
        length,
        short_probability=short_probability,
        across_documents=across_documents,
        generator=np.random.default_rng(seed),
    )
    ends = [0]
    with atomic_write(folder / "tokens.bin") as file:
        for block in blocks:
            file.write(block.astype(kind).tobytes())
            ends.append(ends[-1] + len(block))
    with atomic_write(folder / "offsets.npy") as file:
        np.save(file, np.asarray(ends, dtype=np.int64))
    notes = {
        "dtype": kind.name,
        "blocks": len(ends) - 1,
        "length": length,
        "short_probability": short_probability,
        "across_documents": across_documents,
        "vocabulary": fingerprint(tokenizer.path),
    }
    with atomic_write(folder / "blocks.json", "w") as file:
        json.dump(notes, file, indent=2)
    return len(ends) - 1


def fingerprint(path: Path) -> str:
    """SHA-256 of a vocabulary file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_notes(path: Path) -> dict[str, Any]:
    content = require_file(path, HINT).read_text()
    try:
        notes = json.loads(content)
        return {name: notes[name] for name in ("vocabulary", "dtype")}
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: damaged ({error!r}). {HINT}") from error


@DATASETS.register_module()
class TokenBlocks(TokenDataset):
    """Blocks that ``tools/prepare_data.py text`` wrote; samples are those of :class:`TextDocuments`.

    Args:
        path: Folder of the blocks.
        vocabulary: The file that they were written with.
        max_length: See :class:`TokenDataset`.
        **options: See :class:`TokenDataset`.

    Raises:
        DataError: The blocks are missing, incomplete or of another vocabulary.
    """

    def __init__(self, path: str | Path, vocabulary: str | Path, max_length: int = 512, **options: Any) -> None:
        super().__init__(vocabulary, max_length, **options)
        self.path = Path(path)
        notes = _read_notes(self.path / "blocks.json")
        if notes["vocabulary"] != fingerprint(self.tokenizer.path):
            raise DataError(f"{self.path}: its blocks were written with another vocabulary than {vocabulary}. {HINT}")
        self.offsets = np.load(require_file(self.path / "offsets.npy", HINT))
        if len(self.offsets) < 2:
            raise DataError(f"{self.path}: holds no block; the documents that it was written from have no text. {HINT}")
        self._kind = np.dtype(notes["dtype"])
        size = require_file(self.path / "tokens.bin", HINT).stat().st_size
        if size != self.offsets[-1] * self._kind.itemsize:
            raise DataError(
                f"{self.path / 'tokens.bin'}: {size} bytes, expected {self.offsets[-1] * self._kind.itemsize} for "
                f"{self.offsets[-1]} ids. {HINT}"
            )
        self._tokens: tuple[int, np.ndarray] | None = None
        self.prepare_skipping()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tokens": None}

    def sample_name(self, index: int) -> str:
        """Folder and number of the block."""
        return f"{self.path}[{int(index)}]"

    def load(self, index: int) -> dict[str, Any]:
        """Block ``index``."""
        if self._tokens is None or self._tokens[0] != os.getpid():
            self._tokens = (os.getpid(), np.memmap(self.path / "tokens.bin", self._kind, mode="r"))
        start, end = self.offsets[int(index)], self.offsets[int(index) + 1]
        return self.token_sample(self._tokens[1][start:end].astype(np.int64), index)

"""Text to token ids, by the vocabulary files that published language models come with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.files import require_file
from mae3d.errors import DataError, MissingExtraError

HINT = (
    "Give the tokenizer.json or vocab.txt of the model, or train a vocabulary: python tools/prepare_data.py text --help"
)
SPECIAL_NAMES = {
    "pad": ("[PAD]", "<pad>"),
    "unknown": ("[UNK]", "<unk>"),
    "first": ("[CLS]", "<s>"),
    "last": ("[SEP]", "</s>"),
    "mask": ("[MASK]", "<mask>"),
}
"""Role of a special token -> its names in BERT's and RoBERTa's vocabularies."""


def import_tokenizers(purpose: str) -> Any:
    """The package ``tokenizers``.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise MissingExtraError("tokenizers", "text", purpose) from error
    return tokenizers


def bert_tokenizer(vocabulary: dict[str, int], lowercase: bool) -> Any:
    """BERT's WordPieces: cleaned text, split at blanks and punctuation, then longest pieces first."""
    tokenizers = import_tokenizers("reading text")
    unknown = SPECIAL_NAMES["unknown"][0]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([names[0] for names in SPECIAL_NAMES.values() if names[0] in vocabulary])
    return tokenizer


class TextTokenizer:
    """Token ids of texts, and which tokens go on a word that an earlier one began.

    Args:
        vocabulary: ``tokenizer.json`` of the package tokenizers, or ``vocab.txt`` of BERT (one WordPiece a line).
        lowercase: Lower case without accents; for ``vocab.txt`` alone, the other kind of file says so itself.

    Attributes:
        size: Number V of ids.
        ids: Role of a special token ("pad", "unknown", "first", "last", "mask") -> its id.
        continues: bool [V], tokens that continue a word: "##" pieces; of byte-level and sentence pieces those without
            a mark of a blank.

    Raises:
        MissingExtraError: tokenizers is not installed.
        DataError: The file is missing, unreadable, or lacks a special token.
    """

    def __init__(self, vocabulary: str | Path, *, lowercase: bool = True) -> None:
        self.path = Path(vocabulary)
        self.lowercase = lowercase
        self._tokenizer = self._read_json() if self.path.suffix == ".json" else self._read_list()
        names = self._tokenizer.get_vocab(with_added_tokens=True)
        self.size = max(names.values()) + 1
        self.ids = {role: self._special(role, names) for role in SPECIAL_NAMES}
        self.continues = _continuing(names, self.size)

    def _read_json(self) -> Any:
        tokenizers = import_tokenizers(f"reading {self.path.name}")
        require_file(self.path, HINT)
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(self.path))
        except Exception as error:  # the package raises plain Exception
            raise DataError(f"{self.path}: not a tokenizer of the package tokenizers ({error}). {HINT}") from error
        # Many published files say how their model cuts and pads batches: texts of a data set stay whole.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def _read_list(self) -> Any:
        try:
            pieces = require_file(self.path, HINT).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path}: not a text file ({error}). {HINT}") from error
        return bert_tokenizer({piece: number for number, piece in enumerate(pieces)}, self.lowercase)

    def _special(self, role: str, names: dict[str, int]) -> int:
        for name in SPECIAL_NAMES[role]:
            if name in names:
                return names[name]
        raise DataError(f"{self.path}: the vocabulary of {len(names)} tokens has none of {SPECIAL_NAMES[role]}. {HINT}")

    def __len__(self) -> int:
        return self.size

    def encode(self, text: str) -> np.ndarray:
        """Ids int64 [n] of one text, without the special tokens at its ends."""
        return np.asarray(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def encode_all(self, texts: Iterable[str]) -> list[np.ndarray]:
        """As :meth:`encode` for many texts, on all cores."""
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.asarray(one.ids, dtype=np.int64) for one in encoded]

    def decode(self, ids: np.ndarray) -> str:
        """Names of tokens, separated by blanks."""
        return " ".join(self._tokenizer.id_to_token(int(number)) or "?" for number in ids)

    def enclose(self, ids: np.ndarray, max_length: int) -> np.ndarray:
        """The first ``max_length - 2`` ids between the special tokens of the two ends."""
        first, last = self.ids["first"], self.ids["last"]
        return np.concatenate(([first], ids[: max_length - 2], [last]))

    def words(self, ids: np.ndarray) -> np.ndarray:
        """Number int64 [n] of the word that each token belongs to; -1 at the special tokens of the two ends."""
        ends = (ids == self.ids["first"]) | (ids == self.ids["last"])
        starts = ~self.continues[ids] & ~ends
        if not ends.all():
            starts[(~ends).argmax()] = True
        return np.where(ends, -1, starts.cumsum() - 1)


def _continuing(names: dict[str, int], size: int) -> np.ndarray:
    marks = ("Ġ", "▁")
    pieces = any(name.startswith("##") for name in names)
    blanks = any(name.startswith(marks) for name in names)
    continues = np.zeros(size, dtype=bool)
    for name, number in names.items():
        special = name in {other for group in SPECIAL_NAMES.values() for other in group}
        continues[number] = name.startswith("##") if pieces else blanks and not special and not name.startswith(marks)
    return continues

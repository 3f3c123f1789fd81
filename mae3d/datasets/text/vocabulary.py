"""A vocabulary of WordPieces, learned from a corpus."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mae3d.datasets.files import atomic_write
from mae3d.datasets.text.tokenizer import SPECIAL_NAMES, bert_tokenizer, import_tokenizers
from mae3d.errors import ConfigError, DataError

BERT_HEAD = ("[PAD]", *(f"[unused{number}]" for number in range(1, 100)), "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""The first 104 entries of BERT's vocabulary; with them special tokens have the ids that every published model has."""


def train_word_pieces(texts: Iterable[str], size: int, *, min_frequency: int = 2, lowercase: bool = True) -> list[str]:
    """WordPieces of ``texts`` with :data:`BERT_HEAD` before them, at most ``size`` in all.

    Args:
        texts: The corpus.
        size: Largest number of entries.
        min_frequency: Pairs of pieces that occur less often are not joined.
        lowercase: Lower case without accents.

    Raises:
        ConfigError: ``size`` leaves no room for pieces.
        DataError: The corpus holds no text.
    """
    tokenizers = import_tokenizers("training a vocabulary")
    if size <= len(BERT_HEAD):
        raise ConfigError(f"train_word_pieces: size must be over {len(BERT_HEAD)}, the special tokens; got {size}")
    specials = [names[0] for names in SPECIAL_NAMES.values()]
    tokenizer = bert_tokenizer({"[UNK]": 0}, lowercase)
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=size - len(BERT_HEAD) + len(specials),
        min_frequency=min_frequency,
        special_tokens=specials,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    learned = tokenizer.get_vocab()
    pieces = [piece for piece in sorted(learned, key=learned.get) if piece not in specials]
    if not pieces:
        raise DataError("train_word_pieces: the corpus holds no text")
    return [*BERT_HEAD, *pieces]


def write_vocabulary(pieces: Iterable[str], path: str | Path) -> None:
    """Write ``vocab.txt``, one entry a line."""
    with atomic_write(Path(path), "w") as file:
        file.writelines(f"{piece}\n" for piece in pieces)

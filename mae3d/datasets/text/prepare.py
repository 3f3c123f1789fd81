"""What ``tools/prepare_data.py`` does with text: vocabularies, packed corpora, sentences of the STS benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mae3d.datasets.files import atomic_write
from mae3d.datasets.layout_report import LayoutReport
from mae3d.datasets.parallel import Progress
from mae3d.datasets.text.blocks import write_blocks
from mae3d.datasets.text.documents import Documents
from mae3d.datasets.text.pairs import read_scored_pairs
from mae3d.datasets.text.tokenizer import TextTokenizer
from mae3d.datasets.text.vocabulary import train_word_pieces, write_vocabulary


@dataclass(frozen=True)
class CorpusRequest:
    """How a corpus is prepared.

    Attributes:
        documents: File or folder of documents.
        field: Field of their text.
        vocabulary: Vocabulary file; with ``vocabulary_size`` it is trained where it is not there yet.
        vocabulary_size: Entries of a trained vocabulary; None trains none.
        lowercase: Lower case without accents.
        block_length: Ids of a block, special tokens not counted; None packs no blocks.
        short_probability: Share of shorter blocks.
        across_documents: Blocks go on with the next document.
        seed: Of the draws of shorter blocks.
    """

    documents: Path
    field: str
    vocabulary: Path
    vocabulary_size: int | None
    lowercase: bool
    block_length: int | None
    short_probability: float
    across_documents: bool
    seed: int


def prepare_corpus(root: Path, request: CorpusRequest, progress: Progress | None = None) -> LayoutReport:
    """Train a vocabulary where one is asked for and missing, and write the blocks of a corpus to ``root/blocks``."""
    report = LayoutReport(root)
    documents = Documents(request.documents, request.field)
    report.found.append(f"documents: {len(documents):,}")
    if request.vocabulary_size is not None and not request.vocabulary.exists():
        texts = _texts(documents)
        write_vocabulary(
            train_word_pieces(texts, request.vocabulary_size, lowercase=request.lowercase), request.vocabulary
        )
    tokenizer = TextTokenizer(request.vocabulary, lowercase=request.lowercase)
    report.found.append(f"vocabulary: {len(tokenizer):,} entries in {request.vocabulary}")
    if request.block_length is not None:
        blocks = write_blocks(
            documents,
            tokenizer,
            root / "blocks",
            request.block_length,
            short_probability=request.short_probability,
            across_documents=request.across_documents,
            seed=request.seed,
            progress=progress,
        )
        report.found.append(f"blocks: {blocks:,} in {root / 'blocks'}")
    return report


def _texts(documents: Documents) -> Iterator[str]:
    for number in range(len(documents)):
        text = documents[number]
        yield from [text] if isinstance(text, str) else text


def prepare_sts(root: Path, pairs: Path, vocabulary_size: int) -> LayoutReport:
    """Write the distinct sentences of scored pairs to ``root/sentences.txt`` and train ``root/vocab.txt`` on them."""
    report = LayoutReport(root)
    sentences = list(dict.fromkeys(" ".join(text.split()) for row in read_scored_pairs(pairs) for text in row[:2]))
    with atomic_write(root / "sentences.txt", "w") as file:
        file.writelines(f"{text}\n" for text in sentences if text)
    report.found.append(f"sentences: {len(sentences):,} in {root / 'sentences.txt'}")
    pieces = train_word_pieces(sentences, vocabulary_size)
    write_vocabulary(pieces, root / "vocab.txt")
    report.found.append(f"vocabulary: {len(pieces):,} entries in {root / 'vocab.txt'}")
    return report

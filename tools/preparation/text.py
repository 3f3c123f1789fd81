"""Text: vocabularies, packed corpora, sentences of the STS benchmark."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from mae3d.datasets.layout_report import LayoutReport
from mae3d.datasets.parallel import ProgressLine
from mae3d.datasets.text.prepare import CorpusRequest, prepare_corpus, prepare_sts
from preparation.command import Command


def prepare_text(args: Namespace) -> LayoutReport:
    """Train a vocabulary on documents, or pack them into blocks of token ids."""
    request = CorpusRequest(
        documents=args.documents,
        field=args.field,
        vocabulary=args.vocabulary or args.root / "vocab.txt",
        vocabulary_size=args.train_vocabulary,
        lowercase=not args.cased,
        block_length=args.block_length,
        short_probability=args.short_probability,
        across_documents=args.across_documents,
        seed=args.seed,
    )
    return prepare_corpus(args.root, request, ProgressLine("documents"))


def prepare_pairs(args: Namespace) -> LayoutReport:
    """Write the sentences of scored pairs as documents, and a vocabulary trained on them."""
    return prepare_sts(args.root, args.pairs, args.train_vocabulary)


def _add_text_arguments(command: ArgumentParser) -> None:
    command.add_argument("--documents", type=Path, required=True, help=".jsonl, .txt, .parquet or a folder")
    command.add_argument("--field", default="text", help="field of the text")
    command.add_argument("--vocabulary", type=Path, help="tokenizer.json or vocab.txt (default: in ROOT)")
    command.add_argument("--train-vocabulary", type=int, metavar="SIZE", help="train it where it is not there")
    command.add_argument("--cased", action="store_true", help="keep capitals and accents (vocab.txt)")
    command.add_argument("--block-length", type=int, help="pack sentences into blocks of so many ids")
    command.add_argument("--short-probability", type=float, default=0.0, help="share of shorter blocks")
    command.add_argument("--across-documents", action="store_true", help="blocks go on with the next document")


def _add_pairs_arguments(command: ArgumentParser) -> None:
    command.add_argument("--pairs", type=Path, required=True, help="table of sentence, sentence, score")
    command.add_argument("--train-vocabulary", type=int, default=2000, metavar="SIZE", help="entries")


COMMANDS = {
    "text": Command(prepare_text, _add_text_arguments),
    "sts": Command(prepare_pairs, _add_pairs_arguments),
}

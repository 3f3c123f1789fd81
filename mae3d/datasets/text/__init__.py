"""Text data sets: documents, packed corpora, scored pairs, queries with passages, retrieval sets."""

from mae3d.datasets.text.base import TextDocuments, TokenDataset, collate_tokens
from mae3d.datasets.text.blocks import TokenBlocks
from mae3d.datasets.text.pairs import QueryPassages, SentencePairs
from mae3d.datasets.text.retrieval import RetrievalTexts
from mae3d.datasets.text.tokenizer import TextTokenizer

__all__ = [
    "QueryPassages",
    "RetrievalTexts",
    "SentencePairs",
    "TextDocuments",
    "TextTokenizer",
    "TokenBlocks",
    "TokenDataset",
    "collate_tokens",
]

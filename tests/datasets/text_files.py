"""A small vocabulary and files of lines for the tests of texts."""

import json

import numpy as np

from mae3d.datasets.text.vocabulary import BERT_HEAD

PIECES = [*BERT_HEAD, "a", "plane", "play", "##ing", "##s", "the", "flute", ".", "un", "##aff", "##able", "é", "e"]
CLS, SEP, UNK = 101, 102, 100


def names(tokenizer, ids):
    return tokenizer.decode(np.asarray(ids)).split()


def write_lines(path, rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path

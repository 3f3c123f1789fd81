"""What tests of texts share; their extra need not be installed for the others."""

import pytest


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory):
    from mae3d.datasets.text.vocabulary import write_vocabulary
    from tests.datasets.text_files import PIECES

    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    write_vocabulary(PIECES, path)
    return path


@pytest.fixture(scope="session")
def tokenizer(vocabulary):
    from mae3d.datasets.text import TextTokenizer

    return TextTokenizer(vocabulary)

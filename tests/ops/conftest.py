"""Fixtures of the operators' tests."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """A test may set the number of threads; the next one finds it as it was, whether the test passed or not."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)

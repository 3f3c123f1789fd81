"""What sparse convolution does with invalid cells and with kernels called past their Python face."""

from __future__ import annotations

import pytest
import torch

from mae3d.errors import OperatorInputError
from mae3d.ops.sparse_conv import build_rulebook
from tests.ops.harness import DEVICES


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("submanifold", [True, False])
@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[0, 1, 1], [0, 2, 2], [0, 1, 1]], "rows 0 and 2 are the same cell"),
        ([[0, 1, 1], [0, 3, 0]], r"row 1 is \(0, 3, 0\)"),
        ([[0, 1, 1], [2, 0, 0]], r"row 1 is \(2, 0, 0\)"),
        ([[0, 1, -1]], r"row 0 is \(0, 1, -1\)"),
        ([[-1, 0, 0]], r"row 0 is \(-1, 0, 0\)"),
    ],
)
def test_invalid_cells_are_errors_that_name_the_row(rows, words, submanifold, device):
    coordinates = torch.tensor(rows, device=device)
    with pytest.raises(OperatorInputError, match=words):
        build_rulebook(coordinates, (3, 3), 2, kernel_size=3, padding=1, submanifold=submanifold)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("submanifold", [True, False])
def test_unchecked_invalid_cells_count_as_absent(submanifold, device):
    good = [[0, 0, 0], [0, 0, 1], [1, 2, 2], [0, 1, 1]]
    bad = [[0, 0, 0], [0, 3, 0], [7, 0, 0], [0, -5, 2], [0, 0, 1]]
    options = {"kernel_size": 3, "padding": 1, "submanifold": submanifold}
    clean = build_rulebook(torch.tensor(good, device=device), (3, 3), 2, **options)
    mixed = build_rulebook(torch.tensor(good + bad, device=device), (3, 3), 2, validate=False, **options)
    kept = mixed.gather[:, : len(good)] if submanifold else mixed.gather
    assert torch.equal(kept, clean.gather)
    dropped = mixed.gather[:, len(good) :] if submanifold else mixed.scatter[:, len(good) :]
    assert (dropped == -1).all()


def test_kernels_guard_themselves_when_called_directly():
    op = torch.ops.mae3d.sparse_conv
    x, w = torch.ones(3, 2), torch.ones(4, 1, 2)
    with pytest.raises(RuntimeError, match="holds row 3"):
        op(x, w, None, torch.tensor([[0, 3]], dtype=torch.int32), None, False)
    with pytest.raises(RuntimeError, match="'gather' must have dtype"):
        op(x, w, None, torch.tensor([[0]]), None, False)
    with pytest.raises(RuntimeError, match="'weight' must have size"):
        op(x, w, None, torch.zeros(2, 3, dtype=torch.int32), None, False)
    with pytest.raises(RuntimeError, match="holds row 9"):
        torch.ops.mae3d.sparse_conv_weight_grad(x, x, torch.tensor([[9, 0, 1]], dtype=torch.int32), None, False)
    table = torch.tensor([[-7, 1, -1]], dtype=torch.int32)  # any negative entry is an empty cell
    assert op(x, w, None, table, None, False).tolist() == [[0.0] * 4, [2.0] * 4, [0.0] * 4]
    cell = torch.zeros(1, 2, dtype=torch.int32)
    with pytest.raises(RuntimeError, match="'stride' must be in"):
        torch.ops.mae3d.sparse_conv_strided(cell, [4], 1, [3], [0], [0], [1], True)

"""Window partition against plain integers, and the packed layout against dense masked attention."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mae3d.errors import OperatorInputError
from mae3d.ops.reference import window as reference
from mae3d.ops.voxelize import voxelize
from mae3d.ops.window import window_attention_layout, window_partition, windows_per_cloud
from tests.ops.harness import DEVICES, check_op, generator, lidar_like_cloud


def random_voxels(count: int, grid: tuple[int, int, int], clouds: int = 3, seed: int = 0) -> Tensor:
    g = generator(seed)
    columns = [torch.randint(0, n, (count,), generator=g) for n in (clouds, grid[2], grid[1], grid[0])]
    return torch.stack(columns, 1)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(
    ("window", "grid"), [((16, 16, 1), (200, 200, 1)), ((5, 4, 3), (21, 17, 10)), ((7, 7, 40), (30, 9, 12))]
)
def test_equals_plain_integers(device: str, shifted: bool, window, grid) -> None:
    coordinates = random_voxels(500, grid)
    got = window_partition(coordinates.to(device), window, grid, shifted=shifted)
    count = [-(-cells // size) + 1 for size, cells in zip(window, grid)]
    for (b, z, y, x), identifier, inside in zip(coordinates.tolist(), got.windows.tolist(), got.in_window.tolist()):
        move = [size // 2 if shifted else size for size in window]
        if window[2] >= grid[2]:
            move[2] = 0
        place = [value + step for value, step in zip((x, y, z), move)]
        wx, wy, wz = (value // size for value, size in zip(place, window))
        assert identifier == b * count[0] * count[1] * count[2] + wx * count[1] * count[2] + wy * count[2] + wz
        assert inside == [value % size for value, size in zip(place, window)][::-1]
    assert int(got.windows.max()) < 3 * windows_per_cloud(window, grid)


def test_published_numbers_of_voxel_mae() -> None:
    # 200 x 200 pillars, windows of 16: 14 windows per axis with the spare one, two along z, first window index 1.
    assert windows_per_cloud((16, 16, 1), (200, 200, 1)) == 14 * 14 * 2
    corner = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0]])
    plain, shifted = (window_partition(corner, (16, 16, 1), (200, 200, 1), shifted=s) for s in (False, True))
    assert plain.windows.tolist() == [1 * 28 + 1 * 2, 14 * 28 + 1 * 28 + 1 * 2]
    assert plain.in_window[0].tolist() == [0, 0, 0]
    assert shifted.windows.tolist() == [0, 14 * 28]
    assert shifted.in_window[0].tolist() == [0, 8, 8]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(8))
def test_kernels_equal_reference_fuzz(device: str, seed: int) -> None:
    rng = random.Random(seed)
    grid = tuple(rng.randint(1, 300) for _ in range(3))
    window = [rng.randint(1, 40) for _ in range(3)]
    coordinates = random_voxels(rng.choice([0, 1, 400, 40000]), grid, seed=seed)
    if len(coordinates) > 1:
        coordinates[0] = torch.tensor([0, -1, 0, 0])
        coordinates[1] = torch.tensor([0, 0, 0, grid[0]])
        coordinates[-1] = torch.tensor([-2, 0, 0, 0])
    coordinates = coordinates.to(device)
    for shifted in (False, True):
        args = (coordinates, window, list(grid), shifted)
        got, want = torch.ops.mae3d.window_partition(*args), reference.window_partition(*args)
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
        for bound in (0, 3 * windows_per_cloud(window, grid), 5):
            layout = torch.ops.mae3d.window_attention_layout(got[0], bound)
            for a, b in zip(layout, reference.window_attention_layout(got[0], bound), strict=True):
                assert torch.equal(a, b)


def test_layout_is_a_permutation_with_empty_input_and_dropped_rows() -> None:
    layout = window_attention_layout(torch.tensor([7, -1, 3, 7, -5, 3, 2**62]))
    assert layout.order.tolist() == [2, 5, 0, 3, 6]
    assert layout.offsets.tolist() == [0, 2, 4, 5]
    assert layout.windows.tolist() == [3, 7, 2**62]
    assert layout.inverse.tolist() == [2, -1, 0, 3, -1, 1, 4]
    assert layout.max_length.item() == 2
    empty = window_attention_layout(torch.zeros(0, dtype=torch.int64))
    assert (empty.offsets.tolist(), empty.max_length.item()) == ([0], 0)


@pytest.mark.parametrize("shifted", [False, True])
def test_packed_attention_equals_dense_attention_with_a_window_mask(shifted: bool) -> None:
    points = torch.stack([lidar_like_cloud(600, seed) for seed in range(2)])
    voxels = voxelize(points, (2.0, 2.0, 8.0), (-50.0, -50.0, -4.0, 50.0, 50.0, 4.0))
    windows = window_partition(voxels.coordinates, (8, 8, 1), (50, 50, 1), shifted=shifted).windows
    layout = window_attention_layout(windows)
    tokens = torch.randn(len(windows), 16, generator=generator(0), dtype=torch.float64)
    packed = tokens[layout.order]
    parts = [
        scaled_dot_product_attention(packed[a:b][None], packed[a:b][None], packed[a:b][None])[0]
        for a, b in zip(layout.offsets[:-1].tolist(), layout.offsets[1:].tolist())
    ]
    got = torch.cat(parts)[layout.inverse]
    same = windows[:, None] == windows[None]
    want = scaled_dot_product_attention(tokens[None], tokens[None], tokens[None], attn_mask=same[None])[0]
    torch.testing.assert_close(got, want)
    assert int(layout.max_length) == int((layout.offsets[1:] - layout.offsets[:-1]).max()) <= 64


def test_a_window_as_large_as_the_grid_holds_a_whole_cloud() -> None:
    coordinates = random_voxels(300, (12, 12, 12), clouds=2)
    windows = window_partition(coordinates, (12, 12, 12), (12, 12, 12)).windows
    assert len(windows.unique()) == 2


def test_moving_a_cloud_by_one_window_keeps_its_groups() -> None:
    coordinates = random_voxels(300, (64, 64, 1), clouds=1)
    moved = coordinates + torch.tensor([0, 0, 8, 16])
    for shifted in (False, True):
        a = window_partition(coordinates, (8, 8, 1), (96, 96, 1), shifted=shifted)
        b = window_partition(moved, (8, 8, 1), (96, 96, 1), shifted=shifted)
        assert torch.equal(a.in_window, b.in_window)
        assert torch.equal(a.windows.unique(return_inverse=True)[1], b.windows.unique(return_inverse=True)[1])


def test_int32_coordinates_give_the_same_windows() -> None:
    coordinates = random_voxels(50, (20, 20, 4))
    a, b = (window_partition(c, (4, 4, 4), (20, 20, 4)) for c in (coordinates, coordinates.int()))
    assert torch.equal(a.windows, b.windows)


def test_result_does_not_depend_on_threads() -> None:
    windows = torch.randint(-1, 5000, (100000,), generator=generator(1))
    results = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        results.append(window_attention_layout(windows))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


def test_opcheck() -> None:
    coordinates = random_voxels(40, (20, 20, 4))
    check_op(torch.ops.mae3d.window_partition.default, (coordinates, [4, 4, 4], [20, 20, 4], True))
    check_op(torch.ops.mae3d.window_attention_layout.default, (coordinates[:, 3].contiguous(), 0))


def test_compiles_without_graph_break() -> None:
    def lengths(coordinates: Tensor) -> Tensor:
        layout = window_attention_layout(window_partition(coordinates, (4, 4, 4), (20, 20, 4)).windows)
        return layout.offsets[1:] - layout.offsets[:-1]

    torch.compiler.reset()
    coordinates = random_voxels(100, (20, 20, 4))
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(lengths, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(coordinates), lengths(coordinates))


def test_wrong_arguments() -> None:
    coordinates = random_voxels(4, (4, 4, 4))
    with pytest.raises(OperatorInputError, match="'coordinates' must have shape"):
        window_partition(coordinates[:, :3], (2, 2, 2), (4, 4, 4))
    with pytest.raises(OperatorInputError, match="dtype int64"):
        window_partition(coordinates.float(), (2, 2, 2), (4, 4, 4))
    with pytest.raises(OperatorInputError, match="'window' must be in"):
        window_partition(coordinates, (2, 0, 2), (4, 4, 4))
    with pytest.raises(OperatorInputError, match="'grid' must be \\(x, y, z\\)"):
        window_partition(coordinates, (2, 2, 2), (4, 4))
    with pytest.raises(OperatorInputError, match="'num_windows'"):
        window_attention_layout(coordinates[:, 0], num_windows=0)
    with pytest.raises(RuntimeError, match="window_partition: 'grid' must be in"):
        torch.ops.mae3d.window_partition(coordinates, [2, 2, 2], [4, 4, 0], False)
    with pytest.raises(RuntimeError, match="63-bit"):
        torch.ops.mae3d.window_partition(coordinates, [1, 1, 1], [2**24] * 3, False)
    with pytest.raises(RuntimeError, match="window_attention_layout: 'windows' must have dtype"):
        torch.ops.mae3d.window_attention_layout(coordinates[:, 0].int(), 0)

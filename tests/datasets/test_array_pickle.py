"""The restricted unpickler loads array pickles of every protocol and runs nothing else."""

import os
import pickle
import pickletools

import numpy as np
import pytest

from mae3d.datasets.array_pickle import load_array_pickle, save_array_pickle
from mae3d.errors import DataError


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(protocol):
    content = {
        "train": [(np.arange(12, dtype=np.float32).reshape(4, 3), 1, np.int32(7))],
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "text": ["a", "b"],
    }
    loaded = load_array_pickle(pickle.dumps(content, protocol))
    np.testing.assert_array_equal(loaded["train"][0][0], content["train"][0][0])
    assert loaded["train"][0][1:] == (1, 7)
    np.testing.assert_array_equal(loaded["fortran"], content["fortran"])
    assert loaded["text"] == ["a", "b"]


class Attack:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_code_is_refused_and_not_run(tmp_path, protocol):
    victim = tmp_path / "victim"
    for attack in (Attack(os.mkdir, str(victim)), Attack(eval, f"__import__('os').mkdir({str(victim)!r})")):
        path = tmp_path / "attack.pkl"
        path.write_bytes(pickle.dumps([attack], protocol))
        with pytest.raises(DataError, match=r"attack\.pkl: refused or damaged pickle"):
            load_array_pickle(path)
    assert not victim.exists()


def test_numpy_functions_beyond_the_list_are_refused():
    for name in ("load", "fromfile", "save", "memmap"):
        with pytest.raises(DataError, match=name):
            load_array_pickle(f"cnumpy\n{name}\n.".encode())


def test_truncated_and_empty_files(tmp_path):
    whole = pickle.dumps([np.zeros(1000)], 4)
    for size in (1, 20, len(whole) // 2, len(whole) - 1):
        with pytest.raises(DataError, match="pickle"):
            load_array_pickle(whole[:size])
    empty = tmp_path / "empty.dat"
    empty.touch()
    with pytest.raises(DataError, match=r"empty.dat: file is empty .* fetch it again"):
        load_array_pickle(empty, "fetch it again")


def test_saved_files_name_the_modules_of_numpy_1(tmp_path):
    path = tmp_path / "cache.dat"
    clouds = [np.random.default_rng(0).random((5, 6), dtype=np.float32) for _ in range(3)]
    save_array_pickle([clouds, [np.array([1], dtype=np.int32)] * 3], path)
    strings = [arg for _, arg, _ in pickletools.genops(path.read_bytes()) if isinstance(arg, str)]
    assert "numpy.core.multiarray" in strings
    assert not any("_core" in text for text in strings)
    with path.open("rb") as file:
        official = pickle.load(file)
    np.testing.assert_array_equal(official[0], clouds)
    np.testing.assert_array_equal(load_array_pickle(path)[0], clouds)

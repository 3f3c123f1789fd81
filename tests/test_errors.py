import pytest
from torch.utils.data import DataLoader, Dataset

from mae3d.errors import DataError, plain_message


class Broken(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int):
        raise DataError("a.npy: truncated (expected 6144 values, got 43). Copy it again")


@pytest.mark.parametrize("workers", [0, 1])
def test_message_of_a_data_worker_is_as_plain_as_one_of_the_main_process(workers):
    with pytest.raises(DataError) as caught:
        next(iter(DataLoader(Broken(), num_workers=workers)))
    assert plain_message(caught.value) == ("DataError: a.npy: truncated (expected 6144 values, got 43). Copy it again")

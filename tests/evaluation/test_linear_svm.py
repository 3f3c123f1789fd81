import pytest
import torch
from sklearn.svm import SVC, LinearSVC

from mae3d.errors import ConfigError, DataError
from mae3d.evaluation import PROTOCOLS, LinearSVM, SvmProtocol


def blobs(count, seed):
    g = torch.Generator().manual_seed(seed)
    centers = torch.randn(4, 12, generator=torch.Generator().manual_seed(9))
    labels = torch.randint(0, 4, (count,), generator=g)
    return centers[labels] + 1.2 * torch.randn(count, 12, generator=g), labels


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_equals_sklearn_used_directly(name):
    protocol = PROTOCOLS[name]
    (train, train_labels), (test, test_labels) = blobs(300, 0), blobs(100, 1)
    svm = LinearSVM(name)
    for rows in range(0, 300, 128):
        svm.process(train[rows : rows + 128], train_labels[rows : rows + 128, None], train=True)
    svm.process(test, test_labels)
    direct = SVC(C=protocol.C, kernel="linear") if protocol.solver == "svc" else LinearSVC(random_state=0)
    direct.fit(train.numpy(), train_labels.numpy())
    accuracy = svm.compute()["accuracy"]
    assert accuracy == direct.score(test.numpy(), test_labels.numpy())
    assert accuracy > 0.5


def test_dropping_the_last_batch():
    (train, train_labels), (test, test_labels) = blobs(70, 0), blobs(50, 1)
    protocol = SvmProtocol("svc", 1.0, None, 32)
    svm = LinearSVM(protocol, drop_last=True)
    svm.process(train, train_labels, train=True)
    svm.process(test, test_labels)
    direct = SVC(kernel="linear").fit(train[:64].numpy(), train_labels[:64].numpy())
    assert svm.compute()["accuracy"] == direct.score(test.numpy(), test_labels.numpy())


def test_wrong_use_is_named():
    with pytest.raises(ConfigError, match="protocol must be one of"):
        LinearSVM("dino")
    svm = LinearSVM()
    svm.process(*blobs(10, 0))
    with pytest.raises(DataError, match="0 training and 1 test"):
        svm.compute()

"""The second stage in two processes that share the statistics of their norms, one of them without a proposal."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

from mae3d.models.heads.detection import GraphRefiner
from tests.engine.runs import free_port, in_processes

NETWORK = {"edge_channels": (8, 8, 12), "gate_channels": 6, "hidden_channels": 20, "embed_dim": 16, "dropout": 0.0}


class GlooBatchNorm(nn.SyncBatchNorm):
    """torch's own runs on GPUs alone: the same over gloo, from sums over all processes and their gradients."""

    def forward(self, x: Tensor) -> Tensor:
        count = all_reduce(torch.full((), float(len(x)), dtype=x.dtype))
        mean = all_reduce(x.sum(dim=0)) / count
        variance = all_reduce(((x - mean) ** 2).sum(dim=0)) / count
        with torch.no_grad():
            self.running_mean += self.momentum * (mean - self.running_mean)
            self.running_var += self.momentum * (variance * count / (count - 1) - self.running_var)
        return (x - mean) / (variance + self.eps).sqrt() * self.weight + self.bias


def shared_norms(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        setattr(module, name, GlooBatchNorm(child.num_features) if isinstance(child, nn.BatchNorm1d) else child)
        shared_norms(child)
    return module


def refiner() -> GraphRefiner:
    torch.manual_seed(0)
    return GraphRefiner(5, **NETWORK, sampler={"num_points": 16}).train()


def inputs(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A cloud and the first ``count`` of its proposals."""
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(300, 5, generator=generator)
    boxes = torch.tensor([[0.0, 0, 0, 3, 2, 2, 0.3], [0.5, 0, 0, 2, 2, 2, -1], [0, -1, 0, 2, 1, 2, 2]])
    return points, torch.tensor([0, 300]), boxes[:count], torch.tensor([0, count])


def step(model: nn.Module, count: int) -> Tensor:
    """Loss [] of a step, backward done."""
    found = model(*inputs(count))
    loss = (found.logits**2).sum() + found.logits.sum() + (found.codes - 0.3).square().sum()
    loss.backward()
    return loss.detach()


def one_of_two(rank: int, world: int, port: int, counts: tuple[int, int], shared: bool, results) -> None:
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    own = shared_norms(refiner()) if shared else refiner()  # torch's DDP takes shared norms on GPUs alone
    loss = step(own if shared else DistributedDataParallel(own), counts[rank])
    gradients = {name: parameter.grad for name, parameter in own.named_parameters()}
    for gradient in gradients.values():
        distributed.all_reduce(gradient)  # behind DDP the sum of two means
    torch.save((loss, gradients, dict(own.named_buffers())), f"{results}{rank}")
    distributed.destroy_process_group()


def of_two(counts: tuple[int, int], folder, shared: bool = True) -> list[tuple]:
    own = functools.partial(one_of_two, counts=counts, shared=shared, results=folder / "rank")
    in_processes(own, 2, free_port())
    return [torch.load(folder / f"rank{rank}") for rank in range(2)]


@pytest.mark.parametrize("shared", [True, False])
def test_a_process_without_proposals_learns_like_the_other(shared, tmp_path) -> None:
    alone = refiner()
    loss = step(alone, 3)
    results = of_two((3, 0), tmp_path, shared)
    torch.testing.assert_close([found for found, _, _ in results], [loss, torch.zeros(())])
    for _, gradients, buffers in results:
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-3, atol=1e-4)
        for name, value in alone.named_buffers() if shared else ():
            if not name.endswith("num_batches_tracked"):
                torch.testing.assert_close(buffers[name], value)


@pytest.mark.parametrize("counts", [(0, 0), (1, 0)])
def test_two_processes_without_two_proposals_learn_nothing(counts, tmp_path) -> None:
    for _, gradients, buffers in of_two(counts, tmp_path):
        assert all(not gradient.any() for gradient in gradients.values())
        assert all(value.isfinite().all() for value in buffers.values())


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_proposals_are_no_error_and_teach_nothing(count) -> None:
    model = refiner()
    before = {name: value.clone() for name, value in model.named_buffers()}
    step(model, count)
    assert all(not parameter.grad.any() for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    found = model.eval()(*inputs(count))
    assert found.codes.shape == (count, 7)
    assert found.logits.any() == bool(count)

"""The averaging teacher: its arithmetic against plain sums, when it follows, and what it keeps across a restart."""

import copy
import math

import pytest
import torch
from torch import nn

from mae3d.errors import ConfigError
from mae3d.models.targets import EmaTeacher


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2), nn.Dropout(0.5))


def step(student, seed):
    """Stands for an optimizer step."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


def weights(model):
    return {name: value.clone() for name, value in model.named_parameters()}


def test_the_average_is_that_of_the_formula():
    student = network().double()
    teacher = EmaTeacher(student, decay=0.5, end_decay=0.9, anneal_steps=4)
    expected = weights(student)
    for number in range(7):
        teacher.update(student)
        if number:
            decay = min(0.5 + 0.4 * number / 4, 0.9)
            expected = {n: decay * v + (1 - decay) * student.get_parameter(n) for n, v in expected.items()}
        for name, value in teacher.model.named_parameters():
            torch.testing.assert_close(value, expected[name], msg=name)
        step(student, number)


def test_equal_weights_stay_equal_and_decay_one_freezes():
    student = network()
    teacher = EmaTeacher(student, decay=0.3)
    before = weights(teacher.model)
    for _ in range(3):
        teacher.update(student)
    assert all(torch.equal(value, before[name]) for name, value in teacher.model.named_parameters())
    frozen = EmaTeacher(student, decay=1.0)
    step(student, 0)
    for _ in range(3):
        frozen.update(student)
    assert all(torch.equal(value, before[name]) for name, value in frozen.model.named_parameters())
    for _ in range(3):
        teacher.update(student)
    assert not torch.equal(teacher.model[0].weight, before["0.weight"])


def test_schedules():
    linear = EmaTeacher(nn.Linear(1, 1), 0.9998, 0.99999, 100_000)
    assert linear.decay_at(0) == 0.9998
    assert linear.decay_at(50_000) == pytest.approx((0.9998 + 0.99999) / 2, abs=1e-12)
    assert linear.decay_at(100_000) == linear.decay_at(10**7) == 0.99999
    cosine = EmaTeacher(nn.Linear(1, 1), 0.99, 1.0, 100, "cosine")
    for update in (0, 10, 50, 99, 100):
        expected = 1 - 0.01 * (math.cos(math.pi * update / 100) + 1) / 2
        assert cosine.decay_at(update) == pytest.approx(expected, abs=1e-12)
    assert EmaTeacher(nn.Linear(1, 1), 0.996).decay_at(12) == 0.996


def test_what_does_not_learn_is_copied():
    student = network()
    student[0].weight.requires_grad_(False)
    teacher = EmaTeacher(student, decay=0.5, copied=("2.",))
    step(student, 1)
    student.train()(torch.randn(8, 4))  # moves the running statistics
    teacher.follow(student, 0.5)
    for name in ("0.weight", "2.weight", "2.bias"):
        assert torch.equal(teacher.model.get_parameter(name), student.get_parameter(name)), name
    assert not torch.equal(teacher.model[0].bias, student[0].bias)
    assert torch.equal(teacher.model[1].running_mean, student[1].running_mean)
    assert teacher.model[1].num_batches_tracked == 1


def test_it_never_trains():
    teacher = EmaTeacher(network())
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    x = torch.randn(3, 4, requires_grad=True)
    assert not teacher(x).requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_step_of_several_batches_is_followed_once():
    student = network()
    every, single = EmaTeacher(student, decay=0.5), EmaTeacher(student, decay=0.5)
    every.every = 3
    for batch in range(10):
        every.update(student)
        if batch % 3 == 0:
            single.update(student)
        if batch % 3 == 2:
            step(student, batch)
    for one, other in zip(every.model.parameters(), single.model.parameters()):
        assert torch.equal(one, other)


def test_a_restart_changes_nothing():
    student = network()
    teacher = EmaTeacher(student, decay=0.5, end_decay=0.9, anneal_steps=10)
    for number in range(4):
        teacher.update(student)
        step(student, number)
    resumed = EmaTeacher(network(1), decay=0.5, end_decay=0.9, anneal_steps=10)
    resumed.load_state_dict(copy.deepcopy(teacher.state_dict()))
    for one in (teacher, resumed):
        one.update(student)
    assert teacher.forwards == resumed.forwards == 5
    for one, other in zip(teacher.model.parameters(), resumed.model.parameters()):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.1}, r"must be in \[0, 1\], got 1.1 and 1.1"),
        ({"decay": 0.9, "end_decay": 0.99}, "from decay 0.9 to 0.99 needs anneal_steps"),
        ({"annealing": "quadratic"}, 'must be "linear" or "cosine", got \'quadratic\''),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        EmaTeacher(nn.Linear(1, 1), **options)


def test_half_precision_is_refused():
    student = network().bfloat16()
    with pytest.raises(ConfigError, match=r"0\.weight is torch\.bfloat16; keep weights in float32"):
        EmaTeacher(student).follow(student, 0.9)

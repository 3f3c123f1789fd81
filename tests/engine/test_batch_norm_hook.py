"""The falling momentum of BatchNorm, by the numbers of the published script."""

from types import SimpleNamespace

import pytest
from torch import nn

from mae3d.engine.hooks import BatchNormMomentumHook
from mae3d.errors import ConfigError


def test_momentum_halves_every_20_epochs_down_to_a_hundredth():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm2d(3)), nn.GroupNorm(1, 3))
    hook = BatchNormMomentumHook()
    for epoch, momentum in ((0, 0.1), (19, 0.1), (20, 0.05), (45, 0.025), (60, 0.0125), (80, 0.01), (299, 0.01)):
        hook.before_train_epoch(SimpleNamespace(model=model, epoch=epoch))
        assert model[1].momentum == model[2][0].momentum == pytest.approx(momentum)
    with pytest.raises(ConfigError, match="interval must be at least 1"):
        BatchNormMomentumHook(interval=0)

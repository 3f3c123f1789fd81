"""What a run of mmdet3d does before it builds anything."""

import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def scope_of_mmdet3d():
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        yield

# python tools/train.py tests/tools/comparison/blocks_tiny.py
"""Points again: other masks on the same blocks."""

from mmengine.config import read_base

with read_base():
    from .points_tiny import *

model.update(masking="block", group_size=4)

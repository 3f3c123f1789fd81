"""Floating-point operations, counted as they run."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count


def flop_counter() -> FlopCounterMode:
    """A context that counts matrix products, convolutions and attention of what runs inside, forward and backward.

    Beside what torch knows it counts attention on a CPU (backward with the similarities that are computed again, as
    torch counts it on a GPU) and products with position-indexed weights. Two operations are one multiplication and one
    addition. Norms, activations, neighbour searches and distances are not counted.
    """
    aten, own = torch.ops.aten, torch.ops.mae3d
    formulas = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
        own.indexed_linear: _indexed_linear,
        own.indexed_linear_feature_grad: _indexed_linear,
        own.indexed_linear_weight_grad: _indexed_weight_grad,
    }
    return FlopCounterMode(display=False, custom_mapping=formulas)


def _attention(query, key, value, *_: Any, out_shape=None, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(grad, query, key, value, *_: Any, out_shape=None, **__: Any) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


def _indexed_linear(rows, weight, index, *_: Any, out_shape=None, **__: Any) -> int:
    return 2 * index[0] * prod(weight[1:])


def _indexed_weight_grad(grad, features, index, *_: Any, out_shape=None, **__: Any) -> int:
    return 2 * index[0] * grad[1] * features[1]

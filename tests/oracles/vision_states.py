"""Random state dicts with the names and shapes of the official MAE, MAE-ST and VideoMAE checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor

State = dict[str, Tensor]


class Filler:
    """Collects seeded random tensors under official names."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.state: State = {}

    def add(self, name: str, *shape: int, scale: float = 0.5, shift: float = 0.0) -> None:
        self.state[name] = shift + scale * torch.randn(shape, generator=self.generator)

    def linear(self, name: str, inputs: int, outputs: int, bias: bool = True) -> None:
        self.add(f"{name}.weight", outputs, inputs, scale=inputs**-0.5)
        if bias:
            self.add(f"{name}.bias", outputs, scale=0.1)

    def norm(self, name: str, width: int) -> None:
        self.add(f"{name}.weight", width, scale=0.1, shift=1.0)
        self.add(f"{name}.bias", width, scale=0.1)

    def patches(self, name: str, width: int, *kernel: int) -> None:
        size = torch.Size(kernel).numel()
        self.add(f"{name}.weight", width, *kernel, scale=size**-0.5)
        self.add(f"{name}.bias", width, scale=0.1)

    def blocks(self, name: str, width: int, depth: int, form: str) -> None:
        """``form`` of query, key, value: "fused", "q_v" or "separate"."""
        for index in range(depth):
            block = f"{name}.{index}"
            self.norm(f"{block}.norm1", width)
            if form == "separate":
                for part in "qkv":
                    self.linear(f"{block}.attn.{part}", width, width)
            else:
                self.linear(f"{block}.attn.qkv", width, 3 * width, form == "fused")
            if form == "q_v":
                self.add(f"{block}.attn.q_bias", width, scale=0.1)
                self.add(f"{block}.attn.v_bias", width, scale=0.1)
            self.linear(f"{block}.attn.proj", width, width)
            self.norm(f"{block}.norm2", width)
            self.linear(f"{block}.mlp.fc1", width, 4 * width)
            self.linear(f"{block}.mlp.fc2", 4 * width, width)


def mae_state(width: int, depth: int, narrow: int, decoder_depth: int, patch: int, count: int, seed: int = 0) -> State:
    """MAE pre-training; the position tables are random here, except the class rows, which are zero."""
    fill = Filler(seed)
    fill.add("cls_token", 1, 1, width)
    fill.add("pos_embed", 1, count + 1, width)
    fill.patches("patch_embed.proj", width, 3, patch, patch)
    fill.blocks("blocks", width, depth, "fused")
    fill.norm("norm", width)
    fill.linear("decoder_embed", width, narrow)
    fill.add("mask_token", 1, 1, narrow)
    fill.add("decoder_pos_embed", 1, count + 1, narrow)
    fill.blocks("decoder_blocks", narrow, decoder_depth, "fused")
    fill.norm("decoder_norm", narrow)
    fill.linear("decoder_pred", narrow, 3 * patch**2)
    for name in ("pos_embed", "decoder_pos_embed"):
        fill.state[name][:, 0] = 0
    return fill.state


def encoder_of(state: State, prefix: str = "") -> State:
    """What of a pre-training state is the encoder's."""
    left_out = ("decoder", "mask_token", "encoder_to_decoder")
    chosen = {name: value for name, value in state.items() if not name.startswith(left_out)}
    return {name.removeprefix(prefix): value for name, value in chosen.items()}


def mae_classifier_state(pretrained: State, classes: int, kind: str, seed: int = 1) -> State:
    """``kind``: "mean" (fine-tuned), "class" (fine-tuned on the class token) or "probe" (linear probe)."""
    fill = Filler(seed)
    state = encoder_of(pretrained)
    width = state["cls_token"].shape[-1]
    if kind == "mean":
        del state["norm.weight"], state["norm.bias"]
        fill.norm("fc_norm", width)
        fill.add("pos_embed", *state["pos_embed"].shape)  # it is trained, the class row too
    if kind == "probe":
        fill.add("head.0.running_mean", width)
        fill.add("head.0.running_var", width, scale=0.1, shift=1.0)
        fill.state["head.0.num_batches_tracked"] = torch.tensor(9)
    fill.linear("head.1" if kind == "probe" else "head", width, classes)
    return {**state, **fill.state}


def mae_st_state(
    width: int,
    depth: int,
    narrow: int,
    decoder_depth: int,
    tubelet: tuple[int, int, int],
    grid: tuple[int, int],
    seed=0,
) -> State:
    """MAE-ST pre-training; ``grid`` is (time slots, places)."""
    fill = Filler(seed)
    for prefix, size in (("", width), ("decoder_", narrow)):
        fill.add(f"{prefix}cls_token", 1, 1, size)
        fill.add(f"{prefix}pos_embed_spatial", 1, grid[1], size)
        fill.add(f"{prefix}pos_embed_temporal", 1, grid[0], size)
        fill.add(f"{prefix}pos_embed_class", 1, 1, size)
    fill.patches("patch_embed.proj", width, 3, *tubelet)
    fill.blocks("blocks", width, depth, "separate")
    fill.norm("norm", width)
    fill.linear("decoder_embed", width, narrow)
    fill.add("mask_token", 1, 1, narrow)
    fill.blocks("decoder_blocks", narrow, decoder_depth, "separate")
    fill.norm("decoder_norm", narrow)
    fill.linear("decoder_pred", narrow, 3 * tubelet[1] * tubelet[2])
    return fill.state


def mae_st_classifier_state(pretrained: State, classes: int, seed: int = 1) -> State:
    fill = Filler(seed)
    state = encoder_of(pretrained)
    fill.linear("head.projection", state["cls_token"].shape[-1], classes)
    return {**state, **fill.state}


def videomae_state(
    width: int, depth: int, narrow: int, decoder_depth: int, tubelet: tuple[int, int, int], seed: int = 0
) -> State:
    """VideoMAE pre-training."""
    fill = Filler(seed)
    fill.patches("encoder.patch_embed.proj", width, 3, *tubelet)
    fill.blocks("encoder.blocks", width, depth, "q_v")
    fill.norm("encoder.norm", width)
    fill.linear("encoder_to_decoder", width, narrow, bias=False)
    fill.add("mask_token", 1, 1, narrow)
    fill.blocks("decoder.blocks", narrow, decoder_depth, "q_v")
    fill.norm("decoder.norm", narrow)
    fill.linear("decoder.head", narrow, 3 * torch.Size(tubelet).numel())
    return fill.state


def videomae_classifier_state(pretrained: State, classes: int, seed: int = 1) -> State:
    fill = Filler(seed)
    state = {n: v for n, v in encoder_of(pretrained, "encoder.").items() if not n.startswith("norm.")}
    width = state["patch_embed.proj.bias"].shape[0]
    fill.norm("fc_norm", width)
    fill.linear("head", width, classes)
    return {**state, **fill.state}

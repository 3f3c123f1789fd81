"""Official Point-CMAE files (Amazingren/Point-CMAE); those of fine-tuning are Point-MAE's."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mae3d.checkpoints import point_mae
from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.checkpoints.vit_files import count
from mae3d.models.methods import PointCMAE


def _decoder_rules(number: str, suffix: str, decoder: str, prediction: str) -> list[Rule]:
    return [
        Rule(f"mask_token{number}", f"{decoder}.mask_token"),
        Rule(f"decoder_pos_embed{number}", f"{decoder}.position_embedding"),
        Rule(f"MAE_decoder{suffix}.blocks", f"{decoder}.transformer.blocks"),
        Rule(f"MAE_decoder{suffix}.norm", f"{decoder}.transformer.norm"),
        Rule(f"increase_dim{suffix}.0", prediction, convolution=1),
    ]


PRETRAIN = KeyMap(
    [
        *point_mae.encoder_rules("MAE_encoder."),
        *_decoder_rules("1", "", "decoder", "prediction"),
        *_decoder_rules("2", "_", "second_decoder", "second_prediction"),
        *(Rule(f"MAE_encoder.cls_token{number + 1}", f"class_token.{number}") for number in range(2)),
        *(Rule(f"MAE_encoder.cls_pos{number + 1}", f"class_position.{number}") for number in range(2)),
        Rule("MAE_encoder.proj_cls", "class_projection"),
    ]
)


def _pretrain(state: Mapping[str, Tensor]) -> nn.Module:
    size = point_mae.encoder_size(state)
    return PointCMAE(
        **size,
        group_size=state["prediction.weight"].shape[0] // 3,
        decoder_depth=count(state, "decoder.transformer.blocks"),
        decoder_num_heads=size["num_heads"],
        class_projection="class_projection.0.weight" in state,
    )


LAYOUTS = (
    Layout("pretrain", PRETRAIN, "increase_dim_.0.weight", "second_prediction.weight", _pretrain),
    *(layout for layout in point_mae.LAYOUTS if layout.kind != "pretrain"),
)

"""Official files of Audio-MAE of every kind, there and back, and what fine-tuning takes of them."""

import pytest
import torch

from mae3d.checkpoints import convert, export, load_pretrained
from mae3d.errors import CheckpointError
from mae3d.models.heads import AudioMAEClassifier
from mae3d.models.methods import audio_mae_base
from tests.oracles import audio_mae as oracle
from tests.oracles import vision_states

WINDOWS = oracle.audio_mae_state(32, 3, 24, 2, patch=4, count=128, heads=3)
GLOBAL = oracle.audio_mae_state(32, 3, 24, 2, patch=4, count=128)
FILES = {
    "pretrain": WINDOWS,
    "pretrain_global": GLOBAL,
    "fine_tune": oracle.audio_mae_classifier_state(WINDOWS, 5),
}
ENCODER = {"bins": 32, "patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 2}


@pytest.mark.parametrize("kind", FILES)
def test_there_and_back_is_the_same(kind):
    official = FILES[kind]
    ours = convert("audio-mae", official)
    assert ours.layout.kind == kind
    back = export("audio-mae", ours.state)
    assert back.layout.kind == kind
    assert set(back.state) == set(official)
    assert all(torch.equal(back.state[name], value) for name, value in official.items())
    with pytest.raises(CheckpointError, match=r"unexpected 1 tensor: extra\.weight"):
        convert("audio-mae", {**official, "extra.weight": torch.zeros(1)})
    damaged = {name: value for name, value in official.items() if "blocks.1.norm1.bias" not in name}
    with pytest.raises(CheckpointError, match=r"missing \d tensors?: encoder\.blocks\.1\.norm1\.bias"):
        convert("audio-mae", damaged)


def test_published_files_have_the_counted_tensors():
    ours = convert("audio-mae", oracle.audio_mae_state(768, 12, 512, 16, patch=16, count=512, heads=16))
    with torch.device("meta"):
        expected = audio_mae_base().state_dict()
    assert {name: value.shape for name, value in ours.state.items()} == {n: v.shape for n, v in expected.items()}
    assert str(ours).endswith(" 136,992,256 parameters, 0 missing, 0 unexpected")


def test_files_of_photographs_are_refused():
    with pytest.raises(CheckpointError, match=r"wrong shape of 1 tensor: tokenizer\.projection\.weight"):
        convert(
            "audio-mae",
            vision_states.mae_state(32, 2, 24, 2, patch=8, count=16)
            | {"decoder_pred.weight": torch.zeros(64, 24), "decoder_pred.bias": torch.zeros(64)},
        )


def test_an_image_file_of_one_channel_is_mae_s():
    square = oracle.audio_mae_state(32, 2, 24, 2, patch=4, count=16)
    assert convert("mae", square).layout.kind == "pretrain"


def test_fine_tuning_takes_the_encoder_and_cuts_the_positions(tmp_path):
    torch.save({"model": WINDOWS, "epoch": 31}, tmp_path / "pretrained.pth")
    for frames in (64, 32):
        model = AudioMAEClassifier(5, frames=frames, **ENCODER)
        report = load_pretrained(model, tmp_path / "pretrained.pth")
        assert set(report.fresh) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}
        assert {name.split(".")[0] for name in report.unused} == {"decoder", "prediction", "encoder"}
        assert torch.equal(model.encoder.blocks[2].mlp.fc1.weight, WINDOWS["blocks.2.mlp.fc1.weight"])
        assert torch.equal(model.position_embedding.table, WINDOWS["pos_embed"][:, 1 : 1 + frames // 4 * 8])
    with pytest.raises(CheckpointError, match="128 positions is too short"):
        load_pretrained(AudioMAEClassifier(5, frames=96, **ENCODER), tmp_path / "pretrained.pth")

"""Official files of MAE, MAE-ST and VideoMAE of every kind, there and back, and what fine-tuning takes of them."""

import pytest
import torch

from mae3d.checkpoints import convert, export, load_pretrained
from mae3d.errors import CheckpointError
from mae3d.models.heads import MAEClassifier, MAESTClassifier, VideoMAEClassifier, mae_classifier_test
from mae3d.models.methods import MAE, mae_base, videomae_base
from tests.oracles import vision as oracle
from tests.oracles import vision_states as states

TUBELET = (2, 4, 4)
MAE_STATE = states.mae_state(32, 3, 24, 2, patch=8, count=16)
MAE_ST_STATE = states.mae_st_state(32, 3, 24, 2, TUBELET, (8, 16))
VIDEOMAE_STATE = states.videomae_state(32, 3, 24, 2, TUBELET)
ENCODER = {"embed_dim": 32, "depth": 3, "num_heads": 2}
CLIPS = {**ENCODER, "clip_size": (16, 16, 16), "tubelet": TUBELET}


def official_files():
    yield "mae", "pretrain", MAE_STATE
    yield "mae", "encoder", states.encoder_of(MAE_STATE)
    for kind, name in (("mean", "fine_tune"), ("class", "class_token"), ("probe", "linear_probe")):
        yield "mae", name, states.mae_classifier_state(MAE_STATE, 5, kind)
    yield "mae-st", "pretrain", MAE_ST_STATE
    yield "mae-st", "fine_tune", states.mae_st_classifier_state(MAE_ST_STATE, 5)
    yield "videomae", "pretrain", VIDEOMAE_STATE
    yield "videomae", "fine_tune", states.videomae_classifier_state(VIDEOMAE_STATE, 5)


FILES = {f"{system}-{kind}": (system, kind, state) for system, kind, state in official_files()}


@pytest.mark.parametrize("name", FILES)
def test_there_and_back_is_the_same(name):
    system, kind, official = FILES[name]
    ours = convert(system, official)
    assert ours.layout.kind == kind
    back = export(system, ours.state)
    assert back.layout.kind == kind
    assert set(back.state) == set(official)
    assert all(torch.equal(back.state[name], value) for name, value in official.items())
    with pytest.raises(CheckpointError, match=r"unexpected 1 tensor: extra\.weight"):
        convert(system, {**official, "extra.weight": torch.zeros(1)})
    damaged = {name: value for name, value in official.items() if "blocks.1.norm1.bias" not in name}
    with pytest.raises(CheckpointError, match=r"missing \d tensors?: encoder\.blocks\.1\.norm1\.bias"):
        convert(system, damaged)


def test_published_files_have_the_counted_tensors():
    mae = convert("mae", states.mae_state(768, 12, 512, 8, 16, 196))
    assert str(mae).startswith("mae pretrain: 256 tensors")  # 254 officially, where class rows are part of the tables
    with torch.device("meta"):
        expected, video = mae_base().state_dict(), videomae_base().state_dict()
    assert {name: value.shape for name, value in mae.state.items()} == {n: v.shape for n, v in expected.items()}
    assert len(export("mae", mae.state).state) == 254
    clip = convert("videomae", states.videomae_state(768, 12, 384, 4, (2, 16, 16)))
    assert str(clip) == "videomae pretrain: 218 tensors, 94,210,944 parameters, 0 missing, 0 unexpected"
    assert set(clip.state) == set(video)


def test_the_other_name_of_a_head_is_read():
    official = states.mae_st_classifier_state(MAE_ST_STATE, 5)
    renamed = {name.replace("head.projection", "head"): value for name, value in official.items()}
    assert convert("mae-st", renamed).state.keys() == convert("mae-st", official).state.keys()


@pytest.mark.parametrize("kind", ["mean", "class", "probe"])
def test_mae_classifiers_equal_the_restatement(kind):
    official = states.mae_classifier_state(MAE_STATE, 5, kind)
    protocol = {"mean": "fine_tune", "class": "class_token", "probe": "linear_probe"}[kind]
    model = MAEClassifier(5, protocol, image_size=32, patch_size=8, **ENCODER).eval()
    model.load_state_dict(convert("mae", official).state)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(images), oracle.mae_classifier(images, official, 2), rtol=1e-4, atol=1e-5)


def test_clip_classifiers_equal_the_restatements():
    clips = torch.randn(3, 3, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    official = states.mae_st_classifier_state(MAE_ST_STATE, 5)
    model = MAESTClassifier(5, **CLIPS).eval()
    model.load_state_dict(convert("mae-st", official).state)
    torch.testing.assert_close(model(clips), oracle.mae_st_classifier(clips, official, 2), rtol=1e-4, atol=1e-5)
    official = states.videomae_classifier_state(VIDEOMAE_STATE, 5)
    model = VideoMAEClassifier(5, **CLIPS).eval()
    model.load_state_dict(convert("videomae", official).state)
    torch.testing.assert_close(model(clips), oracle.videomae_classifier(clips, official, 2), rtol=1e-4, atol=1e-5)
    views = model.predict(torch.stack((clips, clips.flip(3)), 1), torch.arange(3))
    mean = (model(clips).softmax(-1) + model(clips.flip(3)).softmax(-1)) / 2
    torch.testing.assert_close(torch.stack([row["scores"] for row in views]), mean)


def test_fine_tuning_takes_the_encoder_of_official_files(tmp_path):
    torch.save({"model": MAE_STATE, "epoch": 799}, tmp_path / "mae.pth")
    model = MAEClassifier(5, image_size=32, patch_size=8, **ENCODER)
    report = load_pretrained(model, tmp_path / "mae.pth")
    assert set(report.fresh) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}  # property of the card
    assert {name.split(".")[0] for name in report.unused} == {"decoder", "prediction", "encoder"}
    assert torch.equal(model.encoder.blocks[2].mlp.fc1.weight, MAE_STATE["blocks.2.mlp.fc1.weight"])
    torch.save({"model": VIDEOMAE_STATE}, tmp_path / "videomae.pth")
    report = load_pretrained(VideoMAEClassifier(5, **CLIPS), tmp_path / "videomae.pth", system="videomae")
    assert set(report.fresh) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    torch.save({"model_state": MAE_ST_STATE}, tmp_path / "mae_st.pyth")
    report = load_pretrained(MAESTClassifier(5, **CLIPS), tmp_path / "mae_st.pyth")
    assert set(report.fresh) == {"head.weight", "head.bias"}


def test_positions_are_resized_for_larger_images(tmp_path):
    torch.save({"model": MAE_STATE}, tmp_path / "mae.pth")
    model = MAEClassifier(5, image_size=48, patch_size=8, **ENCODER)
    load_pretrained(model, tmp_path / "mae.pth")
    table = MAE_STATE["pos_embed"][:, 1:].view(1, 4, 4, 32).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(table, (6, 6), mode="bicubic", align_corners=False)
    torch.testing.assert_close(model.position_embedding.table, resized.permute(0, 2, 3, 1).flatten(1, 2))
    assert torch.equal(model.encoder.class_position, MAE_STATE["pos_embed"][:, :1])


def test_a_probe_trains_its_head_alone():
    torch.manual_seed(0)
    model = mae_classifier_test(protocol="linear_probe")
    batch = {"image": torch.randn(4, 3, 32, 32), "label": torch.arange(4)}
    model(**batch, mode="loss")["loss"].backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {"head.weight", "head.bias"}
    attentive = mae_classifier_test(protocol="attentive_probe")
    attentive(**batch, mode="loss")["loss"].backward()
    assert {n.split(".")[0] for n, p in attentive.named_parameters() if p.grad is not None} == {"pool", "head"}


def test_soft_targets_and_smoothed_labels():
    torch.manual_seed(0)
    model = mae_classifier_test(label_smoothing=0.1).eval()
    images, label = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 4])
    soft = torch.nn.functional.one_hot(label, 5) * 0.9 + 0.02
    hard = model(images, "loss", label=label)["loss"]
    torch.testing.assert_close(model(images, "loss", label=label, target=soft)["loss"], hard)
    expected = -(soft * model(images).log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(hard, expected)


def test_our_own_pretraining_files_fit_too(tmp_path):
    torch.manual_seed(0)
    source = MAE(image_size=32, patch_size=8, decoder_dim=24, decoder_depth=1, decoder_num_heads=2, **ENCODER)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "epoch_1.pth")
    model = MAEClassifier(5, image_size=32, patch_size=8, **ENCODER)
    load_pretrained(model, tmp_path / "epoch_1.pth")
    assert torch.equal(model.encoder.blocks[0].attn.qkv.weight, source.encoder.blocks[0].attn.qkv.weight)

"""Official Point-BERT files of every kind, there and back, and what fine-tuning takes from them."""

import pytest
import torch

from mae3d.checkpoints import convert, export, load_pretrained
from mae3d.errors import CheckpointError, ConfigError
from mae3d.models.heads import (
    PointBERTClassifier,
    PointBERTSegmenter,
    point_bert_classifier_test,
    point_bert_segmenter_test,
)
from mae3d.models.methods import PointDVAE, point_bert_test, point_dvae_test
from tests.oracles import point_bert as oracle

WIDTH, DEPTH, HEADS, GROUPS, SIZE = 32, 3, 2, 16, 8


@pytest.fixture(scope="module")
def states():
    dvae = oracle.dvae_state(WIDTH, 24, 8, SIZE, 32)
    transformer = oracle.transformer_state(WIDTH, WIDTH, DEPTH, 2)
    return {
        "dvae": dvae,
        "pretrain": oracle.pretrain_state(dvae, WIDTH, DEPTH, 16, 16),
        "classification": oracle.classifier_state(transformer, 5),
        "part_segmentation": oracle.segmenter_state(transformer, 50, 32),
    }


KINDS = ["dvae", "pretrain", "classification", "part_segmentation"]


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_is_the_same(kind, states):
    official = states[kind]
    ours = convert("point-bert", official)
    assert ours.layout.kind == kind
    back = export("point-bert", ours.state)
    assert (back.layout.kind, back.parameters) == (kind, ours.parameters)
    assert set(back.state) == set(official)
    assert all(torch.equal(back.state[name], value) for name, value in official.items())
    assert ours.layout.prefix == ("" if kind == "part_segmentation" else "module.")


def test_published_files_have_the_published_tensors():
    dvae = oracle.dvae_state(256, 8192, 128, 32, 1024)
    assert len(dvae) == 75
    assert "27,620,891 parameters, 0 missing, 0 unexpected" in str(convert("point-bert", dvae))
    official = oracle.pretrain_state(dvae, 384, 12, 512, 16384)
    assert len(official) == 411
    for name, shape in {
        "queue": [512, 16384],
        "queue_ptr": [1],
        "transformer_q.cls_pos": [1, 1, 384],
        "transformer_k.encoder.second_conv.3.weight": [256, 512, 1],
        "transformer_q.reduce_dim.weight": [384, 256],
        "transformer_k.lm_head.weight": [8192, 384],
        "transformer_q.cls_head.2.weight": [512, 512],
        "dvae.dgcnn_1.layer3.0.weight": [512, 1024, 1, 1],
        "dvae.dgcnn_1.layer5.0.weight": [8192, 2304, 1],
        "dvae.dgcnn_2.layer5.0.weight": [256, 2304, 1],
        "dvae.decoder.mlp.4.weight": [24, 1024],
        "dvae.decoder.final_conv.0.weight": [512, 261, 1],
    }.items():
        assert list(official[name].shape) == shape
    assert convert("point-bert", official).layout.kind == "pretrain"
    classifier = oracle.classifier_state(oracle.transformer_state(256, 384, 12, 0), 40)
    assert convert("point-bert", classifier).parameters == 22_065_960


def test_classifier_equals_the_restated_forward(states):
    model = point_bert_classifier_test().eval()
    model.load_state_dict(convert("point-bert", states["classification"]).state)
    points = torch.randn(3, 96, 3, generator=torch.Generator().manual_seed(0))
    expected = oracle.classify(points, states["classification"], HEADS, GROUPS, SIZE)
    torch.testing.assert_close(model(points), expected, rtol=1e-4, atol=1e-5)


def test_segmenter_equals_the_restated_forward(states):
    model = point_bert_segmenter_test().eval()
    model.load_state_dict(convert("point-bert", states["part_segmentation"]).state)
    points = torch.randn(2, 96, 3, generator=torch.Generator().manual_seed(0))
    label = torch.tensor([3, 15])
    expected = oracle.segment(points, label, states["part_segmentation"], HEADS, GROUPS, SIZE, (0, 1, 2))
    torch.testing.assert_close(model(points, label=label), expected, rtol=1e-4, atol=1e-4)


def test_segmentation_with_fewer_centres_than_edges():
    """Neighbours that do not exist must not count as features of zero."""
    torch.manual_seed(0)
    points, label = torch.randn(2, 96, 3), torch.tensor([3, 15])
    transformer = oracle.transformer_state(WIDTH, WIDTH, DEPTH, 2)
    official = oracle.segmenter_state(transformer, 50, 32)
    model = point_bert_segmenter_test(num_groups=3).eval()
    model.load_state_dict(convert("point-bert", official).state)
    centers, coarse = torch.randn(1, 6, 3), torch.randn(1, 3, 3)
    own, far = torch.randn(1, 6, WIDTH), torch.randn(1, 3, WIDTH)
    upsampling = model.upsampling[0]
    near = torch.cdist(centers, coarse).argsort(dim=-1)  # all three
    within = torch.cdist(centers, centers).argsort(dim=-1)[..., :4]
    expected = upsampling.within(upsampling.across(own, near, far), within)
    torch.testing.assert_close(upsampling(centers, own, coarse, far), expected)
    assert model(points, label=label).isfinite().all()


def test_three_blocks_are_read():
    with pytest.raises(ConfigError, match=r"layers must be three blocks, got \(0, 1\)"):
        point_bert_segmenter_test(layers=(0, 1))


def save(states, kind, path):
    torch.save({"base_model": {f"module.{name}": value for name, value in states[kind].items()}, "epoch": 300}, path)
    return path


@pytest.mark.parametrize("make", [point_bert_classifier_test, point_bert_segmenter_test])
def test_fine_tuning_takes_the_query_network_but_its_heads(make, states, tmp_path):
    model = make()
    report = load_pretrained(model, save(states, "pretrain", tmp_path / "official.pth"))
    assert {name.split(".")[0] for name in report.fresh} == {prefix.rstrip(".") for prefix in type(model).fresh}
    query = states["pretrain"]["transformer_q.cls_pos"]
    assert torch.equal(model.encoder.class_position, query)
    unused = {name.split(".")[0] for name in report.unused}
    assert unused == {"mask_token", "prediction", "contrast", "queue", "teacher", "target"}


def test_pre_training_takes_an_official_dvae(states, tmp_path):
    path = save(states, "dvae", tmp_path / "official.pth")
    init = {"type": "PretrainedEncoder", "checkpoint": str(path)}
    size = {"group_size": SIZE, "embed_dim": WIDTH, "num_codes": 24, "graph_dim": 8, "decoder_dim": 32}
    model = point_bert_test(dvae={"type": "PointDVAE", **size, "init_cfg": init})
    model.init_weights()
    assert torch.equal(model.target.dvae.codebook, states["dvae"]["codebook"])
    first = states["dvae"]["encoder.first_conv.0.weight"].squeeze(-1)
    for part in (model, model.teacher.model):  # the patch embeddings start from it
        assert torch.equal(part.tokenizer.embedding.first[0].weight, first)
        assert int(part.tokenizer.embedding.first[1].num_batches_tracked) == 7
    assert torch.equal(model.teacher.model.encoder.class_token, model.encoder.class_token)


def test_a_file_of_the_whole_model_has_the_last_word(states, tmp_path):
    path = save(states, "pretrain", tmp_path / "official.pth")
    model = point_bert_test(init_cfg={"type": "PretrainedEncoder", "checkpoint": str(path)})
    model.init_weights()
    own = model.state_dict()
    for name, value in convert("point-bert", states["pretrain"]).state.items():
        assert torch.equal(own[name], value), name


def test_files_that_lack_something_are_refused(states):
    for kind, name in (("dvae", "decoder.mlp.2.bias"), ("pretrain", "transformer_k.cls_head.0.weight")):
        broken = {key: value for key, value in states[kind].items() if key != name}
        with pytest.raises(CheckpointError, match="missing 1 tensor"):
            convert("point-bert", broken)
    with pytest.raises(CheckpointError, match=r"unexpected 1 tensor: decoder\.extra"):
        convert("point-bert", {**states["dvae"], "decoder.extra": torch.zeros(2)})


def test_sizes_are_read_off_the_file(states):
    for kind, expected in (("dvae", PointDVAE), ("classification", PointBERTClassifier)):
        ours = convert("point-bert", states[kind])
        assert type(ours.layout.build(ours.state)) is expected
    ours = convert("point-bert", states["part_segmentation"])
    model = ours.layout.build(ours.state)
    assert isinstance(model, PointBERTSegmenter)
    assert model.num_categories == 16
    assert point_dvae_test().num_codes == 24

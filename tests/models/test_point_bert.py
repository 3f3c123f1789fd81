"""The properties of the Point-BERT specification, and equality with its restatement in tests/oracles."""

import functools
import math

import pytest
import torch
from torch.nn import functional as F

from mae3d.checkpoints import convert
from mae3d.errors import ConfigError
from mae3d.models.building import evaluating
from mae3d.models.losses import KeyQueue
from mae3d.models.methods import point_bert_base, point_bert_test, point_dvae_test
from mae3d.models.methods.point_bert import TERMS
from tests.engine.runs import free_port, in_processes
from tests.oracles import point_bert as oracle

WIDTH, DEPTH, HEADS, GROUPS, SIZE, CODES = 32, 3, 2, 16, 8, 24


def cloud(batch=4, points=96, seed=0):
    return torch.randn(batch, points, 3, generator=torch.Generator().manual_seed(seed))


def small(**options):
    torch.manual_seed(0)
    return point_bert_test(**options)


def official_model(**options):
    official = oracle.pretrain_state(oracle.dvae_state(WIDTH, CODES, 8, SIZE, 32), WIDTH, DEPTH, 16, 16)
    model = small(drop_path=0.0, losses=TERMS, contrast_temperature=0.07, **options)
    model.load_state_dict(convert("point-bert", official).state)
    return model, official


def draws(model, points, seed):
    """What ``compute_loss`` draws from a generator of this seed, in its documented order."""
    generator = torch.Generator().manual_seed(seed)
    tokens = model.tokenizer(points)
    mask = model.masking(tokens, generator)
    share = torch.rand(len(points), 1, generator=generator)
    kept = torch.rand(len(points), GROUPS, generator=generator) < share
    mixed, _ = model.mix(tokens, torch.zeros(len(points), GROUPS, dtype=torch.int64), kept)
    masks = mask, model.masking(mixed, generator), model.masking(tokens, generator)
    return [(mask.masked, mask.source) for mask in masks], share.squeeze(1), kept


# Equality with the restated official forward


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", [{"replacement": 0.0}, {"replacement": 0.3}, {"masking": "random"}])
def test_losses_equal_the_restatement(training, options):
    model, official = official_model(**options)
    points = cloud()
    with evaluating(model):
        masks, share, kept = draws(model, points, 5)
    expected = oracle.pretrain(points, masks, share, kept, official, HEADS, GROUPS, SIZE, training)
    losses = model.train(training)(points, mode="loss", generator=torch.Generator().manual_seed(5))
    assert set(losses) == {"loss_codes", "loss_mixed_codes", "loss_contrast", "loss_mixed_contrast"}
    for name, value in losses.items():
        assert value.item() == pytest.approx(expected[name].item(), rel=2e-5), name
    start = 8  # where the queue of the file points to
    joined = model.queue.keys[:, start : start + 4].T
    if training:
        torch.testing.assert_close(joined, expected["keys"], rtol=1e-4, atol=1e-6)
    else:
        assert torch.equal(model.queue.keys, official["queue"])


def test_gradients_equal_those_of_the_restatement():
    model, official = official_model(replacement=0.3)
    points = cloud()
    with evaluating(model):
        masks, share, kept = draws(model, points, 5)
    pairs = {
        "encoder.first_conv.0.weight": "tokenizer.embedding.first.0.weight",
        "reduce_dim.weight": "tokenizer.projection.weight",
        "mask_token": "mask_token.token",
        "cls_pos": "encoder.class_position",
        "blocks.blocks.0.attn.qkv.weight": "encoder.blocks.0.attn.qkv.weight",
        "lm_head.weight": "prediction.weight",
        "cls_head.0.weight": "contrast.0.weight",
    }
    for name in pairs:
        official[f"transformer_q.{name}"].requires_grad_()
    expected = oracle.pretrain(points, masks, share, kept, official, HEADS, GROUPS, SIZE, True)
    sum(value for name, value in expected.items() if "loss" in name).backward()
    losses = model.train()(points, mode="loss", generator=torch.Generator().manual_seed(5))
    sum(losses.values()).backward()
    for name, ours in pairs.items():
        wanted = official[f"transformer_q.{name}"].grad
        found = model.get_parameter(ours).grad.view_as(wanted)
        assert (found - wanted).abs().max() < 1e-3 * wanted.abs().max(), name


def test_predictions_equal_the_restatement():
    model, official = official_model()
    model.eval()
    points = cloud()
    result = model.predict_masked(points, generator=torch.Generator().manual_seed(3))
    query = {name.removeprefix("transformer_q."): value for name, value in official.items() if "transformer_q" in name}
    patches, centers = oracle.group(points, GROUPS, SIZE)
    mask = result.mask
    first, rest = oracle.transform(patches, centers, mask.masked, mask.source, query, HEADS, False)
    scores = F.linear(rest, query["lm_head.weight"], query["lm_head.bias"])[mask.asked]
    torch.testing.assert_close(result.prediction, scores, rtol=1e-4, atol=1e-4)
    nothing = torch.zeros(4, GROUPS, dtype=torch.bool)
    first, _ = oracle.transform(patches, centers, nothing, None, query, HEADS, False)
    torch.testing.assert_close(model.extract_features(points), oracle.project(first, query), rtol=1e-4, atol=1e-4)
    assert model.extract_features(points, "max_mean").shape == (4, 2 * WIDTH)


# Counts and properties of the card


def test_published_counts():
    with torch.device("meta"):
        model = point_bert_base()
    assert len(model.state_dict()) == 411 + 2  # and our counters of batches, of dVAE and slow copy
    own = sum(p.numel() for part in model.student_parts().values() for p in part.parameters())
    assert sum(p.numel() for p in model.parameters()) == 2 * own + 27_620_891


def test_the_loss_starts_where_all_codes_are_alike():
    torch.manual_seed(0)
    model = point_bert_base(depth=1, queue_length=8).train()
    losses = model(cloud(2, 256), mode="loss")
    # 18.02; the scores are not quite alike: the specification measured 18.25 with random weights.
    assert (losses["loss_codes"] + losses["loss_mixed_codes"]).item() == pytest.approx(2 * math.log(8192), rel=0.04)


def test_all_patches_kept_is_the_cloud_itself_and_none_the_other():
    model = small().eval()
    tokens = model.tokenizer(cloud())
    codes = torch.randint(0, CODES, (4, GROUPS))
    every = torch.ones(4, GROUPS, dtype=torch.bool)
    for kept, expected in ((every, [0, 1, 2, 3]), (~every, [3, 2, 1, 0])):
        mixed, mixed_codes = model.mix(tokens, codes, kept)
        assert torch.equal(mixed.content, tokens.content[expected])
        assert torch.equal(mixed.coordinates, tokens.coordinates[expected])
        torch.testing.assert_close(mixed.features, tokens.features[expected])
        assert torch.equal(mixed_codes, codes[expected])
    every[1, 3] = False
    mixed, mixed_codes = model.mix(tokens, codes, every)
    assert torch.equal(mixed.content[1, 3], tokens.content[2, 3])
    assert torch.equal(mixed.coordinates[1, 3], tokens.coordinates[2, 3])
    assert mixed_codes[1, 3] == codes[2, 3]
    assert torch.equal(mixed.content[1, :3], tokens.content[1, :3])


def test_the_slow_copy_follows_weights_alone_and_gets_no_gradient():
    model = small(momentum=0.9)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    before = {name: value.clone() for name, value in model.student_parts().named_parameters()}
    sum(model.train()(cloud(), mode="loss").values()).backward()
    copy = dict(model.teacher.model.named_parameters())
    assert all(torch.equal(copy[name], value) for name, value in before.items())
    assert all(p.grad is None for p in model.teacher.parameters())
    optimizer.step()
    model(cloud(seed=1), mode="loss")
    for name, value in model.student_parts().named_parameters():
        torch.testing.assert_close(copy[name], 0.9 * before[name] + 0.1 * value.detach(), msg=name)
    own, theirs = (m.tokenizer.embedding.first[1] for m in (model.teacher.model, model))
    assert int(own.num_batches_tracked) == 2  # its own two passes
    assert int(theirs.num_batches_tracked) == 4  # plain and mixed clouds
    assert model.teacher.model.training
    assert not model.eval().teacher.model.training


def test_the_tokenizer_starts_as_the_dvae_does_and_learns_on():
    dvae = point_dvae_test()
    for buffer in dvae.tokenizer.buffers():
        buffer.add_(1)
    model = small(dvae=dvae)
    for name, value in dvae.tokenizer.embedding.state_dict().items():
        assert torch.equal(model.tokenizer.embedding.state_dict()[name], value)
        assert torch.equal(model.teacher.model.tokenizer.embedding.state_dict()[name], value)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    frozen = {name: value.clone() for name, value in dvae.state_dict().items()}
    sum(model.train()(cloud(), mode="loss").values()).backward()
    optimizer.step()
    assert all(torch.equal(value, frozen[name]) for name, value in dvae.state_dict().items())
    assert not torch.equal(model.tokenizer.embedding.first[0].weight, frozen["tokenizer.embedding.first.0.weight"])


def test_weights_start_as_published():
    """Truncated normal with deviation 0.02, no biases; the patch embedding starts as the dVAE's instead."""
    model = small()
    linear = {name: m for name, m in model.student_parts().named_modules() if isinstance(m, torch.nn.Linear)}
    linear = {name: m for name, m in linear.items() if ".embedding." not in name}
    assert {"prediction", "contrast.0", "contrast.2", "tokenizer.projection", "position_embedding.0"} < set(linear)
    for name, layer in linear.items():
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.2), name
        assert layer.bias is None or not layer.bias.any(), name
    assert 0 < model.mask_token.token.std() < 0.03


def test_codes_depend_on_the_batch_as_published_or_not():
    points = cloud()
    for frozen in (True, False):
        model = small(frozen_statistics=frozen).train()
        dvae = model.target.dvae
        before = dvae.tokenizer.embedding.first[1].running_mean.clone()
        alone, together = (model.target(model.tokenizer(x)) for x in (points[:1], points))
        assert dvae.training is not frozen
        assert torch.equal(dvae.tokenizer.embedding.first[1].running_mean, before) is frozen
        assert torch.equal(alone, together[:1]) is frozen
    assert not model.eval().target.dvae.training


def test_terms_and_tokens_are_chosen():
    points = cloud()
    assert set(small(losses=("contrast",)).train()(points, mode="loss")) == {"loss_contrast"}
    assert set(small().train()(points, mode="loss")) == {"loss_codes", "loss_mixed_codes", "loss_mixed_contrast"}
    assert small(predicted="all").predict_masked(points).prediction.shape == (4 * GROUPS, CODES)
    with pytest.raises(ConfigError, match="losses must be some of"):
        small(losses=("pixels",))
    with pytest.raises(ConfigError, match="losses must be some of"):
        small(losses=())
    with pytest.raises(ConfigError, match='predicted must be "masked" or "all"'):
        small(predicted="some")
    with pytest.raises(ConfigError, match=r"group_size and patch_dim are \(8, 16\), those of the dVAE \(8, 32\)"):
        small(patch_dim=16)
    with pytest.raises(ConfigError, match=r"group_size and patch_dim are \(8, 32\), those of the dVAE \(16, 32\)"):
        small(dvae=point_dvae_test(group_size=16))
    with pytest.raises(ConfigError, match="dvae must give codes, as PointDVAE does; got PointMAE"):
        small(dvae={"type": "point_mae_test"})


def test_nothing_hidden_is_no_loss():
    model = small(mask_ratio=(0.0, 0.0), masking="random", replacement=0.0).train()
    losses = model(cloud(), mode="loss")
    assert losses["loss_codes"].item() == losses["loss_mixed_codes"].item() == 0.0
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_codes_do_not_depend_on_the_precision_of_training():
    model, _ = official_model()
    tokens = model.eval().tokenizer(cloud(batch=64))
    with torch.autocast("cpu", torch.bfloat16):
        lower = model.target(tokens)
    assert torch.equal(lower, model.target(tokens))


def test_reconstructions_show_hidden_patches_from_their_codes():
    model = small(replacement=0.0)
    points = cloud()
    found = model.reconstruct(points, generator=torch.Generator().manual_seed(2))
    mask = model.masking(model.eval().tokenizer(points), torch.Generator().manual_seed(2))
    assert [len(rows) for rows in found.visible] == [SIZE * int(n) for n in (~mask.masked).sum(1)]
    assert [len(rows) for rows in found.predicted] == [SIZE * int(n) for n in mask.masked.sum(1)]
    torch.nn.init.zeros_(model.prediction.weight)
    model.prediction.bias.data.copy_(10.0 * F.one_hot(torch.tensor(7), CODES))  # every hidden patch is a seven
    found = model.reconstruct(points, mask)
    tokens = model.tokenizer(points)
    codes = model.target(tokens).masked_fill(mask.masked, 7)
    decoded = model.target.dvae.decode_codes(codes, tokens.coordinates) + tokens.coordinates.unsqueeze(2)
    torch.testing.assert_close(torch.cat(found.predicted), decoded[mask.masked].flatten(0, 1))
    nearest = (found.visible[0][:, None] - points[0][None]).norm(dim=-1).amin(1)
    assert nearest.max() < 1e-5


def test_layers_for_learning_rate_decay():
    model = small()
    depths = {name: model.get_layer_depth(name) for name, _ in model.named_parameters()}
    assert depths["tokenizer.projection.weight"] == (0, DEPTH + 2)
    assert depths["encoder.blocks.2.mlp.fc2.bias"] == (3, DEPTH + 2)
    assert depths["prediction.weight"] == depths["contrast.0.weight"] == (DEPTH + 1, DEPTH + 2)


# The queue


def test_the_queue_turns_round_and_holds_unit_vectors():
    torch.manual_seed(0)
    queue = KeyQueue(5, 6)
    torch.testing.assert_close(queue.keys.norm(dim=0), torch.ones(6))
    batches = [F.normalize(torch.randn(2, 5), dim=1) for _ in range(4)]
    for number, batch in enumerate(batches, start=1):
        queue.push(batch)
        assert int(queue.pointer) == 2 * number % 6
    torch.testing.assert_close(queue.keys.T, torch.cat((batches[3], batches[1], batches[2])))
    with pytest.raises(ConfigError, match="4 keys of a batch over all processes do not divide the queue's 6"):
        queue.push(torch.zeros(4, 5))


def push_in_turn(rank, world, port, results):
    """Three global batches of four keys on the given number of processes; saves the first one's queue."""
    torch.manual_seed(0)
    queue, batches = KeyQueue(5, 8), F.normalize(torch.randn(3, 4, 5), dim=2)
    if world > 1:
        torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    for batch in batches:
        queue.push(batch.chunk(world)[rank])
    if world > 1:
        torch.distributed.destroy_process_group()
    if rank == 0:
        torch.save(queue.state_dict(), results)


def test_the_queue_takes_the_keys_of_all_processes(tmp_path):
    in_processes(functools.partial(push_in_turn, results=tmp_path / "two.pt"), 2, free_port())
    push_in_turn(0, 1, 0, tmp_path / "one.pt")
    two, one = (torch.load(tmp_path / name) for name in ("two.pt", "one.pt"))
    assert int(two["pointer"]) == 12 % 8
    assert torch.equal(two["keys"], one["keys"])


def test_impossible_queues_are_refused():
    with pytest.raises(ConfigError, match=r"length must be at least 1 and temperature positive, got 0 and 0\.07"):
        KeyQueue(5, 0)
    with pytest.raises(ConfigError, match=r"length must be at least 1 and temperature positive, got 6 and 0\.0"):
        KeyQueue(5, 6, 0.0)


def test_contrast_equals_a_loop():
    torch.manual_seed(0)
    queue = KeyQueue(5, 7, 0.2).double()
    queries, keys = (F.normalize(torch.randn(3, 5, dtype=torch.float64), dim=1) for _ in range(2))
    share = torch.rand(3, dtype=torch.float64)
    plain = mixed = 0.0
    for b in range(3):
        wrong = sum(math.exp(queries[b] @ key / 0.2) for key in queue.keys.T)
        right = math.exp(queries[b] @ keys[b] / 0.2)
        plain -= math.log(right / (right + wrong)) / 3
        batch = [math.exp(queries[b] @ key / 0.2) for key in keys]
        parts = (batch[b] / (sum(batch) + wrong)), (batch[2 - b] / (sum(batch) + wrong))
        mixed -= (share[b].item() * math.log(parts[0]) + (1 - share[b].item()) * math.log(parts[1])) / 3
    assert queue.contrast(queries, keys).item() == pytest.approx(plain, rel=1e-12)
    assert queue.mixed_contrast(queries, keys, share).item() == pytest.approx(mixed, rel=1e-12)


def test_keys_pushed_before_the_backward_pass_do_not_change_gradients():
    torch.manual_seed(0)
    gradients = []
    for push in (False, True):
        queue = KeyQueue(5, 6)
        queue.keys.copy_(torch.eye(5, 6))
        queries = F.normalize(torch.ones(2, 5), dim=1).requires_grad_()
        loss = queue.contrast(queries, torch.eye(2, 5))
        if push:
            queue.push(torch.eye(2, 5))
        loss.backward()
        gradients.append(queries.grad)
    assert torch.equal(*gradients)

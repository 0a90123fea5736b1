"""AGPNet's parts against hand-computed cases, torch's own layers and laws, and whole runs."""

from __future__ import annotations

import copy
import json

import cv2
import numpy as np
import pytest
import torch
from edgead_export.exporter import export_run
from edgead_training.checkpoint import CHECKPOINT
from edgead_training.fit import Interrupted
from edgead_training.methods import AGPNet, TrainingSet, agpnet, agpnet_clean_features
from edgead_training.methods.agpnet import channel_norm, fold, projection, unfold
from edgead_training.methods.agpnet_decoder import Decoder, Teacher, TransformerBlock
from safetensors.torch import load_file
from torch.nn import functional as F

import edgead
from edgead.errors import TrainingError

SMALL = {"size": [64, 96], "width": 16, "heads": 2, "blocks": 2, "common": 24, "batch_size": 4}


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=_generator(seed))


def _method(**changes) -> AGPNet:
    torch.manual_seed(0)
    return AGPNet.from_settings(SMALL | changes, n_train=5).eval()


def _data(count: int = 6, seed: int = 0) -> TrainingSet:
    coarse = _random(count, 3, 8, 12, seed=seed)
    images = F.interpolate(coarse, (64, 96), mode="bicubic")
    return TrainingSet(images, lambda items, title: iter(items))


def _stage(method: AGPNet, data: TrainingSet):
    (stage,) = method.stages(data)
    stage.prepare()
    return stage


def test_fold_is_space_to_depth_and_unfold_takes_it_back():
    x = _random(2, 5, 8, 12)
    assert torch.equal(fold(x, 4), F.pixel_unshuffle(x, 4))
    assert torch.equal(unfold(fold(x, 4), 4), x)
    assert torch.equal(unfold(x[:, :4], 2), F.pixel_shuffle(x[:, :4], 2))


def test_channel_norm_is_the_layer_norm_of_each_position():
    x = 3 + 2 * _random(2, 24, 4, 6)
    want = F.layer_norm(x.double().permute(0, 2, 3, 1), (24,)).permute(0, 3, 1, 2)
    torch.testing.assert_close(channel_norm(x).double(), want, atol=1e-5, rtol=0)
    # Large features in half: the squares, up to 1e6, would overflow there.
    half = (500 * _random(1, 24, 4, 6)).half()
    torch.testing.assert_close(channel_norm(half), channel_norm(half.float()))


@pytest.mark.parametrize("shape", [(40, 8), (8, 40)])
def test_projection_is_orthonormal(shape):
    matrix = projection(*shape, _generator())[:, :, 0, 0]
    assert matrix.shape == shape[::-1]
    small = matrix @ matrix.T if shape[0] > shape[1] else matrix.T @ matrix
    torch.testing.assert_close(small, torch.eye(8), atol=1e-5, rtol=0)


def test_block_is_the_transformer_block_of_torch():
    ours = TransformerBlock(16, 2)
    theirs = torch.nn.TransformerEncoderLayer(
        16, 2, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    names = {"norm1": "norm1", "norm2": "norm2", "proj": "self_attn.out_proj",
             "mlp.0": "linear1", "mlp.2": "linear2"}  # fmt: skip
    for mine, other in names.items():
        ours.get_submodule(mine).load_state_dict(theirs.get_submodule(other).state_dict())
    with torch.no_grad():
        theirs.self_attn.in_proj_bias.normal_(generator=_generator())
    ours.qkv.weight.data = theirs.self_attn.in_proj_weight.data
    ours.qkv.bias.data = theirs.self_attn.in_proj_bias.data
    x = _random(3, 10, 16)
    with torch.no_grad():
        out, attention = ours(x)
        torch.testing.assert_close(out, theirs.train()(x), atol=1e-5, rtol=1e-4)
        normed = theirs.norm1(x)
        _, want = theirs.self_attn(normed, normed, normed, average_attn_weights=False)
    torch.testing.assert_close(attention, want, atol=1e-6, rtol=1e-4)


def test_decoder_reads_positions_and_the_attention_a_position_gets_adds_up_to_one():
    decoder = Decoder(8, (4, 6), 16, 2, 2).eval()
    x = _random(3, 8, 4, 6)
    mask = decoder.attention_mask(x)
    assert mask.shape == (3, 1, 4, 6) and not mask.requires_grad
    torch.testing.assert_close(mask.sum((1, 2, 3)), torch.ones(3))
    with torch.no_grad():
        same = decoder(torch.ones(1, 8, 4, 6))
        assert same.std((2, 3)).max() > 1e-4  # the same features, told apart by their place
        # A key that every query likes: what sits at row 1, column 2 is looked at by all.
        for block in decoder.blocks:
            block.qkv.weight.zero_()
            block.qkv.bias.zero_()
            block.qkv.bias[:16] = 1  # q = 1
            block.qkv.weight[16:32, 0] = 9  # k = 9 times the first channel of LN(x)
        decoder.embed.weight.zero_()
        decoder.place.zero_()
        decoder.place[0, 1 * 6 + 2, 0] = 5
        assert decoder.attention_mask(x).flatten(1).argmax(1).tolist() == [8, 8, 8]


def test_masks_are_stretched_each_by_itself():
    mask = torch.tensor([[[[2.0, 4.0], [3.0, 2.5]]], [[[7.0, 7.0], [7.0, 7.0]]]])
    torch.testing.assert_close(agpnet.minmax(mask)[0, 0], torch.tensor([[0.0, 1.0], [0.5, 0.25]]))
    assert agpnet.minmax(mask)[1].abs().max() == 0  # constant: no position stands out


def test_noise_is_drawn_once_for_each_channel_and_token():
    method = _method()
    drawn = method.split(method.gaussian(50, _generator()))
    for x, factor in zip(drawn, (4, 2, 1), strict=True):
        tokens = x[:, :, ::factor, ::factor]
        assert torch.equal(x, tokens.repeat_interleave(factor, 2).repeat_interleave(factor, 3))
        assert float(tokens.std()) == pytest.approx(1, rel=0.03)  # 28,800 draws at least
        assert len(tokens.unique()) > 0.99 * tokens.numel()
    assert method.gaussian(3, _generator()).shape == (3, method.decoder.channels, *method.grid)
    summed = _method(join="sum").gaussian(50, _generator())
    assert summed.shape == (50, 24, 4, 6) and float(summed.std()) == pytest.approx(1, rel=0.03)


def test_teacher_is_the_moving_average_of_the_decoder():
    decoder = Decoder(8, (2, 2), 8, 2, 1)
    teacher = Teacher(decoder, 0.5)
    want = decoder.head.weight.detach().clone()
    for step in range(12):
        with torch.no_grad():
            decoder.head.weight.copy_(_random(8, 8, seed=step))
        teacher.follow(decoder)
        eta = min(0.5, (1 + step) / (10 + step))  # it reaches 0.5 at step 8
        want = eta * want + (1 - eta) * decoder.head.weight.detach()
    torch.testing.assert_close(teacher.decoder.head.weight, want)
    assert not any(p.requires_grad for p in teacher.parameters())


def test_saliency_is_the_energy_of_all_levels():
    method = _method()
    levels = method.on_grid(method.backbone(_data(2).images))
    rows = [x.double().square().mean(1) for x in levels]  # at strides 4, 8, 16
    cells = [F.avg_pool2d(x, f) if f > 1 else x for x, f in zip(rows, (4, 2, 1), strict=True)]
    found = method.saliency(levels)[:, 0].double()
    torch.testing.assert_close(found, sum(cells) / 3, atol=0, rtol=1e-5)  # 384 squares in float32


@pytest.mark.parametrize("masks", ["prior", "learnt", "both"])
def test_mask_is_the_sum_of_what_is_switched_on(masks):
    method = _method(masks=masks)
    clean, prior = _random(2, method.decoder.channels, *method.grid), _random(2, 1, *method.grid)
    terms = {
        "prior": agpnet.minmax(prior),
        "learnt": agpnet.minmax(method.decoder.attention_mask(clean)),
    }
    want = sum(terms.values()) if masks == "both" else terms[masks]
    torch.testing.assert_close(method.mask(clean, prior, _generator()), want)


def test_learnt_mask_comes_from_the_teacher_while_there_is_one():
    method = _method(masks="learnt")
    _stage(method, _data())
    clean, prior = _random(2, method.decoder.channels, *method.grid), _random(2, 1, *method.grid)
    before = method.mask(clean, prior, _generator())
    torch.nn.init.normal_(method.decoder.place)
    assert torch.equal(method.mask(clean, prior, _generator()), before)
    torch.nn.init.normal_(method.teacher.decoder.place)
    assert not torch.allclose(method.mask(clean, prior, _generator()), before)


def test_sum_adds_the_normalised_projections():
    method = _method(join="sum")
    levels = method.on_grid(method.backbone(_data(1).images))
    want = 0
    for k, (x, factor) in enumerate(zip(levels, (4, 2, 1), strict=True)):
        tokens = (F.pixel_unshuffle(x, factor) if factor > 1 else x).double().flatten(2)
        projected = method.get_buffer(f"project_{k}")[:, :, 0, 0].double() @ tokens[0]
        want = want + F.layer_norm(projected.T, (24,)).T.reshape(1, 24, *method.grid)
    torch.testing.assert_close(method.join(levels).double(), want, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("switches", "names"),
    [({}, ["feature", "image"]), ({"where": "feature"}, ["feature"]),
     ({"where": "image"}, ["image"]), ({"noise": "none"}, ["clean"])],
)  # fmt: skip
def test_loss_is_the_mean_of_the_errors_against_clean_features(switches, names):
    """A decoder that gives back its input leaves just the noise."""
    method, data = _method(beta=0.5, **switches), _data()
    stage = _stage(method, data)
    method.decoder.forward = lambda x: x
    losses = stage.loss(torch.arange(6), _generator(), 0.0)
    assert list(losses) == names
    if "feature" in losses:  # alpha(0) = 0, so E beta everywhere
        want = (0.5 * method.clean.spread).square().mean() / len(names)
        assert float(losses["feature"]) == pytest.approx(float(want), rel=0.05)  # 1.5 %: 3456 draws
    if "image" in losses:
        assert float(losses["image"]) > 0
        later = stage.loss(torch.arange(6), _generator(), 1.0)["image"]
        assert float(later) > 1.5 * float(losses["image"])  # r grows from 0.05 to 0.3
    if "clean" in losses:
        assert float(losses["clean"]) == 0


def test_gradients_reach_the_decoder_alone():
    method = _method()
    stage = _stage(method, _data())
    sum(stage.loss(torch.arange(4), _generator(), 0.5).values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.decoder.parameters())
    others = [p for n, p in method.named_parameters() if not n.startswith("decoder.")]
    assert others and all(p.grad is None for p in others)


def test_features_beyond_the_cache_are_the_same(monkeypatch):
    kept, again = _method(), _method()
    losses = _stage(kept, _data()).loss(torch.arange(6), _generator(), 0.5)
    monkeypatch.setattr(agpnet_clean_features, "CACHE_BYTES", 0)
    anew = _stage(again, _data()).loss(torch.arange(6), _generator(), 0.5)
    assert len(kept.clean.clean) == 6 and len(again.clean.clean) == 0
    for name, value in losses.items():
        torch.testing.assert_close(value, anew[name], rtol=1e-3, atol=0)  # kept in half


def _averaged(residual: torch.Tensor, side: int) -> torch.Tensor:
    """The mean over ``side`` x ``side`` positions, of those inside: [N, C, h, w] float64."""
    around = [(0, 0), (0, 0), (side // 2,) * 2, (side // 2,) * 2]
    inside = np.pad(residual.double().numpy(), around, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(inside, (side, side), (2, 3))
    return torch.from_numpy(np.nanmean(windows, axis=(4, 5)))


def _errors(method, data):
    """Mean squared errors by level, [N, h, w] float64, and those of the pairs."""
    _stage(method, data)
    method.conclude(data)
    assert method.clean is None and method.teacher is None
    with torch.no_grad():
        clean = method.join(method.on_grid(method.backbone(data.images)))
        sides = zip(method.split(clean), method.split(method.decoder(clean)), strict=True)
        pairs = method(data.images)
    residuals = [_averaged(a - b, method.config.window) for a, b in sides]
    squares = [residual.square().mean(1) for residual in residuals]
    return squares, [(a - b).double().square().mean(1) for a, b in pairs]


def test_pairs_give_the_error_over_the_mean_error_of_the_training_images():
    plain, found = _errors(_method(balance=False, own_level=0.0), _data(5))
    for error, got in zip(plain, found, strict=True):
        want = error / (error.mean(0) + 0.1 * error.mean())
        torch.testing.assert_close(got, want, rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("window", [1, 3, 5])
def test_without_places_and_balance_the_error_is_as_it_is(window):
    """That of the paper, where the window is one position."""
    off = {"position": False, "balance": False, "own_level": 0.0}
    plain, found = _errors(_method(**off, window=window), _data(5))
    for error, got in zip(plain, found, strict=True):
        torch.testing.assert_close(got, error, rtol=1e-3, atol=1e-6)


def test_joint_noise_is_on_the_features_of_noisy_images_too():
    """L_img,feat: a decoder that gives back its input leaves the noise of both, as they add up."""
    losses = {}
    for joint in (False, True):
        method, data = _method(beta=0.5, joint=joint), _data()
        stage = _stage(method, data)
        method.decoder.forward = lambda x: x
        losses[joint] = stage.loss(torch.arange(6), _generator(), 0.0)
    # Independent draws: squares add up, and their product is small in the mean over 3456 draws.
    want = losses[False]["image"] + losses[False]["feature"]
    torch.testing.assert_close(losses[True]["image"], want, rtol=0.05, atol=0)
    assert float(losses[False]["feature"]) > 0.2 * float(losses[False]["image"])


def test_two_training_images_are_enough():
    method, data = _method(), _data(2)
    stage = _stage(method, data)
    assert all(
        torch.isfinite(x) for x in stage.loss(torch.tensor([0, 1]), _generator(), 0).values()
    )
    method.conclude(data)
    assert all(x.isfinite().all() for pair in method(data.images) for x in pair)


@pytest.mark.parametrize("switches", [{}, {"join": "sum"}, {"stride": 8}], ids=str)
def test_a_half_method_takes_and_gives_float32_and_stays_close(switches):
    method, image = _method(**switches), _data(1).images
    with torch.no_grad():
        pairs, narrow = method(image), copy.deepcopy(method).half()(image)
    assert [tuple(a.shape[1:]) for a, _ in pairs] == list(method.shapes())
    for want, got in zip(sum(pairs, ()), sum(narrow, ()), strict=True):
        assert got.dtype == torch.float32
        # half has 11 bits; errors of 2^-11 pile up over the backbone's 30 layers
        assert (got - want).abs().max() < 0.02 * want.abs().max()


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"join": "product"}, "join='product' is not known"), ({"size": [100, 64]}, "multiples of 16"),
     ({"stride": 4}, "stride=4 must be at least 8"),
     ({"stride": 12}, "strides 4, 8, 16; add --set stride=8"),
     ({"width": 20, "heads": 3}, "width=20 is not a multiple of heads=3"),
     ({"image_share": [0.3, 0.1]}, "not a range of shares"), ({"batch_size": 1}, "at least 2"),
     ({"image_share": [0.1, 1.5]}, "not a range of shares"), ({"noise": "salt"}, "noise='salt'"),
     ({"where": "nowhere"}, "where='nowhere'"), ({"masks": "all"}, "masks='all'"),
     ({"schedule": "cosine"}, "schedule='cosine'"), ({"alpha": -1.0}, "alpha=-1.0 must be"),
     ({"map": "hog"}, "agpnet has no setting 'map'"), ({"eta": 1.0}, "eta=1.0 never follows"),
     ({"ema": 1}, "like ema=true"), ({"blocks": 0}, "blocks=0 must be at least 1")],
)  # fmt: skip
def test_bad_settings_get_a_sentence(settings, words):
    with pytest.raises(TrainingError, match=words):
        AGPNet.from_settings(SMALL | settings, n_train=3)


def test_settings_come_back_from_their_json():
    method = _method(join="sum", ema=False, image_share=[0.1, 0.2])
    again = AGPNet.from_settings(json.loads(json.dumps(method.settings())), 5)
    assert again.config == method.config


@pytest.mark.parametrize("switches", [{}, {"noise": "random"}, {"ema": False}], ids=str)
def test_stopped_and_resumed_is_as_if_never_stopped(switches, train_steps, tmp_path):
    """... the moving average and the schedule too."""
    settings = SMALL | {"alpha": 5.0} | switches
    train_steps("agpnet", settings, tmp_path / "whole", steps=6)
    with pytest.raises(Interrupted):
        train_steps("agpnet", settings, tmp_path / "cut", steps=6, stop_at=3)
    kept = load_file(tmp_path / "cut" / CHECKPOINT)
    assert any(name.startswith("model.teacher.") for name in kept) == (switches == {})
    train_steps("agpnet", settings, tmp_path / "cut", steps=6, resume=True)
    whole, cut = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "cut"))
    assert whole.keys() == cut.keys() and not any("teacher" in name for name in whole)
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_run_becomes_a_bundle_that_scores(train_steps, tmp_path):
    """The exporter holds both graphs against torch, in map, score and verdict."""
    run = train_steps("agpnet", SMALL, tmp_path / "run", steps=60)
    picture = cv2.imread(str(tmp_path / "run" / "recovered.png"))
    assert picture.shape == (3 * 64, 2 * 96, 3) and picture.std() > 5
    history = json.loads((tmp_path / "run" / "run.json").read_text())["history"]
    losses = [row["feature"] + row["image"] for row in history]
    assert losses[-1] < 0.9 * losses[0]  # though the noise grows
    bundle = export_run(tmp_path / "run", tmp_path / "part.edgead", log=lambda _: None)
    assert bundle.manifest.method == "agpnet"
    frame = cv2.imread(str(run.calibration[0].path))
    marked = cv2.rectangle(frame.copy(), (26, 30), (46, 50), (255, 255, 255), -1)
    detector = edgead.Detector(tmp_path / "part.edgead")
    assert detector.score(marked).score > detector.score(frame).score

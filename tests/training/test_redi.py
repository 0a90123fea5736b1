"""ReDi's parts against hand-computed cases, float64 and its own contract."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from edgead_training.methods import ReDi, ReDiSettings, redi_good_features
from edgead_training.methods.base import TrainingSet
from edgead_training.methods.redi_image import ImageReDi, ImageReDiSettings
from edgead_training.methods.redi_losses import alignment_loss, directed, self_correlation_loss
from edgead_training.methods.redi_networks import FeatureNet, onto
from edgead_training.methods.redi_prompts import describe
from edgead_training.methods.redi_structure_maps import with_foreign_edges
from torch.nn import functional as F

from edgead.errors import TrainingError

SMALL = {"size": [64, 64], "bank_size": 3, "width": 8}
SHAPES = ((24, 16), (40, 8), (112, 4))  # channels and side of the levels of 64 x 64


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _images(count: int) -> torch.Tensor:
    """Smooth, and each unlike the others."""
    return F.interpolate(_random(count, 3, 8, 8), (64, 64), mode="bicubic")


def _set(images: torch.Tensor) -> TrainingSet:
    return TrainingSet(images, lambda items, title: iter(items))


def _method(**changes) -> ReDi:
    torch.manual_seed(0)
    method = ReDi.from_settings(SMALL | changes, n_train=5)
    kept = [_random(5, *values.shape[1:], seed=2) for values in method.bank.kept()]
    keys = _random(5, method.bank.keys.shape[1], seed=1)
    method.bank.fill(keys, lambda rows: [values[rows] for values in kept])
    return method.eval()


def test_alignment_loss_by_hand():
    x = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])  # two positions: (1, 0) and (0, 2)
    y = torch.tensor([[[[3.0, 5.0]], [[0.0, 0.0]]]])  # the same direction; a right angle
    assert alignment_loss([x], [y]).item() == pytest.approx(0.5)
    assert alignment_loss([x, x], [y, y]).item() == pytest.approx(1.0)  # a sum over scales


def test_self_correlation_loss_by_hand():
    x = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # C = identity
    y = torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]])  # C = all ones
    assert self_correlation_loss([x], [y]).item() == pytest.approx(2 / 4)  # 2 of 4 entries differ
    assert self_correlation_loss([x], [7 * x]).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [((40, 16), [3] * 13 + [1], [1] * 16), ((24, 17), [2] * 12, [2] * 8 + [1]),
     ((64, 64), [4] * 16, [4] * 16), ((8, 6), [1] * 8, [1] * 6)],
)  # fmt: skip
def test_self_correlation_is_that_of_at_most_16_by_16_cells_that_hold_every_position(
    size, rows, columns
):
    x, y = (_random(2, 5, *size, seed=s).double() for s in (1, 2))

    def similarity(z: torch.Tensor) -> torch.Tensor:
        strips = z.split(rows, 2)
        cells = [cell.mean((2, 3)) for strip in strips for cell in strip.split(columns, 3)]
        unit = torch.stack([cell / cell.norm(dim=1, keepdim=True) for cell in cells], 2)
        return torch.einsum("ncp,ncq->npq", unit, unit)

    want = (similarity(x) - similarity(y)).square().mean()
    assert self_correlation_loss([x], [y]).item() == pytest.approx(want.item(), rel=1e-10)


def test_self_correlation_does_not_see_a_common_rotation_that_alignment_sees():
    x, rotation = _random(1, 8, 6, 6), torch.linalg.qr(_random(8, 8, seed=2))[0]
    turned = torch.einsum("dc,nchw->ndhw", rotation, x)
    assert self_correlation_loss([x], [turned]).item() < 1e-10
    assert alignment_loss([x], [turned]).item() > 0.1


@pytest.mark.parametrize("loss", [alignment_loss, self_correlation_loss])
def test_a_loss_is_float32_where_the_network_computes_in_bfloat16(loss):
    x, y = _random(1, 24, 16, 16), _random(1, 24, 16, 16, seed=2).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss([x], [y])
    exact = loss([x.double()], [y.double()]).item()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(exact, rel=1e-5)  # in bfloat16 some 1e-3 off


def test_directed_features_near_the_mean_point_the_same_way():
    """By hand: [0, 0], [2, 0] and [0, 2] of two channels have the constant sqrt(2) beside them."""
    x = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2e6, 0.0]]).T[None, :, None]
    (wide,) = directed([x])
    assert wide.shape == (1, 3, 1, 4)
    at = [wide[:, :, 0, k] for k in range(4)]
    cosine = [F.cosine_similarity(at[i], at[j]).item() for i, j in ((0, 0), (0, 1), (1, 2), (2, 3))]
    assert cosine == pytest.approx([1, (2 / 6) ** 0.5, 2 / 6, 0], abs=1e-5)


def _good(method: ReDi, images: torch.Tensor) -> redi_good_features.GoodFeatures:
    good = method.good_features(_set(images))
    good.prepare()
    return good


def test_features_are_standardised_with_the_moments_of_the_training_images():
    method, images = _method(), _images(6)
    good = _good(method, images)
    with torch.no_grad():
        levels = method.scale.standardise(method.backbone(images))
    for level, kept in zip(levels, good(torch.arange(6)), strict=True):
        flat = level.transpose(0, 1).flatten(1)
        assert flat.mean(1).abs().max() < 1e-3
        assert (flat.std(1, correction=0) - 1).abs().max() < 1e-3
        ones = F.avg_pool2d(torch.ones_like(level), 3, 1, 1)
        want = F.avg_pool2d(level, 3, 1, 1) / ones  # a mean of the neighbours that there are
        torch.testing.assert_close(kept, want, atol=1e-2, rtol=1e-2)  # kept in half


def test_the_bank_keeps_the_features_of_its_images_and_gives_none_its_own():
    method, images = _method(bank_size=5), _images(5)
    good = _good(method, images)
    with torch.no_grad():
        kept = [method.recover.gather(good(torch.tensor([i])))[0][0] for i in range(5)]
    found = {
        min(range(5), key=lambda i: float((kept[i] - each).square().sum()))
        for each in method.bank.features_0
    }
    assert found == set(range(5))
    rows = good.similarity.argsort(dim=1, descending=True)[:, :2]
    for image, prompt in enumerate(good.prompts(torch.arange(5))[0]):
        own = kept[image]
        nearest = method.bank.features_0[rows[image]]
        assert (nearest - own).flatten(1).norm(dim=1).min() > 0.1 * own.norm()
        share = torch.softmax(good.similarity[image, rows[image]] / 0.02, 0)
        torch.testing.assert_close(prompt, (share[:, None, None, None] * nearest).sum(0))


def test_foreign_edges_change_a_part_of_some_maps_and_nothing_else():
    maps = torch.rand(8, 9, 32, 32, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(3)
    before = maps.clone()
    assert torch.equal(with_foreign_edges(maps, 0.0, generator), maps)
    out = with_foreign_edges(maps, 1.0, generator)
    assert torch.equal(maps, before)  # the source is untouched
    share = (out != maps).any(1).float().mean((1, 2))
    assert (share > 0).all() and share.max() < 0.25
    half = with_foreign_edges(maps.repeat(50, 1, 1, 1), 0.5, torch.Generator().manual_seed(1))
    changed = (half != maps.repeat(50, 1, 1, 1)).flatten(1).any(1).float().mean()
    assert 0.4 < changed < 0.6
    again = with_foreign_edges(maps, 1.0, torch.Generator().manual_seed(3))
    assert torch.equal(again, with_foreign_edges(maps, 1.0, torch.Generator().manual_seed(3)))
    assert with_foreign_edges(maps[:, :1, :8, :8], 1.0, generator).shape == (8, 1, 8, 8)


def test_pairs_give_the_distance_of_directed_features_over_what_is_usual_there():
    method = _method(own_level=0.0)
    usual = [torch.rand(side, side) + 0.5 for _, side in SHAPES]
    method.scale.set_expected([2 / (c + 1) * e for (c, _), e in zip(SHAPES, usual, strict=True)])
    x, y = ([_random(1, c, side, side, seed=s) for c, side in SHAPES] for s in (1, 2))
    method.scale.target, method.recover_features = lambda _: x, lambda *_: y
    for k, (a, b) in enumerate(method(_random(1, 3, 64, 64))):
        p, q = (
            np.concatenate(
                [z[k][0].double().numpy(), np.full((1, *z[k].shape[2:]), z[k].shape[1] ** 0.5)]
            )
            for z in (x, y)
        )
        cosine = (p * q).sum(0) / np.sqrt((p**2).sum(0) * (q**2).sum(0))
        want = torch.from_numpy(1 - cosine) / (usual[k] + 0.1 * usual[k].mean())
        got = (a - b).square().mean(1)[0].double()
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_the_usual_distance_is_the_mean_over_the_training_images():
    """... each under a prompt that is not the image itself."""
    method, images = _method(bank_size=7, balance=False, position=True), _images(7)
    method.conclude(_set(images))
    totals = [0.0, 0.0, 0.0]
    with torch.no_grad():
        for image in images:
            levels = method.backbone(image[None])
            others = method.bank.similarity(describe(levels))
            others[others > 0.999] = -2
            found = method.recover_features(method.map_of(image[None]), method.bank.blend(others))
            pairs = zip(*map(directed, (method.scale.target(levels), found)), strict=True)
            for k, (x, y) in enumerate(pairs):
                totals[k] += (1 - F.cosine_similarity(x, y))[0] / len(images)
    for k, distance in enumerate(totals):
        want = ((SHAPES[k][0] + 1) / 2 / (distance + 0.1 * distance.mean())).sqrt()
        gain = method.scale.get_buffer(f"gain_{k}")[0, 0]
        torch.testing.assert_close(gain, want, atol=0, rtol=1e-2)  # features are kept in half


def _loss(images: torch.Tensor) -> tuple[ReDi, dict[str, torch.Tensor]]:
    """A method that has prepared its stage, and its first losses."""
    method = _method()
    (stage,) = method.stages(_set(images))
    stage.prepare()
    return method, stage.loss(torch.arange(5), torch.Generator().manual_seed(0), 0.0)


def test_what_does_not_fit_into_the_cache_is_computed_anew(monkeypatch):
    values = 9 * 8 * 8 + sum(c * side**2 for c, side in SHAPES)  # H and F_X, float16
    method, want = _loss(_images(5))
    assert method.good.fits and len(method.good.levels) == 3
    for room, fits in ((2 * values * 5, True), (2 * values * 5 - 1, False)):
        monkeypatch.setattr(redi_good_features, "CACHE_BYTES", room)
        other, got = _loss(_images(5))
        assert other.good.fits == fits and len(other.good.levels) == 3 * fits
        for name in want:
            torch.testing.assert_close(want[name], got[name], rtol=1e-2, atol=0)


def test_graph_gives_pairs_as_it_says_and_batches_do_not_mix():
    method, images = _method(), _random(3, 3, 64, 64)
    with torch.no_grad():
        together, alone = method(images), [method(image[None]) for image in images]
    for k, (shape, pair) in enumerate(zip(method.shapes(), together, strict=True)):
        assert shape == (SHAPES[k][0] + 1, SHAPES[k][1], SHAPES[k][1])
        for side, tensor in enumerate(pair):
            assert tensor.shape == (3, *shape) and tensor.dtype == torch.float32
            for row in range(3):
                one = alone[row][k][side][0]
                torch.testing.assert_close(tensor[row], one, atol=2e-4, rtol=1e-3)


def test_recovered_features_know_of_the_image_what_the_map_and_the_prompt_say():
    method, image = _method(), _random(1, 3, 64, 64)
    prompt = [values[:1] for values in method.bank.kept()]
    with torch.no_grad():
        first, brighter, other = (
            method.recover_features(method.map_of(x), prompt)
            for x in (image, image + 1, image.flip(3))
        )
    for a, b, c in zip(first, brighter, other, strict=True):
        turned = (a - c).abs().max()  # HOG keeps where edges are
        assert (a - b).abs().max() < 0.01 * turned  # and forgets brightness


def test_prompt_switch_cuts_the_prompt_off():
    structure_map = _random(1, 9, 8, 8).abs()
    for switch, same in ((False, True), (True, False)):
        method = _method(prompt=switch)
        with torch.no_grad():
            a, b = (
                method.recover_features(
                    structure_map, [_random(1, *x.shape[1:], seed=s) for x in method.bank.kept()]
                )
                for s in (1, 2)
            )
        assert all(torch.equal(x, y) is same for x, y in zip(a, b, strict=True))


def test_training_lowers_the_losses(train_steps, tmp_path):
    run = train_steps("redi", SMALL | {"batch_size": 4}, tmp_path / "run", steps=71)
    history = json.loads((run.path / "run.json").read_text())["history"]
    assert {row["stage"] for row in history} == {"recover"}
    assert history[-1]["alignment"] < 0.5 * history[0]["alignment"]
    assert history[-1]["self_correlation"] < history[0]["self_correlation"]


def test_the_preview_shows_the_image_its_edges_and_where_it_differs():
    method, images = _method(), _images(2) * 0.5
    method.recover_features = (
        lambda *_: [  # F_Y is F_X but in the upper half
            torch.cat([-x[..., : x.shape[2] // 2, :], x[..., x.shape[2] // 2 :, :]], 2)
            for x in method.scale.target(method.backbone(images))
        ]
    )
    with torch.no_grad():
        rows = method.preview(images)
    assert rows[0] is images
    edges, distance = (row * method.std + method.mean for row in rows[1:])
    for shown in (edges, distance):
        assert shown.shape == images.shape and shown.min() >= -1e-6
        assert shown.max().item() == pytest.approx(1, abs=1e-5)
    assert distance[..., 48:, :].max() < 1e-3 and distance[..., :16, :].mean() > 0.1


@pytest.mark.parametrize(
    "changes", [{"map": "sobel"}, {"map": "canny"}, {"map": "gray"}, {"prompt": False},
                {"position": True}, {"balance": False}, {"size": [64, 128]}]
)  # fmt: skip
def test_every_switch_gives_a_graph(changes):
    method = _method(**changes)
    with torch.no_grad():
        pairs = method(_random(1, 3, *method.config.size))
    assert all(torch.isfinite(x).all() and x.shape == y.shape for x, y in pairs)


@pytest.mark.parametrize(
    ("strides", "sides", "shapes"),
    [((4, 8, 16), (56, 28, 14), [(11, 28, 28), (7, 14, 14)]),
     ((8, 16), (28, 14), [(4, 28, 28), (7, 14, 14)]),
     ((14, 14, 14), (15, 15, 15), [(18, 15, 15)]),  # levels of one width, a grid of odd sides
     ((4,), (56,), [(4, 56, 56)])],
)  # fmt: skip
def test_the_network_fits_levels_of_any_strides(strides, sides, shapes):
    channels = {3: (7, 4, 7), 2: (4, 7), 1: (4,)}[len(strides)]
    channels = (4, 7, 7) if strides[0] == 14 else channels
    sizes = [(side, side) for side in sides]
    net = FeatureNet(9, 8, channels, strides, sizes, 6).eval()
    assert net.shapes == shapes
    levels = [_random(2, c, *size) for c, size in zip(channels, sizes, strict=True)]
    with torch.no_grad():
        prompt = net.gather(levels)
        found = net(_random(2, 9, 28, 28).abs(), prompt)
    assert [x.shape[1:] for x in prompt] == shapes
    assert [x.shape for x in found] == [x.shape for x in levels]


def test_levels_are_brought_to_a_grid_by_means_and_by_lines():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert onto(x, (4, 4)) is x
    assert onto(x, (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert onto(x[:, :, :1], (1, 8))[0, 0, 0].tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
    for side in range(5, 40):
        for size in range(5, 40):
            assert onto(torch.ones(1, 1, side, side), (size, size)).shape == (1, 1, size, size)


def test_a_half_method_takes_and_gives_float32_and_stays_close():
    method, image = _method(), _random(1, 3, 64, 64)
    half = copy.deepcopy(method).half()
    with torch.no_grad():
        for wants, gots in zip(method(image), half(image), strict=True):
            for want, got in zip(wants, gots, strict=True):
                assert got.dtype == torch.float32
                # half has 11 bits; errors of 2^-11 pile up over some 30 layers
                assert (got - want).abs().max() < 0.03 * want.abs().max()


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"map": "hogg"}, "hogg"), ({"recover": "image", "frb": "big"}, "big"),
     ({"size": [100, 64]}, "multiples of 16"),
     ({"bank_size": 0}, "at least 1"), ({"colour": 1}, "no setting 'colour'"),
     ({"bank_size": "x"}, "bank_size='x' cannot be used; expected a value like bank_size=10"),
     ({"recover": "image", "widths": [1, 2]}, r"like widths=\[16, 32, 64, 128\]"),
     ({"recover": "sound"}, "recover='sound' is not known; choose one of: features, image"),
     ({"widths": [8, 8, 16, 16]}, "has the setting widths only with recover=image"),
     ({"recover": "image", "width": 8}, "has the setting width only with recover=features"),
     ({"prompt": "no"}, "like prompt=true"), ({"blur_sigma": float("nan")}, "blur_sigma=nan"),
     ({"patches": 2.0}, "patches=2.0 is not a share"),
     ({"self_correlation": float("inf")}, "self_correlation=inf cannot be used"),
     ({"recover": "image", "learning_rate": [1e-3, 0]}, "learning_rate.* must be at least 1e-09"),
     ({"learning_rate": [1e-3, 1e-3]}, "like learning_rate=0.003")],
)  # fmt: skip
def test_bad_settings_get_a_sentence(settings, words):
    with pytest.raises(TrainingError, match=words):
        ReDi.from_settings(settings, n_train=3)


def test_settings_come_back_from_their_json():
    for changes in ({"width": 16}, {"recover": "image", "frb": "heavy"}):
        method = ReDi.from_settings({"size": [64, 96]} | changes, 5)
        assert type(method) is (ImageReDi if "frb" in changes else ReDi)
        assert ReDi.from_settings(method.settings(), 5).config == method.config
    assert ReDiSettings().size == (256, 256)


def test_a_run_of_before_the_features_is_one_of_the_image():
    before = asdict(ImageReDiSettings(widths=(4, 4, 8, 8), size=(64, 64)))
    del before["recover"], before["varied"]
    method = ReDi.from_settings(before, 5)
    assert isinstance(method, ImageReDi) and method.config.widths == (4, 4, 8, 8)

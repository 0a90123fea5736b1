"""SSAE's parts against hand-computed cases and laws, and a run from training to a score."""

from __future__ import annotations

import copy
import json

import cv2
import numpy as np
import pytest
import torch
from edgead_export.exporter import export_run
from edgead_training.fit import Interrupted
from edgead_training.methods import SSAE, SSAESettings, TrainingSet
from edgead_training.methods.ssae import AutoEncoder, Mixing, StackedDilated, weighted_loss
from edgead_training.methods.ssae_corruption import (
    Corruption,
    blob,
    corrupt,
    elastic,
    perlin,
    smooth_curve,
    stripes,
    stroke,
    texture,
)
from safetensors.torch import load_file

import edgead
from edgead import reference
from edgead.errors import TrainingError

SMALL = {"size": [64, 64], "width": 0.0625, "batch_size": 4, "shrink": 1}


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=_generator(seed))


def _method(**changes) -> SSAE:
    torch.manual_seed(0)
    return SSAE.from_settings(SMALL | changes, n_train=5).eval()


def _corruption(**changes) -> Corruption:
    return SSAESettings(size=(64, 64), **changes).corruption


def test_loss_by_hand_and_in_float64():
    reconstructed, target = torch.full((1, 3, 1, 4), 0.5), torch.zeros(1, 3, 1, 4)
    reconstructed[..., 3] = 2.0
    mask = torch.tensor([[[[0.0, 0.0, 0.0, 1.0]]]])
    found = weighted_loss(reconstructed, target, mask, 0.9)
    assert float(found["kept"]) == pytest.approx(0.9 * 0.25)
    assert float(found["corrupted"]) == pytest.approx(0.1 * 4)  # added, never subtracted
    a, b = _image(3, 3, 8, 9).numpy(), _image(3, 3, 8, 9, seed=1).numpy()
    m = (_image(3, 1, 8, 9, seed=2) > 0.7).float().numpy()
    m[2] = 0  # an image without corruption
    total = 0.0
    for x, y, k in zip(a.astype(np.float64), b, np.repeat(m, 3, 1) == 1, strict=True):
        squares = (x - y) ** 2
        total += 0.8 * squares[~k].mean() + (0.2 * squares[k].mean() if k.any() else 0)
    found = weighted_loss(*map(torch.from_numpy, (a, b, m)), 0.8)
    assert float(sum(found.values())) == pytest.approx(total / 3, rel=1e-5)


def test_dilated_convolutions_reach_as_far_as_they_say():
    block = StackedDilated(1, 2, (1, 2, 4, 8, 16)).eval()
    impulse = torch.zeros(1, 1, 81, 81)
    impulse[..., 40, 40] = 1
    for branch, dilation in zip(block.branches, (1, 2, 4, 8, 16), strict=True):
        torch.nn.init.ones_(branch[0].weight)
        rows = branch(impulse)[0, 0].sum(1).nonzero().flatten() - 40
        assert rows.tolist() == [-2 * dilation, -dilation, 0, dilation, 2 * dilation]
    assert block(impulse).shape == (1, 10, 81, 81)


@pytest.mark.parametrize(("ccm", "largest"), [(False, 16), (True, 32)])
def test_stacked_blocks_see_four_times_twice_their_largest_dilation(ccm, largest):
    stack = AutoEncoder(0.0625, ccm).sdc.eval()
    for weight in stack.parameters():
        if weight.dim() == 4:  # all positive, so that no path is cut or cancels another
            torch.nn.init.constant_(weight, 0.01)
    line = torch.ones(1, 8, 1, 701, requires_grad=True)
    stack(line)[0, 0, 0, 350].backward()
    seen = line.grad[0, 0, 0].nonzero().flatten() - 350
    reach = 4 * 2 * largest + 2  # and the 5x5 convolution after them
    assert (int(seen.min()), int(seen.max())) == (-reach, reach)


def test_paper_sized_network_has_the_parameters_of_the_source():
    count = sum(p.numel() for p in AutoEncoder(1.0, ccm=False).parameters())
    encoder = 9 * (3 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
    dilated = 25 * 5 * 64 * (128 + 3 * 320) + 25 * 320 * 256
    decoder = 16 * (256 * 128 + 128 * 64 + 64 * 32) + 32 * 3 + 3
    norms = 2 * (2 * (32 + 64 + 128) + 4 * 320 + 256 + 128 + 64 + 32)
    assert count == encoder + dilated + decoder + norms
    assert count == pytest.approx(11.7e6, rel=0.005)


def test_mixing_is_a_convex_combination():
    mixing, encoded, decoded = Mixing(4), _image(2, 4, 6, 6), _image(2, 4, 6, 6, seed=1)
    with torch.no_grad():
        out = mixing(encoded, decoded)
        torch.testing.assert_close(mixing(encoded, encoded), encoded)
        mixing.share[-1].bias.fill_(30)  # a = 1
        torch.testing.assert_close(mixing(encoded, decoded), encoded)
    assert (out >= torch.minimum(encoded, decoded) - 1e-6).all()
    assert (out <= torch.maximum(encoded, decoded) + 1e-6).all()


def test_curve_by_hand():
    square = torch.tensor([[0.0, 0.0], [0.0, 6.0], [6.0, 6.0], [6.0, 0.0]])
    points = smooth_curve(square, closed=True)
    assert points.shape == (64, 2)
    torch.testing.assert_close(points[::16], square)  # it passes through the corners
    # Bezier points of the first side: (0,0), (0,0)+(-6,6)/6, (0,6)-(6,6)/6, (0,6); at one half:
    torch.testing.assert_close(points[8], torch.tensor([(0 - 3 - 3 + 0) / 8, (0 + 3 + 15 + 6) / 8]))
    gaps = (points - points.roll(1, 0)).norm(dim=1)
    assert gaps.max() < 0.6  # it closes: no gap from the last point to the first
    line = smooth_curve(square, closed=False)
    torch.testing.assert_close(line[[0, -1]], square[[0, -1]])


@pytest.mark.parametrize("side", [4.0, 12.0, 38.4])
def test_blobs_are_whole_and_of_the_size_asked(side):
    areas = set()
    for seed in range(30):
        mask = blob((64, 96), side, _generator(seed)).numpy()
        assert mask.shape == (64, 96) and set(np.unique(mask)) == {0.0, 1.0}
        assert cv2.connectedComponents(mask.astype(np.uint8))[0] == 2  # ground and one shape
        ground = np.pad(1 - mask, 1, constant_values=1).astype(np.uint8)
        assert cv2.connectedComponents(ground, connectivity=4)[0] == 2  # no hole
        rows, columns = np.nonzero(mask)
        extent = max(np.ptp(rows), np.ptp(columns))
        assert abs(extent - side) <= 1  # rounded at both ends
        areas.add(int(mask.sum()))
        assert mask.sum() > 0.15 * side**2
    assert len(areas) > 5


def test_strokes_are_thin_and_of_the_size_asked():
    for seed in range(30):
        mask = stroke((64, 96), 30.0, _generator(seed)).numpy()
        assert cv2.connectedComponents(mask.astype(np.uint8))[0] == 2
        rows, columns = np.nonzero(mask)
        assert 28 <= max(np.ptp(rows), np.ptp(columns)) <= 34  # up to three pixels thick
        depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
        assert np.median(depth[mask > 0]) <= 2  # deeper only where it crosses itself


def test_elastic_moves_what_is_there_and_invents_nothing():
    image = _image(3, 40, 56)
    torch.testing.assert_close(elastic(image, 0.0, _generator()), image, atol=1e-4, rtol=0)
    ramp = torch.linspace(0, 1, 56).expand(3, 40, 56)
    pulled = elastic(ramp, 0.03, _generator())
    moved = ((pulled - ramp)[:, 5:-5, 8:-8] * 55).std()  # in pixels
    assert 0.3 * 0.03 * 56 < moved < 1.5 * 0.03 * 56
    assert pulled.min() >= 0 and pulled.max() <= 1
    flat = torch.full((3, 40, 56), 0.3)
    torch.testing.assert_close(elastic(flat, 0.05, _generator()), flat)


def test_gradient_noise_is_a_half_at_the_corners_of_its_cells():
    noise = perlin((65, 65), 4, _generator())  # pixel centres never fall on a corner ...
    assert noise.shape == (65, 65) and noise.min() >= 0 and noise.max() <= 1
    assert noise.std() > 0.05
    fine = perlin((800, 800), 4, _generator())  # ... here they are 1/400 of a cell away
    near = fine[199:601:200, 199:601:200]
    torch.testing.assert_close(near, torch.full((3, 3), 0.5), atol=0.004, rtol=0)
    assert (fine.diff(dim=0).abs().max() < 0.02) and (fine.diff(dim=1).abs().max() < 0.02)


def test_textures_stay_in_range_and_cut_paste_takes_from_the_others():
    others = 0.4 + 0.2 * _image(2, 3, 64, 64)
    kinds = set()
    for seed in range(40):
        content = texture(others, _generator(seed))
        assert content.shape == (3, 64, 64) and content.min() >= 0 and content.max() <= 1
        known = any(torch.equal(content.sort()[0].sum(), x.sort()[0].sum()) for x in others)
        pasted = any(set(content[0, 0].tolist()) <= set(x[0].flatten().tolist()) for x in others)
        kinds.add(pasted or known)
        if pasted:
            assert not any(torch.equal(content, x) for x in others)  # out of place
    assert kinds == {True, False}
    waves = stripes((64, 64), _generator(1))
    assert 0 <= waves.min() < 0.05 and 0.95 < waves.max() <= 1


def test_corruption_changes_only_what_the_mask_marks():
    images = _image(60, 3, 64, 64)
    before = images.clone()
    corrupted, mask = corrupt(images, _corruption(clean=0.3), _generator())
    assert torch.equal(images, before)
    assert mask.shape == (60, 1, 64, 64) and set(mask.unique().tolist()) == {0.0, 1.0}
    changed = (corrupted != images).any(1, keepdim=True)
    assert not (changed & (mask == 0)).any()
    assert changed.sum() > 0.9 * mask.sum()
    assert corrupted.min() >= 0 and corrupted.max() <= 1
    whole = (mask.sum((1, 2, 3)) == 0).float().mean()
    assert 0.1 < whole < 0.5  # 0.3 with a standard error of 0.06
    none, empty = corrupt(images, _corruption(clean=1.0), _generator())
    assert torch.equal(none, images) and empty.sum() == 0


def test_opacity_bounds_how_much_a_texture_covers():
    black = torch.zeros(40, 3, 64, 64)
    faint = _corruption(elastic=0.0, opacity=(0.1, 0.1), clean=0.0)
    corrupted, _ = corrupt(black, faint, _generator())
    assert 0 < corrupted.max() <= 1 - 0.9**3 + 1e-6  # three shapes at most lie over each other


def test_textures_are_pieces_of_the_pictures_given():
    # The pictures hold values from 2 to 3, which nothing else has.
    pictures = 2 + torch.rand(3, 3, 80, 96, generator=_generator())
    images = torch.zeros(30, 3, 64, 64)
    solid = _corruption(elastic=0.0, strokes=0.0, clean=0.0, opacity=(1.0, 1.0))
    corrupted, mask = corrupt(images, solid, _generator(), pictures)
    known = set(pictures.flatten().tolist())
    changed = corrupted.movedim(1, -1)[mask[:, 0] > 0].flatten()
    assert len(changed) > 1000 and set(changed.tolist()) <= known
    used = [
        not set(picture.flatten().tolist()).isdisjoint(changed.tolist()) for picture in pictures
    ]
    assert all(used)
    made_up, _ = corrupt(images, solid, _generator())
    assert made_up.max() <= 1


def test_same_generator_gives_the_same_corruption():
    images = _image(4, 3, 64, 64)
    first, again, other = (corrupt(images, _corruption(), _generator(s))[0] for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_noise_goes_into_input_and_target():
    """A network that gives back its input has then no error where nothing is corrupted."""
    images = _image(6, 3, 64, 64)
    for noise, clean in ((0.1, 1.0), (0.1, 0.0), (0.0, 1.0)):
        method, seen = _method(noise=noise, clean=clean), []
        method.reconstruct = lambda image, seen=seen: seen.append(image) or image
        (stage,) = method.stages(TrainingSet(images, lambda items, title: iter(items)))
        losses = stage.loss(torch.arange(6), _generator(), 0.0)
        assert float(losses["kept"]) == 0
        assert (float(losses["corrupted"]) > 0) == (clean == 0)
        if clean == 1:
            assert float((seen[0] - images).std()) == pytest.approx(noise, rel=0.05)


def test_crops_and_flips_show_parts_of_the_image():
    # Each pixel has a value of its own, so that its place can be read off.
    image = torch.arange(96 * 128.0).reshape(1, 1, 96, 128).expand(20, 3, -1, -1)
    method = _method(size=[96, 128], crop=64)
    views = method.views(image, _generator())
    corners = views[:, 0, 0, 0].long()
    rows, columns = corners // 128, corners % 128
    assert views.shape == (20, 3, 64, 64)
    assert rows.max() <= 32 and columns.max() <= 64 and len(corners.unique()) > 15
    for view, y, x in zip(views, rows, columns, strict=True):
        assert torch.equal(view, image[0, :, y : y + 64, x : x + 64])
    turned = _method(size=[96, 128], flips=True).views(image, _generator())[:, 0, 0, 0].long()
    assert set(turned.tolist()) == {0, 127, 95 * 128, 96 * 128 - 1}
    assert torch.equal(_method(size=[96, 128]).views(image, _generator()), image)


@pytest.mark.parametrize("fine", [True, False])
def test_map_is_the_squared_difference_over_what_is_usual(fine, fine64):
    method, image = _method(blur_sigma=0.0, pooling="max", fine=fine), _image(2, 3, 64, 64)
    method.gain.copy_(torch.linspace(1, 2, 64))
    with torch.no_grad():
        pairs = [(a.numpy(), b.numpy()) for a, b in method(image)]
        residual = (method.autoencoder(image) - image).numpy()
    want = ((fine64(residual) if fine else residual.astype(float)) ** 2).mean(1)
    want *= np.linspace(1, 2, 64) ** 2
    maps, scores = reference.anomaly_map(pairs, method.map_params())
    np.testing.assert_allclose(maps, want, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(scores, want.max((1, 2)), rtol=1e-4)


def test_shrunk_the_network_sees_means_of_pixels_and_the_map_keeps_its_size():
    """As a method of half the size, of the same weights, that is given those means."""
    large, small = _method(size=[128, 192], shrink=2), _method(size=[64, 96])
    image = _image(2, 3, 128, 192)
    means = image.reshape(2, 3, 64, 2, 96, 2).mean((3, 5))
    with torch.no_grad():
        for found, expected in zip(large(image)[0], small(means)[0], strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert large.shapes() == ((3, 64, 96),) and large.map_params().size == (128, 192)
    assert {row.shape for row in large.preview(image)} == {image.shape}


def test_shrunk_it_learns_from_what_the_network_sees():
    images, pictures = _image(4, 3, 128, 128), _image(2, 3, 128, 128, seed=1)
    method, seen = _method(size=[128, 128], shrink=2, crop=64, clean=1.0), []
    method.reconstruct = lambda image: seen.append(image) or image
    quiet = lambda items, title: iter(items)  # noqa: E731
    (stage,) = method.stages(TrainingSet(images, quiet, textures=pictures))
    stage.loss(torch.arange(4), _generator(), 0.0)
    assert seen[0].shape == (4, 3, 32, 32)
    corner = seen[0][0, 0, 0, 0]  # a mean of 2x2 pixels, anywhere in the image
    anywhere = torch.nn.functional.avg_pool2d(images[0, :1], 2, stride=1)
    assert (anywhere - corner).abs().min() < 1e-6


def test_units_are_those_of_the_good_images(fine64, units64):
    method, images = _method(), _image(12, 3, 64, 64)  # two chunks, one not full
    images[..., 32:] = 0.5
    method.conclude(TrainingSet(images, lambda items, title: iter(items)))
    with torch.no_grad():
        residuals = fine64((images - method.reconstruct(images)).numpy())
    gain, share = units64(residuals[:, None])
    assert share == 1
    # OpenCV cuts the kernel off at 3 to 4 standard deviations: 0.3 % of its weight.
    np.testing.assert_allclose(method.gain, gain, rtol=5e-3)

    plain = _method(position=False)
    plain.conclude(TrainingSet(images, lambda items, title: iter(items)))
    assert (plain.gain == 1).all()


@pytest.mark.parametrize("variant", ["plain", "ccm"])
def test_a_half_method_takes_and_gives_float32_and_stays_close(variant):
    method, image = _method(variant=variant), _image(1, 3, 64, 64)
    ((compared, want),) = method(image)
    ((original, got),) = copy.deepcopy(method).half()(image)
    assert torch.equal(original, compared) and got.dtype == torch.float32
    # half has 11 bits; errors of 2^-11 pile up over 15 layers
    assert (got - want).abs().max() < 0.01 * method.reconstruct(image).abs().max()


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"variant": "late"}, "variant='late' is not known"), ({"size": [100, 64]}, "multiples of 8"),
     ({"width": 0.01}, "at least 0.0625"), ({"pooling": "median"}, "median"),
     ({"clean": 1.5}, "clean=1.5 is not a share"), ({"weight": float("nan")}, "weight=nan"),
     ({"extent": [0.5, 0.1]}, "not a range of shares"), ({"opacity": [0.0, 1.0]}, "not a range"),
     ({"size": [72, 64], "shrink": 2}, "multiples of 16"), ({"shrink": 0}, "at least 1"),
     ({"crop": 60}, "crop=60 cannot"), ({"crop": 128}, "multiple of 8 from 64 to 64"),
     ({"noise": -1.0}, "noise=-1.0 must be at least 0"), ({"top_k": 2.0}, "not a share of the map"),
     ({"batch_size": 1}, "at least 2"), ({"map": "hog"}, "ssae has no setting 'map'"),
     ({"flips": 1}, "like flips=false")],
)  # fmt: skip
def test_bad_settings_get_a_sentence(settings, words):
    with pytest.raises(TrainingError, match=words):
        SSAE.from_settings(SMALL | settings, n_train=3)


def test_settings_come_back_from_their_json():
    method = _method(variant="ccm", size=[64, 96], extent=[0.1, 0.2])
    again = SSAE.from_settings(json.loads(json.dumps(method.settings())), 5)
    assert again.config == method.config


def test_stopped_and_resumed_is_as_if_never_stopped(train_steps, tmp_path):
    settings = SMALL | {"noise": 0.05, "flips": True}
    train_steps("ssae", settings, tmp_path / "whole", steps=6)
    with pytest.raises(Interrupted):
        train_steps("ssae", settings, tmp_path / "cut", steps=6, stop_at=2)
    train_steps("ssae", settings, tmp_path / "cut", steps=6, resume=True)
    whole, cut = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"variant": "ccm", "size": [64, 96], "crop": 64, "pooling": "top_k"},
        *(
            pytest.param(one, marks=pytest.mark.exhaustive)
            for one in ({"variant": "ccm"}, {"size": [64, 96], "crop": 64}, {"pooling": "top_k"})
        ),
    ],
    ids=str,
)
def test_run_becomes_a_bundle_that_scores(switches, train_steps, tmp_path):
    """The exporter holds both graphs against torch, in map, score and verdict."""
    run = train_steps("ssae", SMALL | switches, tmp_path / "run", steps=60)
    height, width = run.method.config.size
    picture = cv2.imread(str(tmp_path / "run" / "recovered.png"))
    assert picture.shape == (4 * height, 2 * width, 3)
    bundle = export_run(tmp_path / "run", tmp_path / "part.edgead", log=lambda _: None)
    assert bundle.manifest.method == "ssae" and len(bundle.manifest.pairs) == 1
    frame = cv2.imread(str(run.calibration[0].path))
    marked = cv2.rectangle(frame.copy(), (26, 30), (46, 50), (255, 255, 255), -1)
    detector = edgead.Detector(tmp_path / "part.edgead")
    assert detector.score(marked).score > detector.score(frame).score

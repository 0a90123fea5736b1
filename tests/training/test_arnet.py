"""ARNet's parts against hand-computed cases, and a run from training to a score."""

from __future__ import annotations

import copy
import json

import cv2
import numpy as np
import pytest
import torch
from edgead_export.exporter import export_run
from edgead_training.fit import Interrupted, rate_at
from edgead_training.methods import ARNet, ARNetSettings, TrainingSet
from edgead_training.methods.arnet import USUAL_FLOOR, UNet, augmented, rotate
from safetensors.torch import load_file

import edgead
from edgead import reference
from edgead.errors import TrainingError

SMALL = {"size": [64, 64], "width": 0.0625, "batch_size": 4, "shrink": 1}
# Every choice once; the exhaustive ones show which of several is to blame.
SWITCHES = [
    {},
    {"erase": "rotation", "turns": 2, "size": [64, 96]},
    {"erase": "gray", "size": [96, 64], "pooling": "max", "shrink": 2},
    *(
        pytest.param(one, marks=pytest.mark.exhaustive)
        for one in (
            {"erase": "gray"},
            {"erase": "rotation"},
            {"turns": 2},
            {"pooling": "max"},
            {"erase": "gray", "size": [96, 64]},
        )
    ),
]


def _image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _method(**changes) -> ARNet:
    """Untrained, with errors E_k that differ."""
    torch.manual_seed(0)
    method = ARNet.from_settings(SMALL | changes, n_train=5)
    usual = torch.tensor([0.05, 0.11, 0.2, 0.3])[: len(method.quarters), None, None, None]
    method.gain.copy_(1 / (usual * torch.linspace(1, 2, method.config.seen[1])))
    return method.eval()


def test_erasing_by_hand():
    image = torch.tensor(
        [[[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.7, 0.8]], [[0, 0.1], [0.2, 0]]]]
    )
    gray = [[0.2, 0.3], [0.4, 0.4]]  # (0.1 + 0.5 + 0) / 3, ...
    quarter = [[0.3, 0.4], [0.2, 0.4]]  # the right column becomes the top row
    half = [[0.4, 0.4], [0.3, 0.2]]
    three = [[0.4, 0.2], [0.4, 0.3]]
    both = _method()
    for k, want in enumerate((gray, quarter, half, three)):
        torch.testing.assert_close(both.erase(image, k), torch.tensor([[want]]))
    torch.testing.assert_close(_method(turns=2).erase(image, 1), torch.tensor([[half]]))
    turned = _method(erase="rotation").erase(image, 1)
    torch.testing.assert_close(turned[0, 0], torch.tensor([[0.2, 0.4], [0.1, 0.3]]))
    torch.testing.assert_close(turned[0, 1], torch.tensor([[0.6, 0.8], [0.5, 0.7]]))


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_rotation_is_numpys_and_four_quarters_undo_it(quarters):
    image = _image(2, 3, 5, 7)
    turned = rotate(image, quarters)
    np.testing.assert_array_equal(turned, np.rot90(image.numpy(), quarters, axes=(2, 3)))
    assert torch.equal(rotate(turned, (4 - quarters) % 4), image)


def test_paper_sized_network_has_the_parameters_of_the_paper():
    def double(i, o):  # two 3x3 convolutions, each with the scale and shift of its normalisation
        return 9 * i * o + 2 * o + 9 * o * o + 2 * o

    down = [(1, 64), (64, 128), (128, 256), (256, 512), (512, 512)]
    up = [(1024, 256), (512, 128), (256, 64), (128, 64)]
    want = sum(double(*pair) for pair in down + up) + 9 * 64 * 3 + 3
    assert sum(p.numel() for p in UNet(1, 1.0).parameters()) == want
    assert want == pytest.approx(13.4e6, rel=0.005)  # "13.4 M"


@pytest.mark.parametrize("fine", [True, False])
def test_map_is_the_mean_of_the_errors_over_what_is_usual(fine, fine64):
    method, image = _method(blur_sigma=0.0, pooling="mean", fine=fine), _image(2, 3, 64, 64)
    with torch.no_grad():
        pairs = [(a.numpy(), b.numpy()) for a, b in method(image)]
        want = torch.zeros(2, 64, 64, dtype=torch.float64)
        for k, quarters in enumerate((0, 1, 2, 3)):
            gray = image.double().mean(1, keepdim=True).numpy()
            turned = torch.from_numpy(np.rot90(gray, quarters, (2, 3)).astype(np.float32))
            residual = (method.unet(turned) - image).numpy()
            residual = fine64(residual) if fine else residual.astype(float)
            want += torch.from_numpy(np.abs(residual).mean(1)) * method.gain[k, 0].double() / 4
    maps, scores = reference.anomaly_map(pairs, method.map_params())
    np.testing.assert_allclose(maps, want, rtol=1e-4)  # float32 sums in another order
    np.testing.assert_allclose(scores, want.mean((1, 2)), rtol=1e-4)


def test_shrunk_the_network_sees_means_of_pixels_and_the_map_keeps_its_size():
    """As a method of half the size, of the same weights, that is given those means."""
    large, small = _method(size=[128, 128], shrink=2), _method()
    large.gain.copy_(small.gain)
    image = _image(2, 3, 128, 128)
    means = image.reshape(2, 3, 64, 2, 64, 2).mean((3, 5))
    with torch.no_grad():
        for found, expected in zip(large(image), small(means), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert large.shapes() == ((3, 64, 64),) * 4 and large.map_params().size == (128, 128)
    assert {row.shape for row in large.preview(image)} == {image.shape}


def _residuals(method: ARNet, images: torch.Tensor, fine64) -> np.ndarray:
    """X - Y_k of each image, less its slow part: [N, T, 3, H, W] float64."""
    found = []
    with torch.no_grad():
        for image in images:
            for k in range(len(method.quarters)):
                restored = method.unet(method.erase(image[None], k))
                found.append(fine64((image[None] - restored).numpy()))
    return np.stack(found).reshape(len(images), -1, *images.shape[1:])


def test_usual_error_is_the_mean_over_the_training_images(fine64):
    method, images = _method(position=False), _image(11, 3, 64, 64)  # two chunks, one not full
    method.conclude(TrainingSet(images, lambda items, title: iter(items)))
    usual = np.abs(_residuals(method, images, fine64)).mean((0, 2, 3, 4))
    for k in range(4):
        np.testing.assert_allclose(method.gain[k], 1 / usual[k], rtol=1e-4)
    # A good image then has map values around 1.
    with torch.no_grad():
        maps = [(a - b).abs().mean() for a, b in method(images)]
    np.testing.assert_allclose(maps, 1, rtol=1e-4)


def test_units_of_a_position_are_those_of_the_good_images(fine64, units64):
    method, images = _method(), _image(12, 3, 64, 64)
    images[..., 32:] = 0.5  # easy on the right, hard on the left
    method.conclude(TrainingSet(images, lambda items, title: iter(items)))
    gain, share = units64(_residuals(method, images, fine64))
    assert share == 1
    # OpenCV cuts the kernel off at 3 to 4 standard deviations: 0.3 % of its weight.
    np.testing.assert_allclose(method.gain, gain, rtol=5e-3)


def test_usual_error_has_a_floor():
    method = _method(position=False)
    method.restore = lambda small: small[:, None].expand(-1, 4, -1, -1, -1)
    method.conclude(TrainingSet(_image(2, 3, 64, 64), lambda items, title: iter(items)))
    np.testing.assert_allclose(method.gain, 1 / USUAL_FLOOR, rtol=1e-5)


def test_loss_restores_the_upright_colour_image_and_draws_every_turn():
    method, images = _method(), _image(40, 3, 64, 64)
    seen = []
    method.unet.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    (stage,) = method.stages(TrainingSet(images, lambda items, title: iter(items)))
    indices = torch.arange(39, -1, -1)
    with torch.no_grad():
        again, other = (
            stage.loss(indices, torch.Generator().manual_seed(s), 0.0)["mse"] for s in (0, 1)
        )
        seen.clear()
        loss = stage.loss(indices, torch.Generator().manual_seed(0), 0.0)["mse"]
        want = ((method.unet(seen[0]) - images[indices]).double() ** 2).mean()
    assert float(loss) == pytest.approx(float(want), rel=1e-5)
    drawn = []
    for x, index in zip(seen[0], indices, strict=True):
        turns = [method.erase(images[index][None], k)[0] for k in range(4)]
        drawn.append([torch.equal(x, y) for y in turns].index(True))
    assert set(drawn) == {0, 1, 2, 3}
    assert float(loss) == float(again) != float(other)


def test_batches_do_not_mix_and_pairs_are_as_promised():
    method, images = _method(), _image(3, 3, 64, 64)
    with torch.no_grad():
        together, alone = method(images), [method(image[None]) for image in images]
    assert [pair.weight for pair in method.pairs()] == [0.25] * 4
    for k, (pair, (original, reconstructed)) in enumerate(
        zip(method.pairs(), together, strict=True)
    ):
        assert original.shape == reconstructed.shape == (3, pair.channels, *pair.size)
        assert original.dtype == reconstructed.dtype == torch.float32
        for row in range(3):
            torch.testing.assert_close(
                reconstructed[row], alone[row][k][1][0], atol=1e-4, rtol=1e-4
            )


def test_a_half_method_takes_and_gives_float32_and_stays_close():
    method, image = _method(), _image(1, 3, 64, 64)
    half = copy.deepcopy(method).half()
    with torch.no_grad():
        restored = method.restore(image) * method.gain
        for (x, want), (original, got) in zip(method(image), half(image), strict=True):
            assert original.dtype == got.dtype == torch.float32
            torch.testing.assert_close(original, x, rtol=1e-3, atol=0)  # the gain in half
            # half has 11 bits; errors of 2^-11 pile up over 19 layers
            assert (got - want).abs().max() < 0.01 * restored.abs().max()


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"erase": "colour"}, "erase='colour' is not known"), ({"size": [100, 64]}, "multiples of 16"),
     ({"size": [64, 96]}, r"not square.*turns=2"), ({"turns": 3}, "turns=3 is .*: 2, 4"),
     ({"size": [96, 80], "shrink": 2, "erase": "gray"}, "multiples of 32"),
     ({"width": 0.01}, "width=0.01 must be at least 0.0625"), ({"pooling": "median"}, "median"),
     ({"top_k": 0.0}, "not a share"), ({"batch_size": 1}, "at least 2"),
     ({"learning_rate": float("inf")}, "learning_rate=inf"), ({"map": "hog"}, "no setting 'map'"),
     ({"steps": "many"}, "like steps=700")],
)  # fmt: skip
def test_bad_settings_get_a_sentence(settings, words):
    with pytest.raises(TrainingError, match=words):
        ARNet.from_settings(SMALL | settings, n_train=3)


def test_settings_come_back_from_their_json():
    method = _method(erase="rotation", turns=2, size=[64, 96])
    again = ARNet.from_settings(json.loads(json.dumps(method.settings())), 5)
    assert again.config == method.config
    assert ARNetSettings().size == (256, 256)


def test_sgd_halves_its_rate_after_each_tenth():
    """As the paper; the others follow a cosine after a warm-up of 20 steps."""
    found = [rate_at("sgd", done, 0) for done in (0, 0.09, 0.1, 0.55, 0.99)]
    assert found == [1, 1, 1 / 2, 1 / 32, 1 / 512]
    assert rate_at("adamw", 0.5, 9) == pytest.approx(0.5 * 0.5)


def test_augmented_images_are_pieces_of_the_mirrored_surroundings():
    """Each row and column goes on by one, so it can be told where each pixel comes from."""
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    images = torch.stack([rows, columns, rows])[None].expand(40, -1, -1, -1)
    views = augmented(images, torch.Generator().manual_seed(0))
    assert views.shape == images.shape
    shifts, mirrored = set(), set()
    for view in views:
        down, right = view[0, 8, 0] - 8, view[1, 0, 12] - view[1, 0, 11]
        mirrored.add(float(right))
        shifts.add(float(down))
        assert torch.equal(view[0, 4:12], (rows + down)[4:12])  # inside, no edge is mirrored
    assert mirrored == {-1.0, 1.0} and shifts == {-2.0, -1.0, 0.0, 1.0, 2.0}  # an eighth of 16


PAPERS = {"optimiser": "sgd", "learning_rate": 0.1, "augment": True}


@pytest.mark.parametrize("switches", [{}, PAPERS], ids=["edge", "paper"])
def test_stopped_and_resumed_is_as_if_never_stopped(switches, train_steps, tmp_path):
    """... the momentum of SGD too."""
    settings = SMALL | switches
    train_steps("arnet", settings, tmp_path / "whole", steps=6)
    with pytest.raises(Interrupted):
        train_steps("arnet", settings, tmp_path / "cut", steps=6, stop_at=2)
    train_steps("arnet", settings, tmp_path / "cut", steps=6, resume=True)
    whole, cut = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_run_becomes_a_bundle_that_scores(switches, train_steps, tmp_path):
    """The exporter holds both graphs against torch, in map, score and verdict."""
    run = train_steps("arnet", SMALL | switches, tmp_path / "run", steps=20)
    count = len(run.method.pairs())
    picture = cv2.imread(str(tmp_path / "run" / "recovered.png"))
    height, width = run.method.config.size
    assert picture.shape == (3 * height, 2 * width, 3)
    bundle = export_run(tmp_path / "run", tmp_path / "part.edgead", log=lambda _: None)
    assert bundle.manifest.method == "arnet" and len(bundle.manifest.pairs) == count
    frame = cv2.imread(str(run.calibration[0].path))
    marked = cv2.rectangle(frame.copy(), (26, 30), (46, 50), (255, 255, 0), -1)
    detector = edgead.Detector(tmp_path / "part.edgead")
    assert detector.score(marked).score > detector.score(frame).score

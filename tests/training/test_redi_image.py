"""ReDi with recover=image, the preset paper, against hand-computed cases and its own contract."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from edgead_training.features.networks import ssim
from edgead_training.methods import ReDi, redi_prompts
from edgead_training.methods.base import TrainingSet
from edgead_training.methods.redi_image import ImageReDi
from edgead_training.methods.redi_prompts import describe
from edgead_training.methods.redi_structure_maps import with_foreign_patches

SMALL = {"recover": "image", "size": [64, 64], "bank_size": 3, "widths": [4, 4, 8, 8]}


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _method(**changes) -> ImageReDi:
    torch.manual_seed(0)
    method = ReDi.from_settings(SMALL | changes, n_train=5)
    images = _random(5, 3, *method.config.size)
    method.bank.fill(_random(5, method.bank.keys.shape[1], seed=1), lambda rows: [images[rows]])
    return method.eval()


def test_ssim_agrees_with_a_float64_loop():
    a, b = (torch.rand(1, 1, 12, 13, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    x, y, values = a[0, 0].double().numpy(), b[0, 0].double().numpy(), []
    for i in range(12 - 6):
        for j in range(13 - 6):
            p, q = x[i : i + 7, j : j + 7], y[i : i + 7, j : j + 7]
            cov = ((p - p.mean()) * (q - q.mean())).mean()
            top = (2 * p.mean() * q.mean() + 1e-4) * (2 * cov + 9e-4)
            values.append(
                top / ((p.mean() ** 2 + q.mean() ** 2 + 1e-4) * (p.var() + q.var() + 9e-4))
            )
    assert ssim(a, b).item() == pytest.approx(np.mean(values), abs=1e-5)
    assert ssim(a, a).item() == pytest.approx(1, abs=1e-6)


def test_pairs_give_the_cosine_distance_over_what_is_usual_there():
    method = _method(own_level=0.0)
    usual = [torch.rand(16 // 2**k, 16 // 2**k) + 0.5 for k in range(3)]
    method.scale.set_expected([2 / c * x for c, x in zip((24, 40, 112), usual, strict=True)])
    x, y = ([_random(1, c, 16 // 2**k, 16 // 2**k, seed=s) for k, c in enumerate((24, 40, 112))]
            for s in (1, 2))  # fmt: skip
    method.scale.target, method.reconstruct = lambda _: x, lambda _: y
    for k, (a, b) in enumerate(method(_random(1, 3, 64, 64))):
        distance = 1 - torch.nn.functional.cosine_similarity(x[k], y[k])[0]
        want = distance / (usual[k] + 0.1 * usual[k].mean())
        torch.testing.assert_close((a - b).square().mean(1)[0], want, atol=1e-5, rtol=1e-4)


def test_expected_distance_is_the_mean_over_the_training_images():
    """... each under a prompt that is not the image itself."""
    method, images = _method(bank_size=7, balance=False), _random(7, 3, 64, 64)
    method.conclude(TrainingSet(images, lambda items, title: iter(items)))
    totals = [0.0, 0.0, 0.0]
    with torch.no_grad():
        for image in images:
            levels = method.backbone(image[None])
            others = method.bank.similarity(describe(levels))
            others[others > 0.999] = -2
            recovered = method.recover_image(method.map_of(image[None]), *method.bank.blend(others))
            reconstructed = method.reconstruct(method.scale.standardise(method.backbone(recovered)))
            for k, (x, y) in enumerate(
                zip(method.scale.target(levels), reconstructed, strict=True)
            ):
                totals[k] += (1 - torch.nn.functional.cosine_similarity(x, y))[0] / len(images)
    for k, distance in enumerate(totals):
        gain = method.scale.get_buffer(f"gain_{k}")[0, 0]
        want = ((24, 40, 112)[k] / 2 / (distance + 0.1 * distance.mean())).sqrt()
        torch.testing.assert_close(gain, want, atol=0, rtol=5e-3)  # features are kept in half


def test_foreign_patches_come_from_elsewhere_and_leave_the_rest():
    maps = torch.arange(6.0)[:, None, None, None] + torch.rand(6, 2, 16, 16) * 0.5
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(with_foreign_patches(maps, 0.0, generator), maps)
    out = with_foreign_patches(maps, 1.0, generator)
    changed = (out != maps).all(1)
    share = changed.float().mean((1, 2))
    assert (share > 0).all() and share.max() < 0.5  # every image has some, none has half
    known = set(maps.flatten().tolist())
    assert set(out.flatten().tolist()) <= known  # nothing is invented, only moved
    assert torch.equal(maps.floor()[:, 0, 0, 0], torch.arange(6.0))  # the source is untouched


def test_features_are_standardised_with_the_moments_of_the_training_images():
    method, images = _method(), _random(6, 3, 64, 64)
    cache = method.feature_cache(TrainingSet(images, lambda items, title: iter(items)))
    cache.describe()
    with torch.no_grad():
        for level in method.scale.standardise(method.backbone(images)):
            flat = level.transpose(0, 1).flatten(1)
            assert flat.mean(1).abs().max() < 1e-3
            assert (flat.std(1, correction=0) - 1).abs().max() < 1e-3


def _losses(images: torch.Tensor) -> tuple[ImageReDi, list[dict[str, torch.Tensor]]]:
    """A method that has prepared both stages, and the first losses of each."""
    method, losses = _method(), []
    data = TrainingSet(images, lambda items, title: iter(items))
    for stage in method.stages(data):
        stage.prepare()
        losses.append(stage.loss(torch.arange(5), torch.Generator().manual_seed(0), 0.0))
    return method, losses


def test_what_does_not_fit_into_the_cache_is_computed_anew(monkeypatch):
    images = torch.nn.functional.interpolate(_random(5, 3, 8, 8), (64, 64), mode="bicubic")
    method, want = _losses(images)
    maps = 4 * 9 * 8 * 8 * 5  # 9 orientations, cells of 8 x 8 pixels, float32, 5 images
    for room, keeps_maps in ((maps, True), (maps - 1, False)):
        monkeypatch.setattr(redi_prompts, "CACHE_BYTES", room)
        other, got = _losses(images)
        assert (other.cache.keeps_maps, other.cache.fits) == (keeps_maps, False)
        assert (len(other.cache.kept_maps), len(other.cache.reference)) == (5 * keeps_maps, 0)
        for stage, (a, b) in enumerate(zip(want, got, strict=True)):
            for name in a:  # in the second stage the features were kept in half
                torch.testing.assert_close(a[name], b[name], rtol=1e-2 if stage else 1e-5, atol=0)
    assert (method.cache.keeps_maps, method.cache.fits) == (True, True)


def test_graph_gives_pairs_as_it_says_and_batches_do_not_mix():
    method, images = _method(), _random(3, 3, 64, 64)
    with torch.no_grad():
        together, alone = method(images), [method(image[None]) for image in images]
    for k, (shape, pair) in enumerate(zip(method.shapes(), together, strict=True)):
        for side, tensor in enumerate(pair):
            assert tensor.shape == (3, *shape) and tensor.dtype == torch.float32
            for row in range(3):
                one = alone[row][k][side][0]
                torch.testing.assert_close(tensor[row], one, atol=2e-4, rtol=1e-3)


def test_recovered_image_does_not_depend_on_what_the_map_hides():
    method, image = _method(), _random(1, 3, 64, 64) * 0.1
    with torch.no_grad():
        prompt = method.bank.images[:1]
        first, brighter = (
            method.recover_image(method.map_of(x), prompt) for x in (image, image + 1)
        )
    torch.testing.assert_close(first, brighter, atol=1e-3, rtol=0)  # HOG forgets brightness


@pytest.mark.parametrize(
    "changes", [{"map": "sobel"}, {"map": "canny"}, {"map": "gray"}, {"prompt": False},
                {"frb": "heavy"}, {"frb": "none"}, {"position": False}, {"balance": False},
                {"size": [64, 128]}]
)  # fmt: skip
def test_every_switch_gives_a_graph(changes):
    method = _method(**changes)
    with torch.no_grad():
        pairs = method(_random(1, 3, *method.config.size))
    assert all(torch.isfinite(x).all() and x.shape == y.shape for x, y in pairs)


def test_prompt_switch_cuts_the_prompt_off():
    structure_map = _random(1, 9, 8, 8).abs()
    for switch, same in ((False, True), (True, False)):
        method = _method(prompt=switch)
        with torch.no_grad():
            a, b = (
                method.recover_image(structure_map, _random(1, 3, 64, 64, seed=s)) for s in (1, 2)
            )
        assert torch.equal(a, b) is same


def test_a_half_method_takes_and_gives_float32_and_stays_close():
    method, image = _method(), _random(1, 3, 64, 64)
    half = copy.deepcopy(method).half()
    with torch.no_grad():
        for wants, gots in zip(method(image), half(image), strict=True):
            for want, got in zip(wants, gots, strict=True):
                assert got.dtype == torch.float32
                # half has 11 bits; errors of 2^-11 pile up over some 60 layers
                assert (got - want).abs().max() < 0.03 * want.abs().max()

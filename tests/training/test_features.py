"""What the methods on backbone features measure on the good images, against hand-computed cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from edgead_training.features.scale import FeatureScale, fit_scale
from edgead_training.methods import AGPNet, ReDi, TrainingSet

from edgead import reference

PLAIN = {"size": [64, 64]}
REDI = {"bank_size": 3, "width": 8}


def _images(count: int) -> torch.Tensor:
    """Some are harder than others, so that their scores differ."""
    images = torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return images * torch.linspace(0.2, 2, count)[:, None, None, None]


def test_pairs_weigh_as_one_over_the_deviation_of_their_scores():
    scale = FeatureScale((24, 40, 112), [(2, 2)] * 3, [1.0, 1.0, 1.0])
    # Ten images with variances 1, 4, 16, mean 7; ten more are taken to show it: 4, 5.5, 11.5.
    scores = torch.tensor([[-1.0, 1.0] * 5, [-2.0, 2.0] * 5, [-4.0, 4.0] * 5]) + 9
    scale.set_weights(scores)
    want = np.array([4, 5.5, 11.5]) ** -0.5
    for k, share in enumerate(want / want.mean()):
        gain = scale.get_buffer(f"gain_{k}")
        torch.testing.assert_close(gain.square(), torch.full((1, 1, 2, 2), share).float())


def test_one_image_leaves_the_weights_alike():
    scale = FeatureScale((24, 40, 112), [(2, 2)] * 3, [1.0, 1.0, 1.0])
    scale.set_weights(torch.tensor([[1.0], [2.0], [3.0]]))
    for k in range(3):
        torch.testing.assert_close(scale.get_buffer(f"gain_{k}"), torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("kind", [AGPNet, ReDi])
@torch.no_grad()
def test_pairs_are_weighed_by_the_scores_that_each_alone_gives_to_the_training_images(kind):
    """Taken from the graph itself; ReDi's prompt may then be the image, so its bank is foreign."""
    small = PLAIN | {"own_level": 0.0} | (REDI if kind is ReDi else {})
    torch.manual_seed(0)
    method = kind.from_settings(small, n_train=7).eval()
    images = _images(7)
    if kind is ReDi:
        kept = [torch.randn_like(values) for values in method.bank.kept()]
        method.bank.fill(torch.randn(3, method.bank.keys.shape[1]), lambda _: kept)

    def compared(_title):
        for part in images.split(3):
            pairs = bare(part)
            yield [a for a, _ in pairs], [b for _, b in pairs]

    def bare(part):
        gains = [method.scale.get_buffer(f"gain_{k}") for k in range(3)]
        return [(a / g, b / g) for (a, b), g in zip(method(part), gains, strict=True)]

    for title in ("plain", "balanced"):
        method.config = replace(method.config, balance=title == "balanced")
        params = method.map_params() if method.config.balance else None
        fit_scale(method.scale, compared, method.config.position, params)
        if title == "plain":
            before = [method.scale.get_buffer(f"gain_{k}").clone() for k in range(3)]
            alone = replace(method.map_params(), weights=(1.0,))
            pairs = [(a.numpy(), b.numpy()) for a, b in method(images)]
            scores = np.array([reference.anomaly_map([pair], alone)[1] for pair in pairs])
    variance = (7 * scores.var(1) + 10 * scores.var(1).mean()) / 17
    want = variance**-0.5 / (variance**-0.5).mean()
    assert want.std() > 0.01
    for k in range(3):
        ratio = (method.scale.get_buffer(f"gain_{k}") / before[k]).square()
        np.testing.assert_allclose(ratio, want[k], rtol=1e-4)  # float32 against float64


def test_without_positions_there_is_one_usual_distance_for_a_pair():
    method = AGPNet.from_settings({"size": [64, 64], "position": False}, n_train=2).eval()
    data = TrainingSet(_images(3), lambda items, title: iter(items))
    method.stages(data)[0].prepare()
    method.conclude(data)
    for k in range(3):
        gain = method.scale.get_buffer(f"gain_{k}")
        assert torch.equal(gain, gain.flatten()[0].expand(gain.shape))


@pytest.mark.parametrize(
    ("power", "expected"),
    [(0.0, [0.01, 1, 16]), (0.5, [0.01 / 0.5, 1, 16 / 4]), (1.0, [0.01 / 0.25, 1, 1])],
)
def test_residuals_are_divided_by_a_power_of_the_level_of_their_own_image(power, expected):
    """Lengths of .1, 1 and 4 everywhere; the first image counts as one of .5, see QUIET."""
    scale = FeatureScale((24, 40, 112), [(2, 2)] * 3, [1.0] * 3, own_level=power)
    residual = torch.tensor([0.1, 1, 4])[:, None, None, None].expand(3, 5, 2, 2)
    for x, y in scale.emit([residual] * 3, [torch.zeros_like(residual)] * 3):
        distance = (x - y).square().mean(1)
        want = torch.tensor(expected)[:, None, None].expand(distance.shape)
        torch.testing.assert_close(distance, want)


def test_an_image_s_level_is_in_units_of_what_is_usual_and_does_not_know_the_weights():
    """E is 4 on the left and 16 on the right; lengths of 4 and 16 make a level of (2 + 4) / 2."""
    scale = FeatureScale((24, 40, 112), [(1, 2)] * 3, [1.0] * 3, own_level=0.5)
    scale.set_expected([torch.tensor([[4.0, 16.0]]) for _ in range(3)])
    gains = [scale.get_buffer(f"gain_{k}").clone() for k in range(3)]
    scale.set_weights(torch.tensor([[-1.0, 1.0] * 5, [-2.0, 2.0] * 5, [-4.0, 4.0] * 5]))
    residual = torch.tensor([4.0, 16.0]).expand(1, 5, 1, 2)
    for k, (x, y) in enumerate(scale.emit([residual] * 3, [torch.zeros_like(residual)] * 3)):
        weight = (scale.get_buffer(f"gain_{k}") / gains[k]).square()
        level = (gains[k].flatten() * torch.tensor([4.0, 16.0])).mean()
        plain = (residual * gains[k]).square().mean(1)
        torch.testing.assert_close((x - y).square().mean(1), weight[0] * plain / level)
    assert abs(weight.flatten()[0] - 1) > 0.1

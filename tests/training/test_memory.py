"""The memory of good features against brute force in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edgead_training.features.memory import (
    NEIGHBOURS,
    PRIOR_IMAGES,
    TEMPERATURE,
    FeatureMemory,
    spread,
)


def _features(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 5, 3, 4, generator=torch.Generator().manual_seed(seed))


def _blend(query: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """[C] and [M, C] to the blend of the nearest, as the class says it."""
    distance = ((query - kept) ** 2).mean(1)
    nearest = np.argsort(distance)[: NEIGHBOURS + 1]
    share = np.exp(-(distance[nearest] - distance[nearest].min()) / (2 * TEMPERATURE))
    share = share / share.sum()
    share = share[:-1] - share[-1] + 1e-4
    return (share / share.sum()) @ kept[nearest[:-1]]


def _filled(images: int, count: int) -> tuple[FeatureMemory, torch.Tensor]:
    features = _features(images)
    memory = FeatureMemory(count, 5, (3, 4))
    chunks = [(part, features[part]) for part in torch.arange(images).split(2)]
    memory.fill(chunks, images)
    memory.fit_gain(chunks)
    return memory, features


def test_each_position_is_restored_from_the_nearest_kept_features_wherever_they_lie():
    memory, _ = _filled(4, 20)
    query = _features(2, seed=9)
    got = memory.reconstruct(query)
    kept = memory.kept.double().numpy()
    for image in range(2):
        for row in range(3):
            for column in range(4):
                want = _blend(query[image, :, row, column].double().numpy(), kept)
                np.testing.assert_allclose(got[image, :, row, column], want, atol=1e-5)


def test_gain_comes_from_the_distance_of_good_images_without_their_own_features():
    memory, features = _filled(4, 48)  # all that there are
    kept, owners = memory.kept.double().numpy(), memory.owners.numpy()
    assert sorted(np.bincount(owners)) == [12] * 4
    expected = np.zeros((3, 4))
    for image in range(4):
        foreign = kept[owners != image]
        for row in range(3):
            for column in range(4):
                query = features[image, :, row, column].double().numpy()
                expected[row, column] += ((query - _blend(query, foreign)) ** 2).mean() / 4
    mean = expected.mean()
    drawn = (4 * expected + PRIOR_IMAGES * mean) / (4 + PRIOR_IMAGES)
    want = 1 / (mean * np.sqrt(drawn / mean + 0.1))  # a tenth: the floor of position_gain
    np.testing.assert_allclose(memory.gain.square()[0, 0], want, rtol=1e-4)
    distance, nothing = memory.emit(features)
    assert distance.shape == (4, 1, 3, 4) and not nothing.any()
    square = (features - memory.reconstruct(features)).square().mean(1, keepdim=True)
    np.testing.assert_allclose(
        distance**2, square * torch.from_numpy(want).float(), rtol=1e-3, atol=1e-6
    )


def test_half_keeps_the_distances_in_float32():
    memory, features = _filled(4, 20)
    expected, _ = memory.emit(features)
    narrow, _ = memory.half().emit(features)  # what is kept is exact in float16 as it is
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow, expected, rtol=1e-3, atol=1e-5)  # the gain is not


def test_without_position_the_gain_is_one_number():
    memory, features = _filled(4, 48)
    there = memory.gain.clone()
    assert len(there.unique()) > 1
    chunks = [(part, features[part]) for part in torch.arange(4).split(2)]
    memory.fit_gain(chunks, position=False)
    foreign = memory.reconstruct(features, foreign_to=torch.arange(4))
    mean = (features - foreign).double().square().mean()
    want = (1 / (mean * np.sqrt(1 + 0.1))).sqrt()  # a tenth: the floor of position_gain
    np.testing.assert_allclose(memory.gain, np.full((1, 1, 3, 4), want), rtol=1e-5)


def test_one_image_leaves_the_gain_at_one():
    memory, _ = _filled(1, 6)
    assert torch.equal(memory.gain, torch.ones(1, 1, 3, 4))


def test_a_near_tie_does_not_make_the_blend_jump():
    memory = FeatureMemory(2, 1, (1, 1))
    memory.kept.copy_(torch.tensor([[-1.0], [1.0]]))
    left, right = (memory.reconstruct(torch.full((1, 1, 1, 1), x)) for x in (-1e-4, 1e-4))
    assert float((left - right).abs()) == pytest.approx(0, abs=0.01)


def test_a_tie_for_the_last_place_does_not_either():
    memory = FeatureMemory(5, 1, (1, 1))
    kept = 0.2 * torch.tensor(
        [[-2.0], [-1.0], [0.0], [1.0], [2.0]]
    )  # at 0 both ends are the fourth
    memory.kept.copy_(kept)
    left, right = (memory.reconstruct(torch.full((1, 1, 1, 1), x)) for x in (-1e-4, 1e-4))
    assert float((left - right).abs()) == pytest.approx(0, abs=1e-3)

    def cut(x: float) -> float:
        """With the weights of the four nearest as they are."""
        near = -((x - kept[:, 0]) ** 2) / (2 * TEMPERATURE)
        best, rows = near.topk(4)
        return float(torch.softmax(best, 0) @ kept[rows, 0])

    assert abs(cut(-1e-4) - cut(1e-4)) > 0.05


def test_where_all_are_equally_far_their_mean_counts():
    memory = FeatureMemory(6, 2, (1, 1))
    memory.kept.copy_(torch.tensor([[1.0, 3.0]]).expand(6, 2))
    reconstructed = memory.reconstruct(torch.zeros(1, 2, 1, 1))
    torch.testing.assert_close(reconstructed[0, :, 0, 0], torch.tensor([1.0, 3.0]))


def test_the_coreset_covers_every_cluster():
    generator = torch.Generator().manual_seed(0)
    centres = 50 * torch.randn(6, 40, generator=generator)
    points = (centres[:, None] + torch.randn(6, 30, 40, generator=generator)).flatten(0, 1)
    chosen = spread(points, 6, generator)
    assert sorted((chosen // 30).tolist()) == list(range(6))

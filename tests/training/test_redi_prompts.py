"""ReDi's prompts: which images are kept, which are near, and what is blended of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edgead_training.methods import redi_prompts
from edgead_training.methods.redi_prompts import PromptBank, coreset, nearest_others


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _bank(count: int) -> PromptBank:
    """Of two tensors kept, chosen from five images."""
    bank = PromptBank(count, (112, 4, 4), {"features_0": (6, 8, 8), "features_1": (9, 4, 4)})
    kept = [_random(5, *values.shape[1:], seed=2) for values in bank.kept()]
    keys = _random(5, bank.keys.shape[1], seed=1)
    bank.fill(keys, lambda rows: [values[rows] for values in kept])
    return bank


def test_coreset_takes_the_centre_then_the_farthest():
    points = torch.tensor([[0.0], [4.0], [5.0], [11.0]])  # mean 5
    assert coreset(points, 3).tolist() == [2, 3, 0]


def test_bank_blends_the_two_most_similar_images():
    bank = _bank(5)
    levels = [torch.zeros(1), torch.zeros(1), _random(2, 112, 4, 4, seed=3)]
    flat = levels[2].flatten(1)  # a 4x4 grid on 4x4 features: nothing to average
    for row, got in zip(flat, bank(levels)[0], strict=True):
        query = (row - bank.centre).double()
        cosine = [float(query @ key.double() / query.norm() / key.double().norm())
                  for key in bank.keys]  # fmt: skip
        first, second = sorted(range(5), key=lambda m: -cosine[m])[:2]
        share = 1 / (1 + np.exp((cosine[second] - cosine[first]) / 0.02))
        want = share * bank.features_0[first] + (1 - share) * bank.features_0[second]
        torch.testing.assert_close(got, want.float(), atol=1e-3, rtol=0)


def test_bank_takes_a_clear_winner_as_it_is_and_does_not_jump_at_a_tie():
    bank = _bank(3)
    clear, tie = torch.tensor([[0.9, 0.1, 0.0]]), torch.tensor([[0.5, 0.5, 0.0]])
    for got, kept in zip(bank.blend(clear), bank.kept(), strict=True):
        torch.testing.assert_close(got[0], kept[0])
    nudge = torch.tensor([[1e-5, -1e-5, 0.0]])
    for a, b in zip(bank.blend(tie + nudge), bank.blend(tie - nudge), strict=True):
        torch.testing.assert_close(a, b, atol=1e-2, rtol=0)


def test_bank_of_one_image_gives_that_image():
    bank = _bank(1)
    for got, kept in zip(bank([_random(2, 112, 4, 4)]), bank.kept(), strict=True):
        torch.testing.assert_close(got[1], kept[0])


@pytest.mark.parametrize("rows", [1024, 4, 1])  # all at once, parts of unequal length, one by one
def test_neighbours_are_the_most_similar_other_images(monkeypatch, rows):
    monkeypatch.setattr(redi_prompts, "_ROWS", rows)
    directions = torch.nn.functional.normalize(_random(11, 7), dim=1)
    similarity = directions @ directions.T
    got = nearest_others(directions, 5)
    want = similarity.double().fill_diagonal_(-2).argsort(dim=1, descending=True)[:, :5]
    assert torch.equal(got, want)
    assert nearest_others(directions[:3], 5).tolist() == [
        [j for j in row if j != i] for i, row in enumerate(similarity[:3, :3].argsort(
            dim=1, descending=True).tolist())
    ]  # fmt: skip
    assert nearest_others(directions[:1], 5).tolist() == [[0]]


def test_a_large_set_takes_memory_in_proportion(monkeypatch):
    """No tensor of the search for neighbours has more than _ROWS x N elements."""
    monkeypatch.setattr(redi_prompts, "_ROWS", 8)
    sizes, topk = [], torch.Tensor.topk
    monkeypatch.setattr(
        torch.Tensor, "topk", lambda x, *a, **k: (sizes.append(x.shape), topk(x, *a, **k))[1]
    )
    nearest_others(torch.nn.functional.normalize(_random(50, 7), dim=1), 5)
    assert set(sizes) == {(8, 50), (2, 50)}

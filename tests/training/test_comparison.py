"""What ReDi and AGPNet measure on the good images, and what is no part of them any more."""

from __future__ import annotations

import pytest
import torch
from edgead_training.methods import METHODS, Method, TrainingSet
from torch.nn import functional as F

from edgead.errors import TrainingError

SMALL = {
    "redi": {"size": [64, 64], "bank_size": 3, "width": 8},
    "agpnet": {"size": [64, 64], "width": 16, "heads": 2, "blocks": 1},
}


def _concluded(name: str, **settings) -> tuple[Method, list[torch.Tensor]]:
    """An untrained method that has measured what is usual on five images, and its gains before."""
    torch.manual_seed(0)
    coarse = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = F.interpolate(coarse, (64, 64), mode="bicubic")
    data = TrainingSet(images, lambda items, _: iter(items))
    method = METHODS[name].from_settings(SMALL[name] | settings, n_train=5).eval()
    before = [gain.clone() for gain in _gains(method)]
    for stage in method.stages(data):
        stage.prepare()
    method.conclude(data)
    return method, before


def _gains(method: Method) -> list[torch.Tensor]:
    return [method.scale.get_buffer(f"gain_{k}") for k in range(3)]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("position", [True, False])
def test_position_decides_whether_what_is_usual_is_that_of_each_place(name, position):
    method, before = _concluded(name, position=position)
    for gain, first in zip(_gains(method), before, strict=True):
        assert not torch.equal(gain, first)  # measured, not left as it was made
        assert (len(gain.unique()) > 1) == position


@pytest.mark.parametrize("name", SMALL)
def test_the_preset_paper_takes_distances_as_they_are(name):
    """No E and no w: nothing is measured on the good images."""
    paper = METHODS[name].presets["paper"]
    assert paper["position"] is paper["balance"] is False
    method, before = _concluded(name, position=False, balance=False)
    assert all(map(torch.equal, _gains(method), before))


@pytest.mark.parametrize("name", SMALL)
def test_the_levels_count_alike(name):
    method = METHODS[name].from_settings(SMALL[name], n_train=5)
    assert method.map_params().weights == pytest.approx([1 / 3] * 3)
    assert {"edge", "paper"} == set(method.presets)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    "settings",
    [
        {"whiten": True, "memory": 1024, "memory_share": 0.5, "quiet_border": False},
        {"whiten": False, "memory": 1024},
        {"whiten": False},
        {"memory_share": 0.9},
        {"quiet_border": True},
    ],
    ids=str,
)
def test_settings_of_whitening_and_memory_get_a_sentence(name, settings):
    with pytest.raises(TrainingError, match=r"no setting .* any more.*--with instant"):
        METHODS[name].from_settings(settings, n_train=5)


@pytest.mark.parametrize("name", SMALL)
def test_a_run_of_before_that_had_neither_whitening_nor_memory_reads_as_it_was(name):
    old = {"whiten": False, "memory": 0, "memory_share": 0.5, "quiet_border": False}
    method = METHODS[name].from_settings(SMALL[name] | old, n_train=5)
    assert method.config == METHODS[name].from_settings(SMALL[name], n_train=5).config


@pytest.mark.parametrize("name", ["arnet", "ssae"])
def test_methods_that_never_had_them_do_not_know_them(name):
    with pytest.raises(TrainingError, match="has no setting 'whiten'; it knows"):
        METHODS[name].from_settings({"whiten": False, "memory": 0}, n_train=5)

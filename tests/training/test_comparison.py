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


PLACED = {"redi": {}, "agpnet": {"placement": "aligned"}}  # as if a person had said so


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("position", [True, False])
def test_position_decides_whether_what_is_usual_is_that_of_each_place(name, position):
    method, before = _concluded(name, position=position, **PLACED[name])
    for gain, first in zip(_gains(method), before, strict=True):
        assert not torch.equal(gain, first)  # measured, not left as it was made
        assert (len(gain.unique()) > 1) == position


def _fields(lie_alike: bool) -> torch.Tensor:
    """Twenty parts of 64 x 64 on a grey table, each with its own grain."""
    generator = torch.Generator().manual_seed(0)
    table = torch.full((20, 3, 128, 128), 0.5)
    part = F.interpolate(torch.randn(1, 3, 16, 16, generator=generator), (64, 64), mode="bicubic")
    for image in table:
        corner = torch.randint(16, 48, (2,), generator=generator).tolist()
        top, left = (32, 32) if lie_alike else corner
        grain = 0.3 * torch.randn(part[0].shape, generator=generator)
        image[:, top : top + 64, left : left + 64] = part[0] + grain
    return table


@pytest.mark.parametrize("lie_alike", [True, False])
def test_places_count_where_good_images_say_that_they_tell(lie_alike):
    """One E for each level where the part lies anywhere, without a setting that says so."""
    images = _fields(lie_alike)
    method = METHODS["agpnet"].from_settings(SMALL["agpnet"] | {"size": [128, 128]}, n_train=20)
    data = TrainingSet(images, lambda items, _: iter(items))
    assert method.eval().places_count(data) is lie_alike
    assert method.found.startswith("aligned: " if lie_alike else "loose: ")
    twice = TrainingSet(torch.cat([images, images]), lambda items, _: iter(items), varied=1)
    assert method.places_count(twice) is lie_alike  # copies say nothing new


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"placement": "loose"}, False),
        ({"placement": "filling"}, True),
        ({"position": False}, False),
    ],
)
def test_a_person_says_whether_places_count(settings, count):
    method = METHODS["agpnet"].from_settings(SMALL["agpnet"] | settings, n_train=5)
    assert method.places_count(TrainingSet(torch.empty(0), lambda *_: iter(()))) is count


@pytest.mark.parametrize("name", SMALL)
def test_the_preset_paper_takes_distances_as_they_are(name):
    """No E and no w: nothing is measured on the good images."""
    paper = METHODS[name].presets["paper"]
    assert paper["position"] is paper["balance"] is False
    assert paper["own_level"] == 0
    method, before = _concluded(name, position=False, balance=False, own_level=0.0)
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

"""What ReDi and AGPNet measure on the good images, at each place or for all places together."""

from __future__ import annotations

import pytest
import torch
from edgead_training.methods import METHODS, Method, TrainingSet
from edgead_training.methods.backbone_method import make_whitening, remember
from torch.nn import functional as F

from edgead.errors import TrainingError

SMALL = {
    "redi": {"size": [64, 64], "bank_size": 3, "widths": [4, 4, 8, 8]},
    "agpnet": {"size": [64, 64], "width": 16, "heads": 2, "blocks": 1},
}


def _concluded(name: str, **settings) -> Method:
    """An untrained method that has measured what is usual on five images."""
    torch.manual_seed(0)
    coarse = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = F.interpolate(coarse, (64, 64), mode="bicubic")
    data = TrainingSet(images, lambda items, _: iter(items))
    method = METHODS[name].from_settings(SMALL[name] | settings, n_train=5).eval()
    for stage in method.stages(data):
        stage.prepare()
    method.conclude(data)
    return method


def _per_place(method: Method) -> dict[str, bool]:
    """Whether each of the measured buffers differs from place to place."""
    found = {}
    for k in range(3):
        means = method.whitening.get_buffer(f"mean_{k}")
        found[f"mean_{k}"] = not torch.equal(means, means[..., :1, :1].expand_as(means))
        roots = method.whitening.get_buffer(f"whiten_{k}")
        found[f"whiten_{k}"] = not torch.equal(roots, roots[:1].expand_as(roots))
    found["gain"] = len(method.memory.gain.unique()) > 1
    return found


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("position", [True, False])
def test_position_decides_whether_what_is_usual_is_that_of_each_place(name, position):
    found = _per_place(_concluded(name, position=position))
    assert len(found) == 7 and set(found.values()) == {position}


@pytest.mark.parametrize("name", SMALL)
def test_whitening_and_memory_are_measured_on_the_good_images_without_position(name):
    """Not left as they were made: 1 everywhere is constant too."""
    method = _concluded(name, position=False)
    for k in range(3):
        root = method.whitening.get_buffer(f"whiten_{k}")[0]
        assert not torch.equal(root, torch.eye(len(root)))
    assert float(method.memory.gain[0, 0, 0, 0]) != 1.0


@pytest.mark.parametrize(("size", "pixels"), [((64, 96), 32), ((160, 64), 32), ((80, 96), 16)])
def test_a_covariance_is_that_of_a_square_of_32_pixels_or_of_16(size, pixels):
    """16 where a side is not a multiple of 32, as AGPNet allows it."""
    sizes = [(size[0] // stride, size[1] // stride) for stride in (4, 8, 16)]
    whitening = make_whitening(sizes, size[0], quiet_border=False)
    assert whitening.sides == [pixels // stride for stride in (4, 8, 16)]
    count = size[0] * size[1] // pixels**2
    assert [len(whitening.get_buffer(f"whiten_{k}")) for k in range(3)] == [count] * 3


def test_the_memory_compares_two_levels_side_by_side():
    fine, coarse = (torch.rand(2, c, n, n + 2) for c, n in ((3, 4), (5, 2)))
    coarse = coarse[..., :3]
    got = remember(fine, coarse, quiet_border=False)
    assert torch.equal(got[:, :3], fine)
    want = F.interpolate(coarse, size=(4, 6), mode="bilinear", align_corners=False)
    torch.testing.assert_close(got[:, 3:], want)


def test_a_quiet_border_is_what_windows_filled_with_zeros_give():
    """As PatchCore's published code averages: F.avg_pool2d as it is by default."""
    fine, coarse = torch.rand(2, 3, 8, 12), torch.rand(2, 5, 4, 6)

    def averaged(x, filled):
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=filled)

    got = remember(averaged(fine, False), averaged(coarse, False), quiet_border=True)
    want = remember(averaged(fine, True), averaged(coarse, True), quiet_border=False)
    torch.testing.assert_close(got, want)


def test_whitening_and_memory_are_for_levels_side_by_side():
    settings = {"join": "sum", "whiten": True, "memory": 200}
    method = METHODS["agpnet"].from_settings(SMALL["agpnet"] | settings, n_train=5)
    assert method.whitening is None and method.memory is None and len(method.pairs()) == 1


@pytest.mark.parametrize("name", SMALL)
def test_the_memory_counts_its_share_of_the_map(name):
    def weights(**settings):
        method = METHODS[name].from_settings(SMALL[name] | settings, n_train=5)
        return method.map_params().weights

    assert weights() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert weights(memory_share=0.7) == pytest.approx([0.1, 0.1, 0.1, 0.7])
    assert weights(memory_share=0.7, memory=0) == pytest.approx([1 / 3] * 3)  # its part goes round


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_that_leaves_nothing_gets_a_sentence(name, share):
    with pytest.raises(
        TrainingError, match=r"memory_share=.*more than 0 and less than 1.*memory=0"
    ):
        METHODS[name].from_settings({"memory_share": share}, n_train=5)
    without = {"memory_share": share, "memory": 0}  # nothing to share
    assert METHODS[name].from_settings(without, n_train=5).memory is None


@pytest.mark.parametrize("name", SMALL)
def test_loose_parts_are_compared_without_places(name):
    method = _concluded(name, **METHODS[name].presets["loose"])
    assert set(_per_place(method).values()) == {False}
    assert method.config.quiet_border and method.memories()[0].weight == 0.9
    assert len(method.memory.kept) == 5 * 8 * 8  # as many as five small images have

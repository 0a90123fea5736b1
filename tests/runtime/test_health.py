"""Camera health: each fault made by hand and found; good frames left alone at the stated rate."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from edgead import Finding, Health, InputError
from edgead.bundle.storage import write_bundle
from edgead.monitoring import health
from edgead.monitoring.health import CHECKS, DELTA, Observations, frames_in_a_row, look, shift

N = 60


def part(seed: int, dtype: type = np.uint8) -> np.ndarray:
    """A bright disc with print on it, held by a fixture, under a lamp and a sensor with noise."""
    rng = np.random.default_rng(seed)
    image = np.full((120, 160), 90.0)
    centre = (80 + int(rng.integers(-1, 2)), 60 + int(rng.integers(-1, 2)))
    cv2.circle(image, centre, 40, 170, -1)
    for left in range(centre[0] - 24, centre[0] + 24, 8):
        image[50:70, left : left + 4] = 60
    image = image * rng.uniform(0.95, 1.05) + rng.normal(0, 3, image.shape)
    grey = np.clip(image, 0, 250)[:, :, None] * [0.9, 1.0, 0.8]
    return np.rint(grey * (np.iinfo(dtype).max // 255)).astype(dtype)


@pytest.fixture(scope="module")
def bundle(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tiny bundle with limits from N parts."""
    observations = Observations()
    for seed in range(N):
        observations.add(part(seed))
    limits, reference = observations.limits()
    path = tmp_path_factory.mktemp("health") / "tiny.edgead"
    manifest = replace(tiny.manifest, health=limits)
    return write_bundle(path, manifest, {**tiny.files, limits.reference: reference})


FAULTS = {
    "dark": lambda f: f // 2,
    "saturated": lambda f: np.clip(f * 1.6, 0, 255).astype(np.uint8),
    "blurred": lambda f: cv2.GaussianBlur(f, (0, 0), 2),
    "shifted": lambda f: np.roll(f, 6, axis=1),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_after_the_stated_number_of_frames_and_goes_with_it(bundle, name):
    camera = Health(bundle)
    k = camera.frames_in_a_row
    found = [camera.check(FAULTS[name](part(1000 + i))) for i in range(k + 2)]
    assert all(findings == () for findings in found[: k - 1])
    assert all([f.name for f in findings] == [name] for findings in found[k - 1 :])
    last = found[-1][0]
    assert last.frames == k + 2 and f"{k + 2} frames in a row" in last.reason
    assert isinstance(last, Finding) and last.value != last.limit
    assert camera.check(part(2000)) == ()


def test_a_camera_that_repeats_its_last_frame_is_frozen(bundle):
    camera = Health(bundle)
    k = camera.frames_in_a_row
    memory = part(3000)
    found = [camera.check(memory) for _ in range(k + 1)]  # the first equals no frame before it
    assert found[k - 1] == ()
    assert [f.name for f in found[k]] == ["frozen"]
    memory[0, 0, 0] ^= 1  # one bit, in the memory that the camera writes into again and again
    assert camera.check(memory) == ()


def test_good_parts_are_left_alone(bundle):
    camera = Health(bundle)
    assert all(camera.check(part(5000 + i)) == () for i in range(200))


def test_two_faults_are_two_findings(bundle):
    camera = Health(bundle)
    for i in range(camera.frames_in_a_row):
        found = camera.check(cv2.GaussianBlur(part(6000 + i), (0, 0), 2) // 2)
    assert {f.name for f in found} == {"dark", "blurred"}


@pytest.mark.parametrize(("across", "down"), [(0, 0), (16, 0), (0, -8), (-12, 12)])
def test_shift_says_how_far_and_which_way(across, down):
    """Texture that is moved by whole pixels of the small image, around its borders."""
    rng = np.random.default_rng(0)
    first = cv2.GaussianBlur(rng.random((128, 128)).astype(np.float32), (0, 0), 3)
    moved = np.roll(first, (down, across), axis=(0, 1))
    kept = first.copy(), moved.copy()
    # The window leaves out what comes in at the border, and pulls by a part of a pixel.
    assert shift(moved, first) == pytest.approx((across / 128, down / 128), abs=0.5 / 128)
    assert np.array_equal(first, kept[0]) and np.array_equal(moved, kept[1])
    assert shift(np.zeros((128, 128), np.float32), first) == (0.0, 0.0)


def test_textures_are_not_called_shifted():
    """Each image another random texture: nothing to hold on to, so no limit is exceeded much.

    Measured against a mean that holds the image itself, all of these shifts would be 0, and every
    new texture would be outside.
    """
    rng = np.random.default_rng(1)
    textures = [rng.integers(0, 255, (64, 64), np.uint8) for _ in range(40)]
    observations = Observations()
    for texture in textures[:20]:
        observations.add(texture)
    limits, data = observations.limits()
    reference = cv2.imdecode(np.frombuffer(data, np.uint8), -1).astype(np.float32) / 65535
    outside = [math.hypot(*shift(look(t)[1], reference)) > limits.shift for t in textures[20:]]
    assert sum(outside) <= 4  # one of 21 is expected each time


def test_measures_by_hand():
    frame = np.zeros((256, 256, 3), np.uint8)
    frame[:, :64] = 255
    measures, small = look(frame)
    assert measures.brightness == pytest.approx(0.25, abs=1e-6)
    assert measures.saturated == 0.25
    frame[:, :64, :2] = 0  # one channel at full scale is enough; a third of the brightness
    assert look(frame)[0].saturated == 0.25
    assert look(frame)[0].brightness == pytest.approx(0.25 / 3, abs=1e-6)
    assert small.shape == (128, 128) and small.max() == pytest.approx(1, abs=1e-6)
    assert look(np.full((9, 9), 7, np.uint8))[0].sharpness == 0.0


def test_sharpness_is_that_of_float64_and_knows_no_brightness():
    frame = part(1)[:, :, 0]
    grey = cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA).astype(np.float64)
    padded = np.pad(grey, 1, mode="reflect")
    laplacian = (
        padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * grey
    )
    assert look(frame)[0].sharpness == pytest.approx(laplacian.var() / grey.var(), rel=1e-4)
    dim = look(part(1, np.uint16) // 2)[0].sharpness
    assert dim == pytest.approx(look(part(1, np.uint16))[0].sharpness, rel=1e-3)


def test_depth_channels_order_and_strides_do_not_matter():
    frame = part(7)
    want = look(frame)[0]
    assert look(frame[:, :, ::-1])[0] == pytest.approx(want, rel=1e-4)
    assert look(part(7, np.uint16))[0] == pytest.approx(want, rel=0.01)  # rounded before, not after
    grey = frame[:, :, :1]
    assert look(grey)[0] == look(grey[:, :, 0])[0]
    assert look(np.repeat(grey, 3, axis=2))[0] == pytest.approx(look(grey)[0], rel=1e-4)


@pytest.mark.parametrize(
    ("n", "rate", "k"),
    # 1 - 0.002 ** (1 / n) to the power k is under rate / 5, and to the power k - 1 it is not.
    [(20, 1e-6, 12), (42, 1e-6, 8), (100, 1e-6, 6), (1000, 1e-6, 4), (100, 0.01, 3)],
)
def test_frames_in_a_row_by_hand(n, rate, k):
    assert frames_in_a_row(n, rate) == k
    outside = 1 - (DELTA / 5) ** (1 / n)
    assert outside**k <= rate / 5 < outside ** (k - 1)


def test_the_stated_rate_holds_for_all_but_one_in_a_hundred_sets_of_images():
    """The law of "outside" for n images is Beta(1, n): drawn, not taken from the formula."""
    n, rate = 30, 1e-4
    k = frames_in_a_row(n, rate)
    outside = np.random.default_rng(2).random((100_000, n)).min(axis=1)  # of uniform measures
    too_often = (outside**k > rate / len(CHECKS)).mean()
    assert too_often < 1.2 * DELTA / len(CHECKS) + 1e-9  # 0.2 % expected, 4 sigma are 0.06 %
    one_frame_less = (outside ** (k - 1) > rate / len(CHECKS)).mean()
    assert one_frame_less > DELTA / len(CHECKS)


def test_a_bundle_without_limits_and_rates_that_are_none(bundle_dir, bundle):
    from edgead.bundle.storage import open_bundle

    with pytest.raises(InputError, match=r"no limits.*edgead calibrate"):
        Health(open_bundle(bundle_dir))
    for rate in (0, 1, -1):
        with pytest.raises(InputError, match="false_alarm_rate"):
            Health(bundle, false_alarm_rate=rate)
    with pytest.raises(InputError, match="float64"):
        Health(bundle).check(np.zeros((4, 4)))


def test_limits_go_through_the_manifest(bundle, tiny):
    from edgead.bundle.manifest import Manifest
    from edgead.errors import BundleError

    manifest = bundle.manifest
    assert Manifest.loads(manifest.dumps()) == manifest
    assert manifest.health.reference == health.REFERENCE
    for key in manifest.to_json()["health"]:
        broken = manifest.to_json()
        del broken["health"][key]
        with pytest.raises(BundleError, match=f"'{key}' is missing"):
            Manifest.from_json(broken)
    with pytest.raises(BundleError, match=r"health\.images"):
        replace(manifest, health=replace(manifest.health, images=0))
    with pytest.raises(BundleError, match=r"health/reference\.png.*not among its files"):
        write_bundle(bundle.path.with_name("x.edgead"), manifest, tiny.files)

"""One part at 8 to 16 bits: one score; and what refuses, warns or draws by the bit depth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgead import Detector, Health
from edgead.bundle.manifest import Manifest
from edgead.bundle.storage import Bundle, open_bundle, write_bundle
from edgead.errors import BundleError, InputError
from edgead.images import encode_png, read_image, write_png
from edgead.monitoring import depth
from edgead.monitoring.depth import UsedBits
from edgead.monitoring.health import Observations, look
from edgead.result import as_bgr8
from edgead.tiling import Tiling

DEPTHS = (10, 12, 14, 16)
# Values are rounded to 1 / (2^10 - 1) of full scale at worst, half of it off: 5e-4 of a range that
# preprocessing stretches by 1 / 0.22, which two convolutions of this graph carry on.
SAME = 5e-3  # of scores around 1


@pytest.fixture(scope="module")
def plain(bundle_dir: Path) -> Detector:
    """The tiny bundle, in which nothing is declared."""
    return Detector(bundle_dir)


@pytest.fixture
def twelve(of_depth, tmp_path: Path) -> Bundle:
    """A bundle of 12 bits."""
    return of_depth(tmp_path / "twelve.edgead", 12)


def test_one_part_has_one_score_at_every_depth(bundle_dir, plain, make_frame, at) -> None:
    for seed in range(5):
        frame = make_frame(seed, (90, 110, 3))
        truth = plain.score(frame).score
        for bits in DEPTHS:
            detector = Detector(bundle_dir, bit_depth=bits)
            found = detector.score(at(frame, bits))
            assert found.score == pytest.approx(truth, abs=SAME)
            assert detector.score(frame).score == truth  # uint8 has its own
        # What the declaration is for: the same values taken for 16 bits are nearly black.
        assert abs(plain.score(at(frame, 12)).score - truth) > 20 * SAME


def test_the_score_of_12_bits_is_that_of_independent_code(bundle_dir, tiny, make_frame, at) -> None:
    truth = type(tiny.truth)(tiny.files["model.onnx"], tiny.manifest.declared(12))
    frame = at(make_frame(3, (90, 110, 3)), 12)
    found = Detector(bundle_dir, bit_depth=12).score(frame)
    values, score = truth(frame)
    assert found.score == pytest.approx(score, abs=1e-4)
    np.testing.assert_allclose(found.map, values, rtol=0, atol=1e-4)


def test_the_depth_is_in_the_manifest_only_where_it_is_declared(tiny, twelve, bundle_dir) -> None:
    assert "bit_depth" not in tiny.manifest.to_json()["input"]
    assert twelve.manifest.to_json()["input"]["bit_depth"] == 12
    assert Manifest.loads(twelve.manifest.dumps()) == twelve.manifest
    detector = Detector(twelve)
    assert detector.bit_depth == 12 and detector.info()["bit_depth"] == "12"
    plain = Detector(bundle_dir)
    assert plain.bit_depth is None and "bit_depth" not in plain.info()


@pytest.mark.parametrize("bits", [8, 17, 0, -1, 12.5, "12", True, None, [12]])
def test_a_manifest_with_another_depth_is_refused_by_name(bundle_copy, edit, bits) -> None:
    edit(bundle_copy, lambda manifest: manifest["input"].update(bit_depth=bits))
    with pytest.raises(BundleError, match=r"bit_depth is .*expected"):
        open_bundle(bundle_copy)


def test_a_bundle_whose_golden_frames_are_of_another_depth_does_not_serve(
    bundle_copy, edit
) -> None:
    edit(bundle_copy, lambda manifest: manifest["input"].update(bit_depth=12))
    with pytest.raises(BundleError, match=r"golden/2\.png: .* value 65535 .*12 bits"):
        Detector(bundle_copy)


@pytest.mark.parametrize("asked", [None, 14, 16])
def test_golden_frames_keep_the_depth_of_their_bundle(twelve, asked, make_frame, at) -> None:
    detector = Detector(twelve, bit_depth=asked)  # else it would not qualify
    assert detector.bit_depth == (asked or 12)
    frame = make_frame(1)
    expected = detector.score(frame).score
    assert detector.score(at(frame, asked or 12)).score == pytest.approx(expected, abs=SAME)
    assert detector.bundle is twelve


@pytest.mark.parametrize("bits", [8, 17, "12", 12.0, True])
def test_a_depth_out_of_its_range_is_an_input_error(bundle_dir, bits) -> None:
    with pytest.raises(InputError, match="bit_depth is"):
        Detector(bundle_dir, bit_depth=bits)


@pytest.mark.parametrize("tiling", [None, Tiling((64, 64), 16)])
def test_a_value_above_the_depth_is_refused_and_looked_for_once(
    tiny, of_depth, tmp_path, tiling, make_frame, at, to_npy, monkeypatch
) -> None:
    from edgead import preprocess
    from edgead.cpu import pipeline

    path = tmp_path / "tiny.edgead"
    if tiling is None:
        of_depth(path, 12)
    else:  # golden frames of 8 bits, whose maps are those of one tile
        frames = {name: make_frame(900 + i, (64, 64, 3)) for i, name in enumerate(tiny.files)}
        golden = [one for one in tiny.manifest.golden if one.image.endswith("0.png")]
        frame = frames["golden/0.png"]
        found, score = tiny.truth(frame)
        files = {**tiny.files, "golden/0.png": encode_png(frame)}
        files["golden/0.npy"] = to_npy(found.astype(np.float32))
        golden = (replace(golden[0], score=score),)
        manifest = replace(tiny.manifest.declared(12), golden=golden, tiling=tiling)
        kept = {n: d for n, d in files.items() if not n.startswith(("golden/1", "golden/2"))}
        write_bundle(path, manifest, kept)
    detector = Detector(path)
    seen = []
    inner = preprocess.check_values

    def counted(frame: Any, bits: Any) -> None:
        seen.append(frame.shape)
        inner(frame, bits)

    monkeypatch.setattr(preprocess, "check_values", counted)
    monkeypatch.setattr(pipeline, "check_values", counted)
    frame = at(make_frame(1, (150, 130, 3)), 12)
    expected = detector.score(frame).score
    assert seen == [frame.shape]
    frame[7, 100, 1] = 4096
    with pytest.raises(InputError, match=r"value 4096 and .* 12 bits, at most 4095"):
        detector.score(frame)
    frame[7, 100, 1] = at(make_frame(1, (150, 130, 3)), 12)[7, 100, 1]
    assert detector.score(frame).score == expected


def test_pictures_for_people_show_the_upper_8_bits_of_the_depth(bundle_dir, make_frame, at) -> None:
    frame = make_frame(4, (90, 110, 3))
    truth = Detector(bundle_dir).score(frame)
    for bits in DEPTHS:
        wide = at(frame, bits)
        shown = as_bgr8(wide, "bgr", bits)
        np.testing.assert_array_equal(shown, wide >> (bits - 8))
        assert np.abs(shown.astype(int) - frame).max() <= 1
        result = Detector(bundle_dir, bit_depth=bits).score(wide)
        assert result.bit_depth == bits
        apart = np.abs(result.overlay().astype(int) - truth.overlay())
        assert np.median(apart) <= 1 and (apart > 8).mean() < 0.01
    # What may stand in a frame of GPU memory, which nothing looks at: white, not wrapped.
    assert as_bgr8(np.full((2, 2), 65535, np.uint16), "bgr", 12).min() == 255


def test_health_measures_shares_of_the_depths_full_scale(make_frame, at) -> None:
    frame = make_frame(6, (200, 160, 3))
    frame[:40] = 255
    truth, small = look(frame)
    for bits in DEPTHS:
        found, tiny = look(at(frame, bits), bits)
        # Resizing rounds to steps of the depth: half of 1/255 at 8 bits.
        np.testing.assert_allclose(found, truth, rtol=4e-3, atol=4e-3)
        np.testing.assert_allclose(tiny, small, atol=4e-3)
    assert look(at(frame, 12))[0].saturated == 0.0 < truth.saturated  # as 16 bits: missed


def test_health_has_the_depth_of_the_bundle_or_the_one_that_is_said(
    tiny, tmp_path, make_frame, at
) -> None:
    observations = Observations(12)
    for seed in range(20):
        observations.add(at(make_frame(seed), 12))
    assert observations.used.concern() is None
    limits, reference = observations.limits()
    manifest = replace(tiny.manifest, health=limits)
    files = {**tiny.files, limits.reference: reference}
    bundle = write_bundle(tmp_path / "a.edgead", manifest, files)
    for health, dark in ((Health(bundle), True), (Health(bundle, bit_depth=12), False)):
        for seed in range(health.frames_in_a_row):
            found = health.check(at(make_frame(seed), 12))
        assert any(one.name == "dark" for one in found) is dark


def noise(top: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top, (40, 50, 3), np.uint16, endpoint=True)


@pytest.mark.parametrize(
    ("tops", "bits"),
    [
        ([4095, 4095], 12), ([4000, 900], 12), ([1023], 10), ([1024], 12), ([700], 10),
        ([16383], 14), ([13000, 90], 14), ([255], 8),
        # One frame that reaches further and nothing is said; nor of black frames.
        ([4095, 4095, 65535], None), ([4095, 30000], None), ([16384], None),
        ([12000], None), ([5000], None), ([0, 0], None), ([], None),
    ],
)  # fmt: skip
def test_what_is_said_of_a_set_is_what_was_seen(tops, bits) -> None:
    used = UsedBits()
    for seed, top in enumerate(tops):
        frame = noise(top, seed)
        frame[0, 0] = top
        used.add(frame)
    used.add(np.zeros((4, 4), np.uint8))  # of no interest
    assert used.guess() == bits
    text = used.concern()
    assert (text is None) == (bits is None)
    if text is not None:
        assert f"{len(tops)} frames in 16 bits is above {max(tops)}" in text
        assert ("8 bits" if bits == 8 else f"--bit-depth {bits};") in text


@pytest.mark.parametrize(
    ("declared_", "top", "bits"),
    [
        (12, 1023, 10), (12, 800, 10), (12, 700, None), (12, 255, 8), (12, 90, 8), (12, 1024, None),
        (12, 4095, None), (10, 255, 8), (10, 180, None), (10, 1023, None), (14, 4095, 12),
        (14, 2000, None), (14, 1023, 10), (14, 600, 10), (9, 255, None), (9, 90, None),
        (11, 1000, None), (16, 4095, 12),
    ],
)  # fmt: skip
def test_frames_of_fewer_bits_than_declared(
    declared_, top, bits, bundle_dir, of_depth, tmp_path
) -> None:
    used = UsedBits(declared_)
    frame = noise(top)
    frame[0, 0] = top
    used.add(frame)
    assert used.guess() == bits
    serving = used.concern_of_serving(of_depth(tmp_path / "t.edgead", declared_))
    assert (serving is None) == (bits is None)
    assert (used.concern() is None) == (bits is None or declared_ == 16)
    if serving is not None:
        assert f"above {top}, of {2**declared_ - 1} that" in serving
        assert ("8 bits" if bits == 8 else f"--bit-depth {bits}") in serving
        assert "--bit-depth 16" not in serving


def test_sixteen_bits_declared_say_that_frames_are_dark() -> None:
    declared_ = UsedBits(16)
    declared_.add(noise(4095))
    assert declared_.concern() is None


def test_a_bundle_that_has_learnt_from_such_frames_gives_no_concern(
    bundle_dir, of_depth, tmp_path, monkeypatch
) -> None:
    used, bundle = UsedBits(), open_bundle(bundle_dir)
    used.add(noise(4095))
    assert "--bit-depth 12" in str(used.concern_of_serving(bundle))
    # Told, by --bit-depth 16, that they are dark; a bundle of 16 bits says nothing of new frames.
    told = UsedBits(16)
    told.add(noise(4095))
    assert told.concern_of_serving(bundle) is None
    assert "--bit-depth 12" in str(told.concern_of_serving(of_depth(tmp_path / "16.edgead", 16)))
    # Learnt from 12 bits and never told: what it scores now it scores as it has learnt. The last
    # golden frame has a synthetic defect, made for 16 bits.
    for golden, concern in (
        ([noise(4000), noise(3000), noise(23000)], False),
        ([noise(60000), noise(65535), np.zeros((4, 4), np.uint16)], True),
        ([np.zeros((4, 4), np.uint8)], True),
    ):
        monkeypatch.setattr(depth, "golden_frames", lambda _, frames=golden: iter(frames))
        assert (used.concern_of_serving(bundle) is not None) is concern


def test_a_file_with_values_above_the_depth_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_png(path, np.full((4, 5), 4096, np.uint16))
    assert read_image(path).max() == read_image(path, bit_depth=13).max() == 4096
    with pytest.raises(InputError, match=r"a\.png.*4096.*4095"):
        read_image(path, bit_depth=12)
    write_png(path, np.full((4, 5), 255, np.uint8))
    assert read_image(path, bit_depth=12).dtype == np.uint8


def test_digests_name_the_depth(twelve, make_frame, at) -> None:
    result = Detector(twelve, digests=True).score(at(make_frame(1), 12))
    assert result.digests is not None and result.digests.served["bit_depth"] == 12

"""What images show: copies whatever their file, near-copies of simulated sensors, empty images."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.errors import DataError
from edgead.images import read_image
from edgead.images.content import content_of, digest_of, levels
from edgead.images.copies import copies, near_copies
from edgead.images.image_set import examine

SIDE = 160


def part(seed: int, shape: tuple[int, ...] = (SIDE, SIDE + 40, 3)) -> np.ndarray:
    """A part of its own: coarse and fine random structure, in [20, 235]."""
    rng = np.random.default_rng(seed)
    channels = shape[2] if len(shape) == 3 else 1
    coarse = cv2.resize(rng.uniform(60, 180, (6, 7, channels)), shape[1::-1]).reshape(shape)
    fine = cv2.resize(rng.uniform(-30, 30, (40, 50)), shape[1::-1])
    return np.clip(coarse + fine.reshape(*shape[:2], *[1] * (len(shape) - 2)), 20, 235)


def shot(scene: np.ndarray, seed: int, noise: float = 2.0) -> np.ndarray:
    """The scene as a sensor sees it: with noise of this many levels of 255, 8 bits."""
    seen = scene + np.random.default_rng(seed).normal(0, noise, scene.shape)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


def groups(frames: list[np.ndarray]) -> list[int]:
    contents = [content_of(frame) for frame in frames]
    return near_copies(contents, levels(contents))


def sets(frames: list[np.ndarray], **options):
    names = [f"{index}.png" for index in range(len(frames))]
    return examine(names, [content_of(frame) for frame in frames], **options)


# -------------------------------------------------------------------------------------- copies


def test_the_same_pixels_in_other_files_are_copies(tmp_path: Path) -> None:
    """Packed otherwise, with other metadata, in another format, linked: Pillow decodes the same."""
    image = pytest.importorskip("PIL.Image")
    pixels = shot(part(1), 1)
    source = tmp_path / "a.jpg"
    cv2.imwrite(str(source), pixels, [cv2.IMWRITE_JPEG_QUALITY, 80])
    decoded = cv2.imread(str(source))
    written: dict[str, Callable[[Path], object]] = {
        "packed.png": lambda p: cv2.imwrite(str(p), decoded, [cv2.IMWRITE_PNG_COMPRESSION, 9]),
        "loose.png": lambda p: cv2.imwrite(str(p), decoded, [cv2.IMWRITE_PNG_COMPRESSION, 0]),
        "b.bmp": lambda p: cv2.imwrite(str(p), decoded),
        "c.tif": lambda p: cv2.imwrite(str(p), decoded),
        "d.ppm": lambda p: cv2.imwrite(str(p), decoded),
        "pillow.png": lambda p: image.fromarray(decoded[:, :, ::-1]).save(p, dpi=(72, 72)),
        "commented.jpg": lambda p: p.write_bytes(
            source.read_bytes()[:2] + b"\xff\xfe\x00\x06note" + source.read_bytes()[2:]
        ),
        "linked.jpg": lambda p: os.link(source, p),
        "soft.jpg": lambda p: p.symlink_to(source),
    }
    for name, write in written.items():
        write(tmp_path / name)
        same = image.open(io.BytesIO((tmp_path / name).read_bytes())).convert("RGB")
        assert np.array_equal(np.asarray(same)[:, :, ::-1], decoded), name  # an independent decoder
        assert digest_of(read_image(tmp_path / name)) == digest_of(read_image(source)), name


def test_grey_in_three_channels_is_grey_and_other_pixels_are_others() -> None:
    grey = shot(part(1, (70, 90)), 1)
    assert digest_of(np.repeat(grey[:, :, None], 3, axis=2)) == digest_of(grey)
    assert content_of(np.asfortranarray(grey)).digest == digest_of(grey) == content_of(grey).digest
    changed = grey.copy()
    changed[5, 5] ^= 1
    almost = np.repeat(grey[:, :, None], 3, axis=2)
    almost[1, 1, 2] ^= 1  # between the pixels that are looked at first
    others = [changed, grey[:-1], grey.reshape(90, 70), grey.astype(np.uint16), almost]
    assert len({digest_of(frame) for frame in [grey, *others]}) == len(others) + 1


@settings(max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_copies_of_any_multiset_are_grouped_with_the_first(which: list[int]) -> None:
    contents = [content_of(shot(part(k, (40, 50)), k)) for k in range(6)]
    assert copies([contents[k] for k in which]) == [which.index(k) for k in which]
    found = near_copies([contents[k] for k in which], [1.0] * len(which))
    assert found == [which.index(k) for k in which]


# --------------------------------------------------------------------------------- near-copies


@pytest.mark.parametrize("noise", [0.5, 2.0, 4.0])
def test_shots_of_parts_that_did_not_move_are_near_copies(noise: float) -> None:
    frames = [shot(part(k), 100 * k + i, noise) for i in range(4) for k in range(5)]
    assert groups(frames) == [0, 1, 2, 3, 4] * 4


@pytest.mark.parametrize("n", [2, 3, 12])
def test_shots_of_one_part_alone_are_near_copies(n: int) -> None:
    assert groups([shot(part(3), seed) for seed in range(n)]) == [0] * n


CHANGES = {
    "jpeg 60": lambda f: cv2.imdecode(cv2.imencode(".jpg", f, [1, 60])[1], -1),
    "jpeg 95": lambda f: cv2.imdecode(cv2.imencode(".jpg", f, [1, 95])[1], -1),
    "webp": lambda f: cv2.imdecode(cv2.imencode(".webp", f, [64, 85])[1], -1),
    "16 bits": lambda f: f.astype(np.uint16) * 257,
    "mirrored": lambda f: f[:, ::-1],
    "upside down": lambda f: f[::-1],
    "turned": lambda f: np.rot90(f),
    "turned back": lambda f: np.rot90(f, 3),
    "by half": lambda f: f[::-1, ::-1],
    "transposed": lambda f: f.swapaxes(0, 1),
    "mirrored, turned, noisy": lambda f: shot(np.rot90(f[:, ::-1]).astype(float), 9),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_near_copies(change: str) -> None:
    frames = [shot(part(k), k) for k in range(8)]
    changed = [np.ascontiguousarray(CHANGES[change](frame)) for frame in frames[:4]]
    assert groups(frames + changed) == [*range(8), 0, 1, 2, 3]


def test_parts_that_differ_a_little_are_not_near_copies() -> None:
    """Aligned parts of one drawing, each with a small structure of its own; and fine textures."""
    aligned = []
    for seed in range(12):
        scene = part(0).copy()
        rng = np.random.default_rng(seed)
        scene += cv2.resize(rng.normal(0, 6, (12, 15, 3)), scene.shape[1::-1])
        aligned.append(shot(scene, seed))
    assert groups(aligned) == list(range(12))
    textures = [shot(np.full((200, 200, 3), 120.0), seed, noise=20.0) for seed in range(12)]
    assert groups(textures) == list(range(12))


def test_twelve_bits_in_sixteen_are_measured_by_their_own_scale() -> None:
    frames = [shot(part(k), k).astype(np.uint16) * 16 for k in range(8)]
    assert groups(frames) == list(range(8))
    assert levels([content_of(frames[0])]) == [4095 / 255]
    assert levels([content_of(frames[0])], 16) == [65535 / 255]


# ------------------------------------------------------------------------------------- the set


def test_one_picture_many_times_is_refused() -> None:
    with pytest.raises(DataError, match=r"all 12 images are copies of one picture.*0\.png.*parts"):
        sets([shot(part(1), 1)] * 12)
    assert sets([shot(part(1), 1)]).warnings == ()  # a single image is not a copy


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_sets_that_show_nothing_are_refused(dtype: type) -> None:
    rng, white = np.random.default_rng(0), np.iinfo(dtype).max
    flat = [np.full((50, 60), value * (white // 255), dtype) for value in (0, 7, 130, 255)]
    cap_on = [rng.integers(0, 3, (50, 60, 3)).astype(dtype) for _ in range(4)]
    for frames in (flat, cap_on, flat + cap_on):
        with pytest.raises(DataError, match=r"of one value, or nearly.*0\.png.*cap, light"):
            sets(frames)


def test_one_part_among_images_of_one_value_is_refused() -> None:
    """What is learnt from or what calibrates would show nothing."""
    flat = [np.full((SIDE, SIDE), value, np.uint8) for value in (0, 255)]
    for frames in ([shot(part(1), 1), *flat], [shot(part(1), 1)] * 2 + flat):
        with pytest.raises(DataError, match=r"2 of \d images are of one value.*the rest is one"):
            sets(frames)
    assert len(sets([shot(part(1), 1), shot(part(2), 2), *flat]).warnings) == 1


def test_images_that_show_little_are_counted_and_named() -> None:
    good = [shot(part(k), k) for k in range(20)]
    flat = np.full((SIDE, SIDE), 90, np.uint8)
    dark = (good[0] // 25).astype(np.uint8)
    bright = np.clip(good[1].astype(int) + 130, 0, 255).astype(np.uint8)
    assert sets(good).warnings == ()
    said = sets([*good, flat, dark, bright]).warnings
    assert len(said) == 3
    assert said[0].startswith("1 of 23 images is of one value, or nearly (20.png)")
    assert said[1].startswith("1 of 23 images is black (21.png)") and "--bit-depth" not in said[1]
    assert said[2].startswith("1 of 23 images is saturated") and "(22.png)" in said[2]
    assert all("threshold" in each for each in said)


def test_twelve_bits_are_neither_black_nor_saturated_but_by_what_is_declared() -> None:
    frames = [shot(part(k), k).astype(np.uint16) * 16 for k in range(5)]
    assert sets(frames).warnings == sets(frames, bit_depth=12).warnings == ()
    (black,) = sets([frame // 4 * 3 for frame in frames], bit_depth=16).warnings
    assert black.startswith("5 of 5 images are black (0.png, 1.png, 2.png, …)")
    bright = [np.minimum(frame.astype(int) + 2200, 4095).astype(np.uint16) for frame in frames]
    (saturated,) = sets(bright, bit_depth=12).warnings
    assert "saturated" in saturated


def test_copies_say_what_they_do_to_the_threshold() -> None:
    frames = [shot(part(k), k) for k in range(6)] * 10
    found = sets(frames)
    assert found.same == found.alike == (*range(6),) * 10
    (said,) = found.warnings
    assert said.startswith("60 images are 6 different ones: 6.png of 0.png, 7.png of 1.png")
    assert "no rate below 1/7 = 14.3 %; 60 different ones, 1/61 = 1.64 %" in said
    (said,) = sets(frames, calibration=0.2).warnings
    assert "of about 1 of them to calibrate with can promise no rate below 1/2 = 50 %" in said


def test_near_copies_say_their_share_and_are_not_looked_for_in_videos() -> None:
    frames = [shot(part(k % 6), k) for k in range(60)]
    found = sets(frames)
    assert found.same == (*range(60),) and found.alike == (*range(6),) * 10
    (said,) = found.warnings
    assert said.startswith("54 of 60 images (90%) nearly repeat others")
    assert "count as 6 parts, so the threshold can promise no rate below 1/7 = 14.3 %" in said
    assert sets(frames, near=False).alike == (*range(60),)
    assert sets(frames, near=False).warnings == ()


def test_shots_of_one_scene_count_each_and_it_is_said() -> None:
    found = sets([shot(part(1), seed) for seed in range(20)])
    assert found.alike == (*range(20),)
    (said,) = found.warnings
    assert "one part or scene that did not move" in said and "threshold" in said


@pytest.mark.parametrize("count", [1, 2, 5])
def test_sizes_are_counted_and_named(count: int) -> None:
    """The most frequent first; (height, width)."""
    good = [shot(part(k), k) for k in range(8)]
    others = [shot(part(9 + k, (100 + k, 120, 3)), k) for k in range(count)]
    flat = np.full((33, 44), 90, np.uint8)  # of which something else is said
    (_, said) = sets([*others, *good, flat]).warnings[::-1]
    assert said.startswith(
        f"The images are of {count + 1} sizes (height x width): 8 of 160 x 200 ("
    )
    shown = [f"1 of {100 + k} x 120 ({k}.png)" for k in range(count)]
    assert ", ".join(shown[:2]) in said and ("…. All" in said) == (count > 2)
    assert "33 x 44" not in said and "cut them alike" in said


def test_colours_and_depths_are_counted_and_named() -> None:
    colour = [shot(part(k), k) for k in range(5)]
    grey = [np.ascontiguousarray(np.repeat(shot(part(9 + k), k)[..., :1], 3, 2)) for k in range(2)]
    deep = [shot(part(20), 20).astype(np.uint16) * 256]
    (said,) = sets([*colour, *grey, *deep]).warnings
    assert "5 colour of 8 bits (0.png" in said and "2 grey of 8 bits (5.png, 6.png)" in said
    assert "1 colour of 16 bits (7.png)" in said and "as that camera makes them" in said


def test_names_of_messages_are_on_one_line() -> None:
    frames = [shot(part(k), k) for k in range(3)]
    contents = [content_of(frame) for frame in [*frames, frames[0]]]
    (said,) = examine(["a\nwarning: b", "b", "c", "d\x1b[31m"], contents).warnings
    assert "\n" not in said and "\x1b" not in said

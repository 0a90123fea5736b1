"""Division by content: no content on two sides, copies once, whatever the names and categories."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from edgead_training.data import Dataset, Sample, check_images, divide, open_dataset
from edgead_training.data.division import held_apart, overlap_with_test
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.errors import DataError
from edgead.images.content import Content, content_of

KINDS = 6  # different parts


@cache
def looked_at(part: int, shot: int = 0) -> Content:
    """A part; every shot above 0 has noise of its own."""
    rng = np.random.default_rng(part)
    scene = cv2.resize(rng.uniform(30, 220, (6, 7, 3)), (160, 140))
    noise = np.random.default_rng((part, shot)).normal(0, 2, scene.shape) if shot else 0
    return content_of(np.clip(np.rint(scene + noise), 0, 255).astype(np.uint8))


IMAGES = st.tuples(st.integers(0, KINDS - 1), st.integers(0, 2), st.sampled_from(["", "b", "c"]))


def sets(images) -> tuple[Dataset, list[Content], dict[str, int]]:
    """A data set of (part, shot, category); its contents; which part each name shows."""
    samples = [
        Sample(Path("x"), name=f"{category}/{index:02}.png".lstrip("/"), category=category)
        for index, (_, _, category) in enumerate(images)
    ]
    pairs = sorted(zip(samples, images, strict=True), key=lambda pair: pair[0].name)
    ordered = tuple(sample for sample, _ in pairs)
    contents = [looked_at(part, shot) for _, (part, shot, _) in pairs]
    shown = {sample.name: part for sample, (part, _, _) in pairs}
    return Dataset(Path("root"), "folder", ordered), contents, shown


@settings(max_examples=150)
@given(st.lists(IMAGES, min_size=4, max_size=30), st.integers(0, 9), st.floats(0.05, 0.9))
def test_no_content_is_on_two_sides_and_each_calibrates_once(images, seed, fraction) -> None:
    data, contents, shown = sets(images)
    try:
        found = divide(data, contents, seed, fraction)
    except DataError:
        by_category = defaultdict(set)
        for (part, _, category), _ in zip(images, contents, strict=True):
            by_category[category].add(part)
        # Categories of one part, or that show each other's parts, cannot be divided.
        assert min(map(len, by_category.values())) < 2 or len(by_category) > 1
        return
    learnt, held_out = found.parts
    digest = {s.name: c.digest.hex() for s, c in zip(data.train, contents, strict=True)}
    sides = [{digest[s.name] for s in side} for side in found.parts]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == len(held_out) and len(sides[0]) == len(learnt)  # none twice
    assert found.digests == tuple(tuple(digest[s.name] for s in side) for side in found.parts)
    assert {s.name for s in learnt + held_out} | set(found.left_out) == set(shown)
    if len({part for part, _, _ in images}) > 1 and len({c for _, _, c in images}) == 1:
        parts = [shown[s.name] for s in held_out]
        assert len(set(parts)) == len(parts)  # near-copies calibrate once, too
        assert not set(parts) & {shown[s.name] for s in learnt}


def test_sixty_files_of_six_images() -> None:
    data, contents, _ = sets([(i % 6, 0, "") for i in range(60)])
    found = divide(data, contents, 0, 0.2)
    assert [len(side) for side in found.parts] == [5, 1]
    assert len(found.left_out) == 54
    assert "60 images are 6 different ones" in found.warnings[0]


def test_a_set_without_copies_is_divided_as_by_names_alone() -> None:
    from edgead_training.data import split

    data, contents, _ = sets([(i, 0, "") for i in range(40)])
    found = divide(data, contents, 3, 0.3)
    assert found.parts == split(data.train, 3, 0.3)
    assert found.left_out == found.warnings == ()


def test_the_user_says_what_a_part_is() -> None:
    """Near-copies of different parts by their names count each; copies do not."""
    names = [f"p{index}_a" for index in range(12)]
    samples = tuple(Sample(Path("x"), name=f"{name}.png") for name in sorted(names))
    contents = [looked_at(index % 2, 1 + index // 2) for index in range(11)] + [looked_at(0, 1)]
    data = Dataset(Path("r"), "folder", samples)
    one_each = divide(data, contents, 0, 0.25, group="(.+)")
    assert [len(side) for side in one_each.parts] == [8, 3]
    assert len(one_each.left_out) == 1
    (said,) = one_each.warnings
    assert said.startswith("12 images are 11 different ones")
    assert len(divide(data, contents, 0, 0.25).parts[1]) == 1
    assert "--group '(.+)'" in divide(data, contents, 0, 0.25).warnings[1]


def test_near_copies_within_a_part_that_the_user_names_count_once() -> None:
    """Ten shots of each of six parts promise what six images do."""
    data, contents, shown = sets([(part, shot, "") for part in range(6) for shot in range(3)])
    data = Dataset(
        data.root,
        data.layout,
        tuple(Sample(s.path, name=f"part{shown[s.name]}_{s.name}") for s in data.train),
    )
    train, calibration = divide(data, contents, 0, 0.5, group="part([0-9])").parts
    parts = [sample.name[:5] for sample in calibration]
    assert len(parts) == len(set(parts)) == 3
    assert {sample.name[:5] for sample in train}.isdisjoint(parts)
    every = divide(data, contents, 0, 0.5, group="(.+)")  # each shows another part, says the user
    assert len(every.parts[0]) + len(every.parts[1]) == 18


@pytest.mark.parametrize("shots", [2, 3, 4])
def test_few_shots_are_of_different_parts(shots) -> None:
    data, contents, shown = sets([(part, shot, "") for part in range(6) for shot in range(3)])
    for seed in range(5):
        train, _ = divide(data, contents, seed, 0.2, shots=shots).parts
        assert len({shown[sample.name] for sample in train}) == len(train) == shots


@pytest.mark.parametrize("side", [64, 100, 127])
def test_copies_of_small_images_in_another_encoding_are_found(side: int) -> None:
    """Whose thumbnails are hardly smaller than they are, so that noise does not average out."""
    rng = np.random.default_rng(side)
    parts = [cv2.resize(rng.uniform(30, 220, (6, 7)), (side, side)) for _ in range(12)]
    parts = [np.rint(part + rng.normal(0, 2, part.shape)).clip(0, 255) for part in parts]
    images = [part.astype(np.uint8) for part in parts]
    jpegs = [cv2.imdecode(cv2.imencode(".jpg", image)[1], 0) for image in images]
    samples = [Sample(Path("x"), name=f"{i:02}.x") for i in range(24)]
    data = Dataset(Path("root"), "folder", tuple(samples))
    contents = [content_of(image) for image in images + jpegs]
    train, calibration = divide(data, contents, 0, 0.5).parts
    learnt, held_out = ([int(s.name[:2]) % 12 for s in side] for side in (train, calibration))
    assert len(held_out) == len(set(held_out)) == 6 and set(learnt).isdisjoint(held_out)


def test_parts_by_their_names_stay_whole() -> None:
    """Part 1 of the names and part 2 share an image: it is left of one of them."""
    names = ["p1_a", "p1_b", "p2_a", "p2_b", "p3_a", "p3_b", "p4_a", "p4_b"]
    shown = [0, 1, 1, 2, 3, 4, 5, 6]
    samples = tuple(Sample(Path("x"), name=f"{name}.png") for name in names)
    contents = [looked_at(part, index) for index, part in enumerate(shown)]
    for seed in range(8):
        found = divide(Dataset(Path("r"), "folder", samples), contents, seed, 0.4, group="p([0-9])")
        sides = [{s.name[:2] for s in side} for side in found.parts]
        assert not sides[0] & sides[1]
        shown_in = [
            {found.digests[side][i] for i, _ in enumerate(found.parts[side])} for side in (0, 1)
        ]
        assert not shown_in[0] & shown_in[1]


def test_one_picture_is_refused_and_one_scene_is_not() -> None:
    data, contents, _ = sets([(2, 0, "")] * 12)
    with pytest.raises(DataError, match="all 12 images are copies of one picture"):
        divide(data, contents, 0, 0.2)
    data, _, _ = sets([(2, 1, "")] * 12)
    found = divide(data, [looked_at(2, shot) for shot in range(1, 13)], 0, 0.25)
    assert [len(side) for side in found.parts] == [9, 3]
    assert "one part or scene" in found.warnings[0]


def test_a_category_of_copies_is_named() -> None:
    data, contents, _ = sets([(0, 0, "b"), (1, 0, "b"), (2, 0, "b"), (3, 0, "c"), (1, 0, "c")])
    with pytest.raises(DataError, match=r"images of c are copies .* but for 1; .* two of its own"):
        divide(data, contents, 0, 0.3)


def test_frames_of_a_camera_resemble_each_other() -> None:
    data, _, _ = sets([(2, 1, "")] * 12)
    video = Dataset(data.root, "frames", data.train)
    contents = [looked_at(part, shot) for part in (2, 3) for shot in range(1, 7)]
    found = divide(video, contents, 0, 0.25)
    assert [len(side) for side in found.parts] == [9, 3]
    assert found.warnings == ()


def test_a_run_of_before_loses_the_copies_among_its_calibration_images() -> None:
    data, contents, _ = sets(
        [(0, 0, ""), (1, 0, ""), (2, 0, ""), (0, 0, ""), (3, 0, ""), (3, 0, "")]
    )
    by_name = {s.name: c for s, c in zip(data.train, contents, strict=True)}
    found = held_apart(data, (data.train[:3], data.train[3:]), by_name)
    assert [s.name for s in found.parts[0]] == ["00.png", "01.png", "02.png"]
    assert [s.name for s in found.parts[1]] == ["04.png"]
    assert found.left_out == ("03.png", "05.png")
    assert found.warnings[0].startswith("2 of 3 calibration images of this run are copies")
    with pytest.raises(DataError, match=r"all 1 calibration images .* train again"):
        held_apart(data, (data.train[:3], data.train[3:4]), by_name)


def test_test_images_that_are_learnt_are_said(tmp_path, save_image, make_part) -> None:
    frames = [make_part(20 + 5 * i, 100 + 9 * i) for i in range(8)]
    for i, frame in enumerate(frames):
        save_image(tmp_path / f"train/good/{i}.png", frame)
    save_image(tmp_path / "test/good/again.bmp", frames[2])  # in another file
    save_image(tmp_path / "test/good/new.png", make_part(77, 13))
    save_image(tmp_path / "test/dent/bad.png", frames[5])
    (tmp_path / "test/good/broken.png").write_bytes(b"no image")
    data = open_dataset(tmp_path)
    (said,) = overlap_with_test(data, check_images(data.train), iter)
    assert said.startswith("2 of 4 test images, such as test/dent/bad.png, test/good/again.bmp,")
    assert "1 of them labelled as defects, are copies of images to learn from" in said

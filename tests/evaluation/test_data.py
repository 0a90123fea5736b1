"""Data sets on disk: both layouts, the split, the digest, masks, and what bad input gets."""

from __future__ import annotations

import os
import random
import shutil
import unicodedata

import numpy as np
import pytest
from edgead_training.data import (
    Sample,
    check_images,
    digest,
    open_dataset,
    read_mask,
    split,
)

from edgead.errors import DataError
from edgead.images import read_image


def test_mvtec_layout(mvtec):
    dataset = open_dataset(mvtec)
    assert dataset.layout == "mvtec"
    assert [s.name for s in dataset.train] == [f"train/good/{i}.png" for i in range(4)]
    assert {s.label for s in dataset.train} == {"good"}
    found = {s.name: (s.label, s.mask and s.mask.name) for s in dataset.test}
    assert found == {
        "test/good/0.png": ("good", None),
        "test/good/1.png": ("good", None),
        "test/good/2.png": ("good", None),
        "test/scratch/0.png": ("scratch", "0_mask.png"),
        "test/scratch/1.png": ("scratch", "1_mask.png"),
        "test/dent/0.png": ("dent", None),
    }
    assert dataset.defects == ("dent", "scratch")
    assert "3 good, 3 defective images (kinds: 2, masks: 2)" in dataset.summary()


def test_folder_layout_is_nested_and_blind_to_what_is_no_image(tmp_path, save_image, make_part):
    for name in ("a.png", "B.PNG", "deep/er/c.JPG", ".hidden.png", ".cache/d.png"):
        save_image(tmp_path / name, make_part(9))
    (tmp_path / "notes.txt").write_text("not an image")
    _refused(tmp_path, "directly in it (2 images), deep/er/ (1)", "--layout folder", "--category")
    dataset = open_dataset(tmp_path, layout="folder")
    assert dataset.layout == "folder"
    assert [s.name for s in dataset.train] == ["B.PNG", "a.png", "deep/er/c.JPG"]
    assert dataset.test == ()
    assert "no test set" in dataset.summary()
    assert dataset.left_out == {".txt": 1, "hidden": 2}
    assert dataset.notes() == [
        "directly in it (2 images), deep/er/ (1) taken as good",
        "3 entries left out: 2 hidden, 1 .txt",
    ]


def test_a_lone_good_folder_is_a_folder_of_good_images(tmp_path, save_image, make_part):
    for index in range(2):
        save_image(tmp_path / f"good/{index}.png", make_part(9))
    assert [s.name for s in open_dataset(tmp_path).train] == ["good/0.png", "good/1.png"]


def test_links_are_followed_once(tmp_path, save_image, make_part):
    real = tmp_path / "elsewhere"
    for index in range(2):
        save_image(real / f"{index}.png", make_part(9))
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(real)
    (real / "back").symlink_to(root)  # a loop
    assert [s.name for s in open_dataset(root).train] == ["linked/0.png", "linked/1.png"]


def test_colour_grey_and_16_bit_images_of_every_size(tmp_path, save_image):
    rng = np.random.default_rng(0)
    images = {
        "a.png": rng.integers(0, 256, (5, 9, 3), dtype=np.uint8),
        "b.png": rng.integers(0, 256, (31, 7), dtype=np.uint8),
        "c.png": rng.integers(0, 65536, (4, 4), dtype=np.uint16),
        "d.tiff": rng.integers(0, 65536, (6, 3, 3), dtype=np.uint16),
    }
    for name, image in images.items():
        save_image(tmp_path / name, image)
    samples = open_dataset(tmp_path).train
    steps = []
    check_images(samples, lambda done, total: steps.append((done, total)))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for sample in samples:
        np.testing.assert_array_equal(read_image(sample.path), images[sample.name])


# ------------------------------------------------------------------------------ split and digest


def _samples(n: int) -> list[Sample]:
    return [Sample(path=f"/x/{i}.png", name=f"train/good/{i:03}.png") for i in range(n)]


def test_split_knows_no_order_and_no_place(tmp_path):
    samples = _samples(50)
    train, calibration = split(samples, seed=5)
    assert (len(train), len(calibration)) == (40, 10)
    assert set(train) | set(calibration) == set(samples)
    shuffled = samples[:]
    random.Random(1).shuffle(shuffled)
    assert split(shuffled, seed=5) == (train, calibration)
    moved = [Sample(path=tmp_path / s.name, name=s.name) for s in samples]
    assert [s.name for s in split(moved, seed=5)[1]] == [s.name for s in calibration]
    assert split(samples, seed=6)[1] != calibration


def test_split_is_the_same_on_every_machine():
    """`printf '0\\0train/good/%03d.png' 3 | sha256sum` is the least of the six, 4 the next."""
    _, calibration = split(_samples(6), seed=0, calibration_fraction=0.34)
    assert [s.name for s in calibration] == ["train/good/003.png", "train/good/004.png"]


@pytest.mark.parametrize(
    ("n", "fraction", "n_calibration"), [(2, 0.01, 1), (2, 0.99, 1), (3, 0.2, 1), (10, 0.25, 2)]
)
def test_split_leaves_at_least_one_on_each_side(n, fraction, n_calibration):
    train, calibration = split(_samples(n), 0, fraction)
    assert (len(train), len(calibration)) == (n - n_calibration, n_calibration)


def test_split_refuses_one_image_and_fractions_that_are_none():
    with pytest.raises(DataError, match="at least two"):
        split(_samples(1), 0)
    with pytest.raises(ValueError, match="calibration_fraction"):
        split(_samples(9), 0, 1.0)


def test_digest_follows_content_names_labels_and_masks_but_not_the_place(mvtec, tmp_path):
    def of(root):
        return digest(open_dataset(root).test)

    before = of(mvtec)
    copy = tmp_path / "another place"
    shutil.copytree(mvtec, copy)
    assert of(copy) == before
    assert digest(reversed(open_dataset(mvtec).test)) == before
    (copy / "test/good/0.png").rename(copy / "test/good/9.png")
    assert of(copy) != before
    (copy / "test/good/9.png").rename(copy / "test/good/0.png")
    assert of(copy) == before
    shutil.copyfile(mvtec / "test/good/1.png", copy / "test/good/0.png")
    assert of(copy) != before
    shutil.copyfile(mvtec / "test/good/0.png", copy / "test/good/0.png")
    shutil.copyfile(mvtec / "test/good/0.png", copy / "ground_truth/scratch/0_mask.png")
    assert of(copy) != before


def test_names_are_the_same_however_the_file_system_spells_them(tmp_path, save_image, make_part):
    decomposed = unicodedata.normalize("NFD", "gut_ä.png")
    for name in (decomposed, "b.png"):
        save_image(tmp_path / name, make_part(9))
    assert open_dataset(tmp_path).train[1].name == unicodedata.normalize("NFC", decomposed)


def test_masks_and_kinds_are_found_however_they_are_spelt(mvtec):
    composed, decomposed = (unicodedata.normalize(form, "brèche") for form in ("NFC", "NFD"))
    (mvtec / "test/scratch").rename(mvtec / "test" / composed)
    (mvtec / "ground_truth/scratch").rename(mvtec / "ground_truth" / decomposed)
    found = [s for s in open_dataset(mvtec).test if s.label == composed]
    assert [s.mask and s.mask.name for s in found] == ["0_mask.png", "1_mask.png"]


# ------------------------------------------------------------------------------------------ masks


def test_read_mask(mvtec, save_image, make_part):
    scratch = next(s for s in open_dataset(mvtec).test if s.label == "scratch")
    expected = make_part(0, 255) > 0
    np.testing.assert_array_equal(read_mask(scratch, (16, 20)), expected)
    save_image(scratch.mask, make_part(0, 1))  # some write 0 and 1
    np.testing.assert_array_equal(read_mask(scratch, (16, 20)), expected)
    save_image(scratch.mask, np.dstack([make_part(0, 255)] * 3))  # or colour
    np.testing.assert_array_equal(read_mask(scratch, (16, 20)), expected)
    good = next(s for s in open_dataset(mvtec).test if s.is_good)
    assert read_mask(good, (3, 5)).shape == (3, 5)
    assert not read_mask(good, (3, 5)).any()


def test_masks_may_be_named_like_their_image(mvtec):
    truth = mvtec / "ground_truth/scratch"
    (truth / "0_mask.png").rename(truth / "0.png")
    masks = [s.mask and s.mask.name for s in open_dataset(mvtec).test if s.label == "scratch"]
    assert masks == ["0.png", "1_mask.png"]


# -------------------------------------------------------------------------------------- bad input


def _refused(path, *parts: str, purpose: str = "train") -> None:
    with pytest.raises(DataError) as caught:
        open_dataset(path, purpose=purpose)
    for text in parts:
        assert text in str(caught.value)


def test_missing_folder_file_and_empty_folder(tmp_path, save_image, make_part):
    _refused(tmp_path / "nowhere", str(tmp_path / "nowhere"), "does not exist", "give a folder")
    file = save_image(tmp_path / "one.png", make_part(1))
    _refused(file, str(file), "is a file", "give the folder")
    (tmp_path / "empty").mkdir()
    _refused(tmp_path / "empty", "holds no image", "at least two", "png")


@pytest.mark.parametrize("layout", ["folder", "train/good"])
def test_one_image_only(tmp_path, save_image, make_part, layout):
    save_image(tmp_path / "x" / layout / "a.png", make_part(1))
    _refused(tmp_path / "x", layout.split("/")[0], "one image", "at least two", "calibrate")


def test_mvtec_without_training_images_can_only_be_evaluated(mvtec):
    shutil.rmtree(mvtec / "train")
    _refused(mvtec, "no train/good", str(mvtec / "train/good"))
    assert len(open_dataset(mvtec, purpose="evaluate").test) == 6


def test_evaluation_wants_a_test_set(tmp_path, save_image, make_part):
    for index in range(2):
        save_image(tmp_path / f"{index}.png", make_part(1))
    _refused(tmp_path, "no test set", "test/good/", "ground_truth/", purpose="evaluate")
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    _refused(tmp_path, "no test set", purpose="evaluate")


def test_good_beside_other_images_is_learnt_alone(tmp_path, save_image, make_part):
    for name in ("good/0.png", "good/1.png", "bad/2.png"):
        save_image(tmp_path / name, make_part(1))
    assert [s.name for s in open_dataset(tmp_path).train] == ["good/0.png", "good/1.png"]
    with pytest.raises(DataError, match="bad/ is evidently not a folder of good parts"):
        open_dataset(tmp_path, layout="folder")


def test_images_directly_in_test(mvtec, save_image, make_part):
    save_image(mvtec / "test/loose.png", make_part(1))
    _refused(mvtec, "loose.png", "directly", "test/<defect>/")


def test_image_without_mask_among_others_that_have_one(mvtec, save_image, make_part):
    save_image(mvtec / "test/scratch/new.png", make_part(1))
    wanted = mvtec / "ground_truth/scratch/new_mask.png"
    _refused(mvtec, str(mvtec / "test/scratch/new.png"), "has no mask", f"expected {wanted}")


def test_mask_without_image(mvtec, save_image, make_part):
    orphan = save_image(mvtec / "ground_truth/scratch/7_mask.png", make_part(0))
    _refused(mvtec, str(orphan), "mask without image", str(mvtec / "test/scratch/7"))
    orphan.unlink()
    orphan = save_image(mvtec / "ground_truth/hole/0_mask.png", make_part(0))
    _refused(mvtec, str(orphan), "mask without image", str(mvtec / "test/hole"))


def test_two_masks_for_an_image_and_lossy_masks(mvtec, save_image, make_part):
    second = save_image(mvtec / "ground_truth/scratch/0.png", make_part(0, 255))
    _refused(mvtec, str(second), "same image")
    second.unlink()
    lossy = save_image(mvtec / "ground_truth/scratch/2_mask.jpg", make_part(0, 255))
    _refused(mvtec, str(lossy), "lossy", ".png")


def test_mask_of_another_size(mvtec, save_image, make_part):
    save_image(mvtec / "ground_truth/scratch/1_mask.png", make_part(0, 255, size=(20, 16)))
    samples = open_dataset(mvtec).test
    for look in (check_images, lambda s: [read_mask(x, (16, 20)) for x in s if x.mask]):
        with pytest.raises(DataError, match=r"1_mask\.png is 20x16 .* is 16x20"):
            look(samples)


def test_unreadable_and_truncated_images_are_counted_and_named(mvtec):
    whole = (mvtec / "train/good/1.png").read_bytes()
    (mvtec / "train/good/1.png").write_bytes(whole[: len(whole) // 2])
    (mvtec / "train/good/2.png").write_bytes(b"")
    (mvtec / "train/good/3.png").write_text("not an image")
    with pytest.raises(DataError) as caught:
        check_images(open_dataset(mvtec).train)
    message = str(caught.value)
    assert message.startswith("3 of 4 images cannot be used; replace or remove them:")
    for index in (1, 2, 3):
        assert str(mvtec / f"train/good/{index}.png") in message
    assert "0.png" not in message


def test_a_float_image(tmp_path, save_image, make_part):
    save_image(tmp_path / "a.png", make_part(1))
    save_image(tmp_path / "b.tiff", np.full((4, 4), np.nan, np.float32))
    with pytest.raises(DataError, match=r"b\.tiff .*float32.*uint8 or uint16"):
        check_images(open_dataset(tmp_path).train)


def test_unreadable_mask(mvtec):
    (mvtec / "ground_truth/scratch/1_mask.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"1_mask\.png"):
        check_images(open_dataset(mvtec).test)


def test_a_defect_without_mask_has_no_pixels_to_give(mvtec):
    dent = next(s for s in open_dataset(mvtec).test if s.label == "dent")
    with pytest.raises(DataError, match="has no mask"):
        read_mask(dent, (16, 20))


def test_folder_without_permission(tmp_path, save_image, make_part, monkeypatch):
    save_image(tmp_path / "locked/a.png", make_part(1))
    scandir = os.scandir

    def refuse(path):  # chmod would not stop root, whom CI often is
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    _refused(tmp_path, str(tmp_path / "locked"), "cannot be listed", "permissions")


def test_an_image_that_vanishes_is_a_sentence(mvtec):
    samples = open_dataset(mvtec).train
    samples[0].path.unlink()
    with pytest.raises(DataError, match=r"0\.png cannot be read"):
        digest(samples)

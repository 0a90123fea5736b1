"""The layout "frames": ShanghaiTech's folders, labels by the order of the frames."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from edgead_training.data import open_dataset

from edgead.errors import DataError


@pytest.fixture
def shanghai(tmp_path, save_image, make_part):
    """One training video of 3 frames; test videos 01_01 (2 frames) and 01_02 (11: 8.jpg, 9.jpg …).

    The last but one frame of 01_02 is the anomalous one.
    """
    root = tmp_path / "shanghaitech"
    for number in range(3):
        save_image(root / f"training/frames/01_001/{number:03d}.jpg", make_part(50))
    for number in range(2):
        save_image(root / f"testing/frames/01_01/{number:03d}.jpg", make_part(50))
    for number in range(1, 12):
        save_image(root / f"testing/frames/01_02/{number}.jpg", make_part(50))
    masks = root / "testing/test_frame_mask"
    masks.mkdir()
    np.save(masks / "01_01.npy", np.zeros(2, np.int8))
    np.save(masks / "01_02.npy", np.array([0] * 9 + [1, 0]))
    return root


def test_frames_and_labels_are_found(shanghai):
    dataset = open_dataset(shanghai)
    assert dataset.layout == "frames"
    assert [sample.name for sample in dataset.train] == [
        f"training/frames/01_001/00{number}.jpg" for number in range(3)
    ]
    assert len(dataset.test) == 13
    assert dataset.defects == ("anomalous",)


def test_labels_follow_the_numbers_not_the_alphabet(shanghai):
    """As text, 10.jpg comes before 2.jpg, and the label would fall on 8.jpg."""
    odd = [sample.name for sample in open_dataset(shanghai).test if not sample.is_good]
    assert odd == ["testing/frames/01_02/10.jpg"]


def test_labels_belong_to_a_video_however_its_name_is_composed(shanghai):
    testing = shanghai / "testing"
    (testing / "frames/01_02").rename(testing / "frames" / unicodedata.normalize("NFC", "gä"))
    labels = unicodedata.normalize("NFD", "gä.npy")
    (testing / "test_frame_mask/01_02.npy").rename(testing / "test_frame_mask" / labels)
    assert sum(not sample.is_good for sample in open_dataset(shanghai).test) == 1


def test_a_test_set_alone_can_be_evaluated(shanghai):
    for path in sorted((shanghai / "training").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (shanghai / "training/videos").mkdir()
    assert len(open_dataset(shanghai, purpose="evaluate").test) == 13
    with pytest.raises(DataError, match=r"training/frames holds no image .* edgead frames VIDEO"):
        open_dataset(shanghai)


def mask(root):
    return root / "testing/test_frame_mask/01_02.npy"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda r: np.save(mask(r), np.zeros(10, int)), "10 labels and .* has 11 frames"),
        (lambda r: np.save(mask(r), np.full(11, 2)), "holds something else"),
        (lambda r: np.save(mask(r), np.zeros((11, 1))), "holds something else"),
        (lambda r: np.save(mask(r), np.array([0.0] * 10 + [np.nan])), "holds something else"),
        (lambda r: np.save(mask(r), np.array([None] * 11), allow_pickle=True), "cannot be read"),
        (lambda r: mask(r).write_bytes(b"\x93NUMPY"), "cannot be read"),
        (lambda r: mask(r).write_bytes(b""), "cannot be read"),
        (lambda r: mask(r).unlink(), "is missing; expected a .npy file"),
        (lambda r: np.save(mask(r).with_name("01_03.npy"), np.zeros(3)), "a video without frames"),
        (lambda r: (r / "testing/frames/02").mkdir(), "holds no frames"),
        (
            lambda r: (r / "testing/frames/01_01/000.jpg").rename(r / "testing/frames/0.jpg"),
            "has 2 labels and .* has 1 frames",
        ),
        (
            lambda r: (r / "training/frames/01_001/000.jpg").rename(r / "training/frames/0.jpg"),
            "lies directly in .* a folder of its own",
        ),
    ],
)
def test_what_does_not_fit_is_refused(shanghai, damage, said):
    damage(shanghai)
    with pytest.raises(DataError, match=said):
        open_dataset(shanghai, purpose="evaluate")

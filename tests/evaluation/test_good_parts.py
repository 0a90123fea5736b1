"""What lies below a folder of good parts, and evidently is not of good parts, is never learnt."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgead_training.data import open_dataset
from edgead_training.data.words import meaning

from edgead.errors import DataError
from edgead.images.mark import marked

TOPS = {
    "mvtec": ("train/good", ""),
    "mvtec3d": ("train/good/rgb", ""),
    "oneclass": ("train/disc", "disc"),
}
EVIDENT = ["NG", "defect", "rejected", "Not OK", "不良品", "mask", "labels", "test", "a/NG/b"]
IN_DOUBT = ["to_check", "doubtful", "未確認", "Nacharbeit", "deleted", "Trash", "heatmaps"]


def _read(root: Path, **options) -> set[str]:
    return {sample.name for sample in open_dataset(root, **options).train}


def _grow(put, layout: str, *names: str) -> tuple[Path, dict]:
    top, category = TOPS[layout]
    root = put(f"{top}/0.png", f"{top}/1.png", *(f"{top}/{name}" for name in names))
    if layout == "oneclass":
        put("train/ring/0.png")
    return root, {"category": category} if category else {}


@pytest.mark.parametrize("layout", TOPS)
@pytest.mark.parametrize("inner", EVIDENT)
def test_folders_that_say_otherwise_inside_one_of_good_parts(put, layout, inner):
    root, options = _grow(put, layout, f"{inner}/7.png")
    for more in ({}, {"layout": layout}):
        with pytest.raises(DataError, match="is evidently not a folder of good parts") as caught:
            open_dataset(root, **options, **more)
        assert f"{inner}/ (1)" in str(caught.value)


@pytest.mark.parametrize("inner", IN_DOUBT)
def test_folders_in_doubt_are_learnt_only_where_the_user_insists(put, inner):
    root, _ = _grow(put, "mvtec", f"{inner}/7.png")
    with pytest.raises(DataError, match="or give --layout mvtec if all of them are good"):
        open_dataset(root)
    assert f"train/good/{inner}/7.png" in _read(root, layout="mvtec")


@pytest.mark.parametrize("inner", IN_DOUBT)
def test_folders_in_doubt_are_left_aside_where_folders_are_sorted(put, inner):
    root = put("OK/0.png", "OK/1.png", f"OK/{inner}/2.png", "NG/3.png", f"test_OK/{inner}/4.png")
    dataset = open_dataset(root)
    assert {sample.name for sample in dataset.train} == {"OK/0.png", "OK/1.png"}
    assert f"OK/{inner}/ (1 image)" in dataset.assumed[0] and "left aside" in dataset.assumed[0]
    assert not any(inner in sample.name for sample in dataset.test)


def test_other_folders_inside_one_of_good_parts_are_listed(put):
    root, _ = _grow(put, "mvtec", "line2/7.png")
    (said,) = open_dataset(root).assumed
    assert said == "train/good/ (2 images), train/good/line2/ (1) taken as good"
    other = put("b/OK/0.png", "b/OK/1.png", "b/OK/old/2.png") / "b"
    (said,) = open_dataset(other).assumed
    assert said.startswith("OK/ (2 images), OK/old/ (1) taken as good")


@pytest.mark.parametrize("layout", ["mvtec", "sorted"])
@pytest.mark.parametrize(
    ("name", "cure"),
    [("NG_7.png", "--layout"), ("7_defect.png", "--layout"), ("7-KO.png", "--layout"),
     ("mask_7.png", "--layout"), ("0_heatmap.png", "--layout"),
     ("0_mask.png", "remove the masks"), ("1.gt.png", "masks")],
)  # fmt: skip
def test_files_that_say_otherwise_among_good_ones(put, layout, name, cure):
    top = {"mvtec": "train/good", "sorted": "OK"}[layout]
    root = put(f"{top}/0.png", f"{top}/1.png", f"{top}/{name}", "NG/0.png")
    if layout == "sorted" and cure != "--layout":  # found to be masks, as everywhere
        assert _read(root) == {"OK/0.png", "OK/1.png"}
        return
    with pytest.raises(DataError, match=cure):
        open_dataset(root)
    if cure == "--layout":
        assert f"{top}/{name}" in _read(root, layout=layout)


@pytest.mark.parametrize(
    ("name", "text"),
    [("0.xml", "<annotation><object><name>scratch</name></object></annotation>"),
     ("0.json", '{"shapes": [{"label": "scratch"}]}'), ("0.txt", "0 0.5 0.5 0.1 0.1\n"),
     ("Annotations/0.xml", "x"), ("labels/0.txt", ""), ("labels.csv", "0.png;1"),
     ("_annotations.coco.json", "{}"), ("sub/via.json", '{"0.png": {"regions": []}}')],
)  # fmt: skip
def test_annotated_images_are_not_simply_all_good(put, name, text):
    root = put("0.png", "1.png")
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(text)
    with pytest.raises(DataError, match="--layout folder if all of them are"):
        open_dataset(root)
    assert _read(root, layout="folder") == {"0.png", "1.png"}


@pytest.mark.parametrize(
    ("name", "text"), [("0.json", '{"exposure_us": 120}'), ("readme.txt", "3 parts\n"),
                       ("0.xml", "<camera/>")],
)  # fmt: skip
def test_what_cameras_write_beside_images_is_no_annotation(put, name, text):
    root = put("0.png", "1.png")
    (root / name).write_text(text)
    assert len(_read(root)) == 2


@pytest.mark.parametrize(
    ("name", "split"),
    [("训练集", "train"), ("测试集", "test"), ("学習用", "train"), ("テスト用", "test"),
     ("검증", "val"), ("训练数据", "train"), ("Entraînement", "train"), ("pruebas", "test"),
     ("тест", "test")],
)  # fmt: skip
def test_splits_in_other_languages(name, split):
    assert meaning(name).split == split


def test_evidence_is_learnt_only_where_the_user_insists(put):
    root = put("a.png", "b.png")
    for path in root.iterdir():
        path.write_bytes(marked(path.read_bytes(), "frame"))
    with pytest.raises(DataError, match=r"2 frames that edgead saved.*--layout folder if all"):
        open_dataset(root)
    assert len(open_dataset(root, layout="folder").train) == 2


def test_no_image_tells_what_there_is_instead(put):
    root = put("a.png")
    (root / "a.png").write_bytes(marked((root / "a.png").read_bytes(), "picture"))
    (root / "a.heic").write_text("x")
    with pytest.raises(DataError, match=r"2 entries left out: 1 \.heic, 1 picture of edgead"):
        open_dataset(root)


@pytest.mark.parametrize("name", ["NG_2.png", "bad/2.png", "to_check/2.png"])
def test_defects_among_the_good_ones_of_a_test_set(put, name):
    root = put("train/good/0.png", "train/good/1.png", "test/good/1.png", f"test/good/{name}")
    with pytest.raises(DataError, match="move"):
        open_dataset(root, purpose="evaluate")
    assert len(open_dataset(root).train) == 2


def test_videos_of_defects_are_not_learnt(put):
    root = put(*(f"training/frames/{name}.png" for name in ("v1/0", "v1/1", "NG/0")))
    with pytest.raises(DataError, match=r"NG.*--layout frames"):
        open_dataset(root)
    assert len(_read(root, layout="frames")) == 3

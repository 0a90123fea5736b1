"""Folders as people have them: the words for good and defective, and what is never learnt."""

from __future__ import annotations

import itertools
import json
import unicodedata
from pathlib import Path

import pytest
from edgead_training.data import open_dataset
from edgead_training.data.words import meaning
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.errors import DataError

PAIRS = [
    ("OK", "NG"), ("ok", "nok"), ("good", "bad"), ("Good", "Defective"), ("normal", "abnormal"),
    ("Normal", "Anomaly"), ("pass", "fail"), ("PASSED", "FAILED"), ("good", "defect"),
    ("Good Parts", "Bad Parts"), ("io", "nio"), ("i.O.", "n.i.O."), ("IO", "NIO"),
    ("gut", "schlecht"), ("Gutteile", "Ausschuss"), ("bon", "mauvais"), ("Bons", "Défauts"),
    ("bueno", "malo"), ("buono", "difettoso"), ("良品", "不良品"), ("正常", "异常"),
    ("正常", "異常"), ("合格", "不合格"), ("OK品", "NG品"), ("ＯＫ", "ＮＧ"), ("양품", "불량"),
    ("ok_front", "def_front"), ("OK_1", "NG-2"), ("no_defect", "defect"), ("not defective", "ng"),
    ("accepted", "rejected"), ("non-defective", "defective"), ("OK", "Not OK"), ("ok", "not_ok"),
    ("годные", "брак"), ("intact", "damaged"), ("okImages", "ngImages"), ("good", "scratch_deep"),
]  # fmt: skip


def _refused(root: Path, *parts: str, **options) -> None:
    with pytest.raises(DataError) as caught:
        open_dataset(root, **options)
    for text in parts:
        assert text in str(caught.value)


def _names(samples) -> dict[str, str]:
    return {sample.name: sample.label for sample in samples}


@pytest.mark.parametrize(("good", "bad"), PAIRS)
def test_the_words_that_people_use(good, bad):
    assert (meaning(good).good, meaning(bad).good) == (True, False)
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        for spell in (str, str.upper, str.lower, lambda name: f" {name}_"):
            assert meaning(unicodedata.normalize(form, spell(good))).good is True
            assert meaning(unicodedata.normalize(form, spell(bad))).good is False


@pytest.mark.parametrize(
    "name",
    ["a", "0", "1", "positive", "negative", "2024-05-01", "cam1", "line 3", "good_and_bad", "OK NG",
     "SN00123", "normal_map", "good_bottles", "class0", "true", "", "_", ".."],
)  # fmt: skip
def test_words_that_do_not_say_it(name):
    assert meaning(name).good is None


@pytest.mark.parametrize(("good", "bad"), PAIRS)
def test_two_folders_beside_each_other_are_never_learnt_together(put, good, bad):
    root = put(*(f"{good}/{i}.png" for i in range(3)), f"{bad}/0.png", f"{bad}/1.png")
    dataset = open_dataset(root)
    nfc = unicodedata.normalize("NFC", good)
    assert _names(dataset.train) == {f"{nfc}/{i}.png": "good" for i in range(3)}
    assert dataset.test == () and dataset.layout == "sorted"
    (said,) = dataset.assumed
    assert f"{good}/ (3 images) taken as good, {bad}/ (2 images) as defective" in said
    assert "--category NAME says otherwise" in said
    test = _names(open_dataset(root, purpose="evaluate").test)
    assert sorted(test.values()) == sorted(
        [*["good"] * 3, *[unicodedata.normalize("NFC", bad)] * 2]
    )


SHAPES = {
    "split/verdict": ("train/{g}", "test/{g}", "test/{b}"),
    "verdict/split": ("{g}/train", "{g}/test", "{b}/test"),
    "images between": ("train/images/{g}", "test/images/{g}", "test/images/{b}"),
    "images below": ("train/{g}/images", "test/{g}/images", "test/{b}/images"),
    "images first": ("images/Training/{g}", "images/Testing/{g}", "images/Testing/{b}"),
    "in one name": ("train_{g}", "test_{g}", "test_{b}"),
    "val is the test set": ("train/{g}", "val/{g}", "val/{b}"),
    "Roboflow": ("train/{g}", "valid/{g}", "valid/{b}"),
    "anomalib": ("{g}", "{g}_test", "{b}"),
    "a folder for each day": ("TRAIN/{g}/2024-05-01", "TEST/{g}/2024-05-02", "TEST/{b}/2024"),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("good", "bad"), [("OK", "NG"), ("normal", "abnormal"), ("良品", "不良品")]
)
def test_train_and_test_in_every_shape(put, shape, good, bad):
    learn, passing, failing = (way.format(g=good, b=bad) for way in SHAPES[shape])
    root = put(*(f"{learn}/{i}.png" for i in range(3)), f"{passing}/a.png", f"{failing}/b.png")
    for purpose in ("train", "evaluate"):
        dataset = open_dataset(root, purpose=purpose)
        assert _names(dataset.train) == {f"{learn}/{i}.png": "good" for i in range(3)}
        found = _names(dataset.test)
        assert found.keys() == {f"{passing}/a.png", f"{failing}/b.png"}
        assert found[f"{passing}/a.png"] == "good" != found[f"{failing}/b.png"]


def test_defects_in_train_are_left_out_and_good_ones_of_val_join_train(put):
    root = put("train/OK/0.png", "train/OK/1.png", "train/NG/0.png", "train/misc/0.png",
               "val/OK/2.png", "val/NG/3.png", "test/OK/4.png", "test/crazing/5.png")  # fmt: skip
    dataset = open_dataset(root)
    assert _names(dataset.train).keys() == {"train/OK/0.png", "train/OK/1.png", "val/OK/2.png"}
    assert dataset.n_left_out == 1
    assert _names(dataset.test) == {
        "test/OK/4.png": "good", "test/crazing/5.png": "crazing", "val/NG/3.png": "NG"
    }  # fmt: skip
    assert "train/misc/ (1 image) left aside" in dataset.assumed[0]


def test_what_no_name_says_is_refused_with_counts_and_the_ways_out(put):
    root = put("a/0.png", "a/1.png", "a/2.png", "b/0.png", "b/1.png")
    _refused(root, "a/ (3 images), b/ (2)", "--layout folder", "--category NAME")
    one = open_dataset(root, category="a")
    assert _names(one.train).keys() == {f"a/{i}.png" for i in range(3)}
    assert "a/ (3 images) taken as good, b/ (2 images) as defective" in one.assumed[0]
    assert len(open_dataset(root, layout="folder").train) == 5
    again = open_dataset(root, layout=one.layout, category="a")  # as a run is read back
    assert again.train == one.train
    _refused(root, "--category c", category="c")


@pytest.mark.parametrize(
    "folders",
    [("2024-05-01", "2024-05-02"), ("cam1", "cam2"), ("0", "1"), ("SN001", "SN002"), ("", "more")],
)
def test_dates_and_cameras_are_taken_with_one_option_and_counted(put, folders):
    root = put(*(f"./{folder}/{i}.png" for folder in folders for i in (0, 1)))
    _refused(root, f"{folders[1]}/ (2)", "--layout folder")
    dataset = open_dataset(root, layout="folder")
    assert len(dataset.train) == 4 and f"{folders[1]}/ (2) taken as good" in dataset.assumed[0]


def test_a_folder_for_each_camera_with_good_and_bad_in_it(put):
    root = put(*(f"cam{c}/{k}/{i}.png" for c in (1, 2) for k in ("OK", "NG") for i in (0, 1)))
    dataset = open_dataset(root)
    assert dataset.categories == ("cam1", "cam2")
    assert all("/OK/" in sample.name for sample in dataset.train) and len(dataset.train) == 4
    (root / "cam1").rename(root.parent / "deep")
    (root / "line").mkdir()
    (root.parent / "deep").rename(root / "line/cam1")
    assert all("/OK/" in sample.name for sample in open_dataset(root).train)


def test_contradictions_and_good_that_is_empty_are_refused(put):
    root = put("NG/OK/0.png", "NG/OK/1.png")
    _refused(root, "NG/OK/ means good and lies inside NG/", "rename")
    (root / "NG").rename(root / "OK2")
    assert len(open_dataset(root).train) == 2
    other = put("only/NG/0.png") / "only"
    (other / "OK").mkdir()
    _refused(other, "NG/ (1 image)", "--category NAME", str(other / "train/good"))


def test_a_folder_named_otherwise_says_otherwise(put):
    root = put("OK/0.png", "OK/1.png", "NG/0.png", "NG/1.png")
    dataset = open_dataset(root, category="NG")
    assert _names(dataset.train).keys() == {"NG/0.png", "NG/1.png"}
    _refused(root, "is evidently not a folder of good parts", layout="folder")


def test_yolo_and_flat_splits_are_no_classes(put):
    root = put("train/images/0.png", "train/images/1.png", "valid/images/0.png")
    (root / "train/labels").mkdir()
    (root / "train/labels/0.txt").write_text("0 0.5 0.5 0.1 0.1")
    _refused(root, "train/images/ (2 images)", "train/ is evidently", str(root / "train/good"))


def test_names_of_files_and_of_the_folder_itself_that_mean_defective(put):
    root = put("OK_001.png", "OK_002.png", "NG_001.png", "defect-7.png")
    _refused(root, "2 of 4 images", "(NG_001.png)", "move them away", "--layout folder")
    (said,) = open_dataset(root, layout="folder").assumed
    assert "although names mean defective" in said
    alone = root.rename(root.parent / "NG")
    for path in (alone / "NG_001.png", alone / "defect-7.png"):
        path.unlink()
    assert "although names mean defective" in open_dataset(alone).assumed[0]


def test_a_test_set_without_labels_is_left_aside_in_training(put):
    root = put("train/OK/0.png", "train/OK/1.png", "train/NG/0.png", "test/5.png", "test/6.png")
    dataset = open_dataset(root)
    assert dataset.test == () and len(dataset.train) == 2 and dataset.n_left_out == 1
    assert "test/ (2 images) left aside" in dataset.assumed[0]
    _refused(root, "5.png lies in no folder that says what it shows", purpose="evaluate")


# ------------------------------------------------------------------------------------------ masks


@pytest.mark.parametrize(
    "mask",
    ["ground_truth/NG/0_mask.png", "ground_truth/NG/0.png", "Ground Truth/NG/0.bmp", "masks/0.tif",
     "mask/NG/0.png", "test/masks/NG/0_gt.png", "test/NG/0_mask.png", "test/NG/0-GT.tiff",
     "NG_mask/0.png", "GT/0_label.png"],
)  # fmt: skip
def test_masks_where_people_keep_them(put, mask):
    root = put("train/OK/0.png", "train/OK/1.png", "test/OK/0.png", "test/NG/0.png")
    put(mask, brightness=0, spot=255)
    dataset = open_dataset(root, purpose="evaluate")
    found = {sample.name: sample.mask for sample in dataset.test}
    assert found == {"test/OK/0.png": None, "test/NG/0.png": root / mask}
    assert not dataset.unread


def test_masks_that_do_not_fit(put):
    root = put(
        "train/OK/0.png", "train/OK/1.png", "test/OK/9.png", "test/NG/0.png", "test/NG/1.png"
    )
    put("masks/0.png", brightness=0, spot=255)
    _refused(root, "1.png has no mask", "other images of NG", purpose="evaluate")
    put("masks/1.jpg", brightness=0, spot=255)
    _refused(root, "1.jpg is a mask in a lossy format", purpose="evaluate")
    (root / "masks/1.jpg").unlink()
    put("masks/1.png", "masks/7.png", brightness=0, spot=255)
    _refused(root, "7.png is a mask without image", purpose="evaluate")
    (root / "masks/7.png").unlink()
    put("masks/NG/1.png", brightness=0, spot=255)
    _refused(root, "masks of the same image", purpose="evaluate")


def test_masks_beside_the_images_of_a_folder_are_not_learnt(put):
    root = put("0.png", "0_mask.png", "1.png")
    _refused(root, "0_mask.png is evidently a mask")
    _refused(root, "0_mask.png is evidently a mask", layout="folder")


@pytest.mark.parametrize("name", ["0.json", "0.xml", "0.txt", "instances.json"])
@pytest.mark.parametrize("folder", ["ground_truth/scratch", "ground_truth", "masks"])
def test_annotations_where_masks_are_expected(mvtec, name, folder):
    for path in (mvtec / "ground_truth/scratch").iterdir():
        path.unlink()
    (mvtec / folder).mkdir(exist_ok=True)
    (mvtec / folder / name).write_text(json.dumps({"shapes": []}))
    _refused(mvtec, str(mvtec / folder), f"1 {Path(name).suffix}", "where masks are expected",
             purpose="evaluate")  # fmt: skip
    assert open_dataset(mvtec).left_out == {Path(name).suffix: 1}


def test_folders_that_are_not_read_are_named(mvtec, save_image, make_part):
    for name in ("train/bad/0.png", "backup/0.png", "backup/1.png"):
        save_image(mvtec / name, make_part(1))
    dataset = open_dataset(mvtec)
    assert dataset.unread == {"backup": 2, "train/bad": 1}
    assert "not read: backup/ (2 images), train/bad/ (1)" in dataset.notes()


def test_one_name_in_two_compositions(put):
    names = [unicodedata.normalize(form, "ä.png") for form in ("NFC", "NFD")]
    root = put(*names, "b.png")
    _refused(root, "one name, composed in two ways", "rename or remove")


# --------------------------------------------------------------------------------------- property

WORDS = ["OK", "good", "NG", "bad", "crack", "train", "test", "val", "images", "masks", "a", "b",
         "2024-05-01", "cam1", "0", "1", "@eaDir", ".hidden", "Ok Parts", "not ok"]  # fmt: skip
NEVER = {"NG", "bad", "crack", "not ok", "test", "masks", "@eaDir", ".hidden"}
TREES = st.sets(st.lists(st.sampled_from(WORDS), max_size=3).map(tuple), min_size=1, max_size=5)


@settings(max_examples=150)
@given(TREES, st.sampled_from([None, "folder", "sorted"]))
def test_no_tree_whatsoever_teaches_what_a_name_calls_defective(tmp_path_factory, tree, layout):
    """Whatever is learnt lies in no folder of NEVER; everything is learnt, tested or counted."""
    root = tmp_path_factory.mktemp("tree")
    for way, number in itertools.product(tree, (0, 1)):
        folder = root.joinpath(*way)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(b"not looked at")
    try:
        dataset = open_dataset(root, layout=layout)
    except DataError as error:
        assert str(root) in str(error) or "and lies inside" in str(error)
        return
    for sample in dataset.train:
        assert NEVER.isdisjoint(Path(sample.name).parent.parts)
    taken = {sample.path for sample in dataset.train + dataset.test}
    folders = {sample.path.parent for sample in dataset.train}
    if len(folders) > 1 and layout is None:  # several folders are learnt only where words say so
        assert all(
            any(meaning(part).good for part in folder.relative_to(root).parts) for folder in folders
        )
    assert dataset.notes() or len(taken) == 2 * len(tree)

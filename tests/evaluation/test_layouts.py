"""The layouts of public data sets, each as a tiny tree of its shape; categories."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from edgead_training.data import LAYOUTS, check_images, open_dataset, read_mask

from edgead.errors import DataError

TALL = (63, 23)  # KolektorSDD2 has 630 x 230 and a few pixels more or less


def _found(samples) -> dict[str, tuple[str, str | None]]:
    return {s.name: (s.label, s.mask and s.mask.name) for s in samples}


def _refused(root: Path, *parts: str, **options) -> None:
    with pytest.raises(DataError) as caught:
        open_dataset(root, **options)
    for text in parts:
        assert text in str(caught.value)


# ------------------------------------------------------------------------------------------- VisA


@pytest.fixture
def visa(put):
    """Two categories; of candle, one normal image is for testing; the CSV lists more objects."""
    rows = ["object,split,label,image,mask"]
    for name in ("candle", "pcb1"):
        images, masks = f"{name}/Data/Images", f"{name}/Data/Masks"
        put(*(f"{images}/Normal/000{i}.JPG" for i in range(3)))
        put(f"{images}/Anomaly/000.JPG", spot=200)
        put(f"{masks}/Anomaly/000.png", brightness=0, spot=3)  # masks hold small numbers
        split = ["train", "train", "test"]
        rows += [f"{name},{s},normal,{images}/Normal/000{i}.JPG," for i, s in enumerate(split)]
        rows += [f"{name},test,anomaly,{images}/Anomaly/000.JPG,{masks}/Anomaly/000.png"]
    rows += ["cashew,train,normal,cashew/Data/Images/Normal/000.JPG,"]  # not unpacked
    root = put()
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text("\n".join(rows) + "\n")
    return root


def test_visa_follows_its_csv(visa):
    dataset = open_dataset(visa)
    assert (dataset.layout, dataset.categories) == ("visa", ("candle", "pcb1"))
    one = open_dataset(visa, category="candle")
    assert _found(one.train) == {
        f"candle/Data/Images/Normal/000{i}.JPG": ("good", None) for i in (0, 1)
    }
    assert _found(one.test) == {
        "candle/Data/Images/Normal/0002.JPG": ("good", None),
        "candle/Data/Images/Anomaly/000.JPG": ("anomaly", "000.png"),
    }
    check_images(one.test)
    defect = next(s for s in one.test if not s.is_good)
    assert read_mask(defect, (16, 20)).sum() == 24
    assert {s.category for s in one.train} == {"candle"}
    assert set(dataset.train) > set(one.train) and len(dataset.test) == 4


def test_a_category_of_visa_alone_finds_the_csv_beside_it(visa):
    alone = open_dataset(visa / "candle")
    assert (alone.layout, alone.categories) == ("visa", ())
    assert [s.name for s in alone.train] == [f"Data/Images/Normal/000{i}.JPG" for i in (0, 1)]


def test_visa_with_a_csv_that_a_spreadsheet_saved(visa):
    table = visa / "split_csv/1cls.csv"
    before = open_dataset(visa).train
    table.write_text(table.read_text(), encoding="utf-8-sig")
    assert open_dataset(visa).train == before


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_visa_with_a_csv_of_every_program(visa, mark, end, encoding, forms):
    """Separators, ends of lines, a mark at the beginning, and names composed in another way."""
    on_disk, in_csv = (unicodedata.normalize(form, "kérze") for form in forms)
    table = visa / "split_csv/1cls.csv"
    before = open_dataset(visa, category="candle")
    (visa / "candle").rename(visa / on_disk)
    text = table.read_text().replace("candle", in_csv).replace(",", mark).replace("\n", end)
    table.write_bytes(text.encode(encoding))
    found = open_dataset(visa, category=in_csv)
    assert (len(found.train), len(found.test)) == (len(before.train), len(before.test))
    assert all(sample.path.is_file() for sample in found.train + found.test)
    assert [s.mask is None for s in found.test] == [s.mask is None for s in before.test]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("object,split,", "what,split,", ["columns", "object,split,label,image,mask"]),
        ("candle,train", "candle,dev", ["split 'dev'", "expected train or test"]),
        ("test,anomaly", "test,bad", ["label 'bad'", "normal or anomaly"]),
        ("Normal/0001.JPG", "Normal/9.JPG", ["no such file", "unpack", "Normal/9.JPG"]),
        ("candle/Data/Images/Normal/0001", "candle/../0001", ["not inside", "correct the row"]),
        ("candle,", "candles,", ["no row of object candle"]),
    ],
)
def test_visa_with_a_csv_that_does_not_fit(visa, old, new, said):
    table = visa / "split_csv/1cls.csv"
    table.write_text(table.read_text().replace(old, new))
    _refused(visa, str(table), *said)


def test_visa_without_its_csv(visa):
    (visa / "split_csv/1cls.csv").unlink()
    _refused(visa, "1cls.csv cannot be read", "copy it from the download")


# ----------------------------------------------------------------------------------- MVTec 3D-AD


@pytest.fixture
def bagel(put, save_image):
    for part, count in (("train", 3), ("validation", 1), ("test", 2)):
        for index in range(count):
            put(f"bagel/{part}/good/rgb/00{index}.png")
            depth = np.zeros((4, 4, 3), np.float32)
            save_image(put() / f"bagel/{part}/good/xyz/00{index}.tiff", depth)
    put("bagel/test/good/gt/000.png", "bagel/test/good/gt/001.png", brightness=0)
    put("bagel/test/hole/rgb/000.png", spot=200)
    put("bagel/test/hole/gt/000.png", brightness=0, spot=255)
    return put() / "bagel"


def test_mvtec3d_takes_the_colour_images(bagel):
    dataset = open_dataset(bagel)
    assert dataset.layout == "mvtec3d"
    assert [s.name for s in dataset.train] == [
        *(f"train/good/rgb/00{i}.png" for i in range(3)), "validation/good/rgb/000.png",
    ]  # fmt: skip
    assert _found(dataset.test) == {
        "test/good/rgb/000.png": ("good", None),
        "test/good/rgb/001.png": ("good", None),
        "test/hole/rgb/000.png": ("hole", "000.png"),
    }
    check_images(dataset.train + dataset.test)  # the depth images, which are float32, are not read
    assert open_dataset(bagel.parent).categories == ("bagel",)


def test_mvtec3d_with_a_test_set_only(bagel):
    shutil.rmtree(bagel / "train")
    assert open_dataset(bagel, purpose="evaluate").layout == "mvtec3d"


def test_mvtec3d_that_lacks_something(bagel):
    images, masks = bagel / "test/hole/rgb", bagel / "test/hole/gt"
    (masks / "000.png").rename(masks / "001.png")
    _refused(bagel, f"{images / '000.png'} has no mask", f"expected {masks / '000.png'}")
    (images / "000.png").unlink()
    _refused(bagel, "001.png is a mask without image")
    (masks / "001.png").unlink()
    images.rmdir()
    _refused(bagel, "has no rgb/")


# ----------------------------------------------------------------------------------- KolektorSDD2


@pytest.fixture
def ksdd2(put):
    for part, good, bad in (("train", (10, 11, 12), (13,)), ("test", (20, 21), (22,))):
        put(*(f"{part}/{n}.png" for n in good), size=TALL)
        put(*(f"{part}/{n}_GT.png" for n in good), brightness=0, size=TALL)
        put(*(f"{part}/{n}.png" for n in bad), spot=200, size=TALL)
        put(*(f"{part}/{n}_GT.png" for n in bad), brightness=0, spot=255, size=TALL)
    return put()


def test_ksdd2_learns_from_images_whose_mask_is_black(ksdd2, put):
    put("train/10_GT(1).png", brightness=0, size=TALL)  # the download has such a copy
    dataset = open_dataset(ksdd2)
    assert dataset.layout == "ksdd2"
    assert _found(dataset.train) == {f"train/{n}.png": ("good", None) for n in (10, 11, 12)}
    assert dataset.n_left_out == 1
    assert "3 good images to learn from (1 that are not good left out)" in dataset.summary()
    assert _found(dataset.test) == {
        "test/20.png": ("good", None),
        "test/21.png": ("good", None),
        "test/22.png": ("defect", "22_GT.png"),
    }
    check_images(dataset.test)


def test_ksdd2_that_lacks_something(ksdd2, put):
    put("train/14.png")
    _refused(ksdd2, "14.png has no mask", "whether it is good is unknown", "14_GT.png")
    (ksdd2 / "train/14.png").unlink()
    put("test/23_GT.png")
    _refused(ksdd2, "23_GT.png is a mask without image")
    (ksdd2 / "test/23_GT.png").write_bytes(b"broken")
    put("test/23.png")
    _refused(ksdd2, "23_GT.png cannot be read")


def test_ksdd2_with_one_good_image(ksdd2):
    for n in (11, 12):
        (ksdd2 / f"train/{n}.png").unlink()
        (ksdd2 / f"train/{n}_GT.png").unlink()
    _refused(ksdd2, "one good image", "at least two")


# -------------------------------------------------------------------------------------- one class


@pytest.fixture
def classes(put):
    for name in ("cat", "dog", "ship"):
        put(*(f"train/{name}/{i}.png" for i in range(3)), *(f"test/{name}/{i}.png" for i in (0, 1)))
    return put()


@pytest.mark.parametrize("test", ["test", "val"])
def test_one_class_is_good_and_the_others_are_defects(classes, test):
    (classes / "test").rename(classes / test)
    dataset = open_dataset(classes, category="dog")
    assert (dataset.layout, dataset.categories, dataset.n_left_out) == ("oneclass", (), 6)
    assert _found(dataset.train) == {f"train/dog/{i}.png": ("good", None) for i in range(3)}
    labels = {"cat": "cat", "dog": "good", "ship": "ship"}
    assert _found(dataset.test) == {
        f"{test}/{name}/{i}.png": (label, None) for name, label in labels.items() for i in (0, 1)
    }


def test_the_good_class_must_be_named(classes, put):
    _refused(classes, "folders of classes (cat, dog, ship)", "no class was named", "--category")
    _refused(classes, "--category cow is none of them", category="cow")
    put("test/good/0.png")
    assert open_dataset(classes, purpose="evaluate").layout == "mvtec"  # by its looks
    _refused(classes, "no class named good", category="dog", layout="oneclass")


def test_images_outside_the_folders_of_classes(classes, put):
    put("test/9.png")
    _refused(classes, "9.png lies directly in", "folder of its class", category="dog")


# ------------------------------------------------------------------------------------- categories


@pytest.fixture
def two(put):
    for name in ("bottle", "cable"):
        put(*(f"{name}/train/good/{i}.png" for i in range(3)))
        put(f"{name}/test/good/0.png", f"{name}/test/crack/0.png")
    root = put()
    (root / "readme.txt").write_text("terms")
    return root


def test_a_folder_of_categories_is_one_data_set(two):
    dataset = open_dataset(two)
    assert (dataset.layout, dataset.categories) == ("mvtec", ("bottle", "cable"))
    assert [s.name for s in dataset.train] == [
        f"{name}/train/good/{i}.png" for name in ("bottle", "cable") for i in range(3)
    ]
    assert all(s.name.startswith(s.category + "/") for s in dataset.train + dataset.test)
    assert dataset.summary().startswith("categories bottle, cable: 6 good images")
    assert len(open_dataset(two, purpose="evaluate").test) == 4


def test_one_category_of_several(two):
    dataset = open_dataset(two, category="cable")
    assert [s.name for s in dataset.train] == [f"cable/train/good/{i}.png" for i in range(3)]
    assert dataset.categories == ("cable",)
    _refused(two, "--category cabel is not in", "bottle, cable", category="cabel")
    _refused(two / "cable", "no folders of categories", "remove the option", category="cable")


def test_a_category_with_one_image(two):
    for i in (1, 2):
        (two / f"cable/train/good/{i}.png").unlink()
    where = str(two / "cable/train/good")
    _refused(two, where, "one image", "at least two", "move the folder of this category away")


def test_categories_of_several_layouts(two, put):
    put("bagel/train/good/rgb/0.png", "bagel/train/good/rgb/1.png")
    _refused(two, "several layouts", "mvtec3d: bagel; mvtec: bottle, cable", "--layout")
    assert open_dataset(two, layout="mvtec3d").categories == ("bagel",)
    # What is of a special layout may have the shape of the general one too, if that is asked for.
    assert open_dataset(two, layout="mvtec").categories == ("bagel", "bottle", "cable")


# ------------------------------------------------------------------------------------------ naming


def test_a_named_layout_is_held_to(two, put):
    assert len(open_dataset(two / "cable/train", layout="folder").train) == 3
    _refused(two, "does not look like --layout ksdd2", "<number>_GT.png", layout="ksdd2")
    _refused(two, "--layout visaa is not a layout", ", ".join(LAYOUTS), layout="visaa")


def test_the_commands_name_every_layout(capsys):
    from edgead.cli.main import main

    for command in ("train", "evaluate"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert "--category" in text
        assert all(name in text for name in LAYOUTS)

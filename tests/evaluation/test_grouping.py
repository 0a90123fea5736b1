"""Parts by a list: CSV or JSON, images by path, end of path, or stem; what is wrong is named."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path, PurePosixPath

import pytest
from edgead_training.data import Sample, count_parts, split
from edgead_training.data.grouping import absolute, grouped, is_list, name_of
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.errors import DataError

NAMES = ["train/good/a.png", "train/good/b.1.png", "train/good/ü,c.jpg", "test/good/a.png"]
WORDS = st.text("abcü .,\"'1", min_size=1, max_size=4).filter(lambda s: s.strip() == s)


def write(path: Path, listed: list[tuple[str, str]]) -> str:
    if path.suffix == ".json":
        path.write_text(json.dumps(dict(listed)), encoding="utf-8")
    else:
        text = io.StringIO()
        csv.writer(text).writerows(listed)
        path.write_bytes(text.getvalue().encode())
    return str(path)


def without_extension(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


@pytest.mark.parametrize("form", [".csv", ".json"])
@pytest.mark.parametrize("entry", [str, without_extension], ids=["path", "no extension"])
def test_both_forms_by_path(form: str, entry, tmp_path: Path) -> None:
    listed = [(entry(name), f"part {i // 2}") for i, name in enumerate(NAMES)]
    group = write(tmp_path / f"parts{form}", listed)
    assert grouped(NAMES, group) == ["part 0", "part 0", "part 1", "part 1"]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_end_of_a_path_is_enough_where_it_is_one_images(depth: int, tmp_path: Path) -> None:
    """In whole folders and names: "d/a" is no end of "bad/a.png"."""
    names = ["x/bad/a.png", "x/d/b.png", "y/d/c.png"]
    ends = ["/".join(name.split("/")[-depth:]) for name in names]
    for shown in (ends, [without_extension(end) for end in ends]):
        group = write(tmp_path / "parts.csv", list(zip(shown, "012", strict=True)))
        assert grouped(names, group) == ["0", "1", "2"]
    group = write(tmp_path / "parts.csv", [("d/a", "0"), ("b", "1"), ("c", "2")])
    with pytest.raises(DataError, match=r"does not say which part 1 of 3 .*x/bad/a\.png.*a\.png,"):
        grouped(names, group)


def test_the_longest_end_counts(tmp_path: Path) -> None:
    listed = [("a.png", "short"), ("good/a.png", "long"), ("train/good/a", "longest")]
    group = write(tmp_path / "p.csv", listed)
    assert grouped(["test/good/a.png", "train/good/a.png", "a.png"], group) == [
        "long", "longest", "short",
    ]  # fmt: skip


@settings(max_examples=60)
@given(
    folders=st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=1, max_size=6),
    parts=st.lists(WORDS, min_size=6, max_size=6),
)
def test_whatever_the_names_and_parts_are(folders, parts, tmp_path_factory) -> None:
    names = [f"{'/'.join(words)}/{i}.png" for i, words in enumerate(folders)]
    expected = parts[: len(names)]
    folder = tmp_path_factory.mktemp("lists")
    for form in (".csv", ".json"):
        group = write(folder / f"l{form}", list(zip(names, expected, strict=True)))
        assert grouped(names, group) == expected
        assert grouped(names[::-1], group) == expected[::-1]


def test_as_spreadsheets_write_it(tmp_path: Path) -> None:
    """With a mark of the byte order, a header, blank lines, spaces and lines of Windows."""
    path = tmp_path / "parts.csv"
    path.write_bytes('\ufeffimage,part\r\n./a.png, 7\r\n\r\n"b,2.png",8\r\n'.encode())
    assert grouped(["a.png", "b,2.png"], str(path)) == ["7", "8"]
    (tmp_path / "parts.json").write_bytes('\ufeff{"a": 7, "b,2": "8"}'.encode())
    assert grouped(["a.png", "b,2.png"], str(tmp_path / "parts.json")) == ["7", "8"]


def test_names_are_the_same_however_they_are_composed(tmp_path: Path) -> None:
    group = write(tmp_path / "parts.csv", [("u\u0308.png", "p")])
    assert grouped(["\u00fc.png"], group) == ["p"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.csv", b"", r"lists no image; expected a line IMAGE,PART"),
        ("p.csv", b"image,part\n", "lists no image"),
        ("p.json", b"{}", "lists no image"),
        ("p.csv", b"a.png,1\nb.png\n", r"\(line 2 is not one image and one part\); expected"),
        ("p.csv", b"a.png,1,2\n", "line 1 is not one image and one part"),
        ("p.csv", b"a.png;1\n", "line 1 is not one image and one part"),
        ("p.csv", b"a.png,\n", "line 1 is not one image and one part"),
        ("p.csv", b',1\n', "line 1 is not one image and one part"),
        ("p.csv", b'"a.png,1\n', "is not a list of images and their parts"),
        ("p.csv", b"\xff\xfe\x00", r"is not a list of images .*in UTF-8"),
        ("p.json", b"[]", r"\(no object\)"),
        ("p.json", b'[["a.png", "1"]]', r"\(no object\)"),
        ("p.json", b"nothing", "is not a list of images"),
        ("p.json", b"[" * 100_000, "is not a list of images"),
        ("p.json", b'{"a.png": {"b": 1}}', "'a.png' is not one image and one part"),
        ("p.json", b'{"a.png": []}', "'a.png' is not one image and one part"),
        ("p.json", b'{"a.png": null}', "'a.png' is not one image and one part"),
        ("p.json", b'{"a.png": true}', "'a.png' is not one image and one part"),
        ("p.json", b'{"a.png": ""}', "'a.png' is not one image and one part"),
        ("p.json", b'{"a.png": 1, "a.png": 2}', r"a\.png shows 1 and 2; leave one"),
        ("p.csv", b"a.png,1\na.png,2\n", r"a\.png shows 1 and 2; leave one"),
        ("p.csv", b"a.png,1\n", r"which part 1 of 2 images show, such as d/b\.png; .* b\.png,P"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_list(name: str, text: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text)
    with pytest.raises(DataError, match=said):
        grouped(["a.png", "d/b.png"], str(tmp_path / name))


def test_an_entry_that_may_be_two_images_is_refused(tmp_path: Path) -> None:
    group = write(tmp_path / "p.csv", [("1", "x")])
    with pytest.raises(DataError, match=r"1 may be a/1\.png or b/1\.png; list their paths"):
        grouped(["a/1.png", "b/1.png"], group)


@pytest.mark.parametrize("name", ["absent.csv", "absent.json", "folder.csv"])
def test_a_list_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="cannot read the list of --group"):
        grouped(["a.png"], str(tmp_path / name))


def test_an_expression_is_no_list(tmp_path: Path) -> None:
    assert not is_list("_num_([0-9]+)") and not is_list(r"(.+)\.csv")
    assert is_list("parts.csv") and is_list("dir/parts.json")
    path = tmp_path / "parts (1).csv"
    assert not is_list(str(path))
    group = write(path, [("a", "1")])
    assert is_list(group) and grouped(["a.png"], group) == ["1"]
    assert name_of(group) == "parts (1).csv" and name_of("(x).csv?") == "(x).csv?"
    assert absolute("(x)") == "(x)" and absolute("p.csv") == os.path.join(os.getcwd(), "p.csv")


def test_parts_of_a_list_stay_together(tmp_path: Path) -> None:
    samples = [
        Sample(Path(f"/x/{n}"), name=n, category=c)
        for c in "ab"
        for n in (f"{c}/{i:02}.png" for i in range(24))
    ]
    listed = [(sample.name, f"p{int(sample.name[2:4]) % 8}") for sample in samples]
    group = write(tmp_path / "parts.json", listed)
    train, calibration = split(samples, 0, 0.25, group=group)
    assert count_parts(samples, group) == 16  # of each category its own
    sides = [{(s.category, dict(listed)[s.name]) for s in side} for side in (train, calibration)]
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 16
    assert len(calibration) == 12
    same = [(name, "one") for name, _ in listed]
    with pytest.raises(DataError, match=r"24 good images of a show one part by --group .*parts"):
        split(samples, 0, 0.25, group=write(tmp_path / "one.csv", same))

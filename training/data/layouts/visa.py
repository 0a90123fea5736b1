"""VisA as it is downloaded: a CSV says what is for training and what for testing.

    <category>/Data/Images/Normal/*    <category>/Data/Images/Anomaly/*
    <category>/Data/Masks/Anomaly/*    masks, 0 where there is no defect
    split_csv/1cls.csv                 object,split,label,image,mask with paths from here

Source: https://github.com/amazon-science/spot-diff
"""

from __future__ import annotations

import csv
import io
from itertools import zip_longest
from pathlib import Path

from edgead.errors import DataError
from edgead.files import read_file

from ..dataset import GOOD, Asked, Found, Layout, Purpose, Sample, make_sample, portable, same_name
from ..listing import files_by_name

SPLIT = Path("split_csv", "1cls.csv")
COLUMNS = ["object", "split", "label", "image", "mask"]
LABELS = {"normal": GOOD, "anomaly": "anomaly"}  # the kind of a defect is in another file


def fits(folder: Path, purpose: Purpose) -> bool:
    return (folder / "Data" / "Images" / "Normal").is_dir()


def read(root: Path, folder: Path, asked: Asked) -> Found:
    table, files = folder.parent / SPLIT, files_by_name(folder.parent, folder)
    found: dict[str, list[Sample]] = {"train": [], "test": []}
    for row in _rows(table):
        if not same_name(row["object"], folder.name):
            continue
        label = LABELS.get(row["label"])
        if row["split"] not in found or label is None:
            raise DataError(
                f"{table} has split {row['split']!r} and label {row['label']!r} for "
                f"image {row['image']!r}; expected train or test, and normal or anomaly, as in the "
                "download"
            )
        image = _file(table, row["image"], folder, files)
        mask = _file(table, row["mask"], folder, files) if row["mask"] and label != GOOD else None
        found[row["split"]].append(make_sample(root, image, label, mask))
    if not any(found.values()):
        raise DataError(
            f"{table} has no row of object {folder.name}; expected the folder's name as in the "
            f"download, or rows for it"
        )
    return Found(found["train"], found["test"])


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        # -sig: spreadsheet programs save a mark at the beginning, which is not part of the name.
        text = read_file(table).decode("utf-8-sig")
        # Spreadsheets separate by something else where the comma is a decimal point.
        head = text.partition("\n")[0]
        separator = next((mark for mark in ",;\t" if mark in head), ",")
        lines = io.StringIO(text, newline="")
        columns, *rows = list(csv.reader(lines, delimiter=separator)) or [[]]
    except OSError as error:
        raise DataError(
            f"{table} cannot be read ({error.strerror}); it says which images of VisA are for "
            f"training: copy it from the download, beside the categories"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{table} is not a CSV file ({error}); copy it from the download"
        ) from error
    if columns != COLUMNS:
        raise DataError(
            f"{table} has the columns {columns}; expected {','.join(COLUMNS)}, as in the download"
        )
    return [dict(zip_longest(COLUMNS, row[: len(COLUMNS)], fillvalue="")) for row in rows if row]


def _file(table: Path, name: str, folder: Path, files: dict[str, Path]) -> Path:
    """The file that a row names, inside the category's folder."""
    path = files.get(portable(name.replace("\\", "/")), folder.parent / name)
    if ".." in path.parts or folder not in path.parents:
        raise DataError(f"{table} names {name}, which is not inside {folder}; correct the row")
    if not path.is_file():
        raise DataError(
            f"{table} names {name}, and there is no such file below {folder.parent}; unpack the "
            f"download again or remove the row"
        )
    return path


LAYOUT = Layout(
    "visa", "<category>/Data/Images/{Normal,Anomaly}/*, <category>/Data/Masks/Anomaly/*, "
    "split_csv/1cls.csv", fits, read,
)  # fmt: skip

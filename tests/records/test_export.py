"""What edgead records export writes, read by others: csv, pyarrow, and the data of training."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from recorded import a_line, hear

from edgead.cli.main import main
from edgead.images import read_image
from edgead.records.reviews import Reviews


@pytest.fixture
def folder(open_records, results, tmp_path):
    """16 frames of two cameras, each third anomalous; all are sampled but the first four."""
    good, alarm = results
    numbers = iter(range(100))
    records = open_records(draw=lambda: 0.99 if next(numbers) < 4 else 0.0)
    for number in range(16):
        result = alarm if number % 3 == 0 else good
        hear(records, (a_line(number, result, "right" if number == 15 else "left"), result))
    records.close()
    return tmp_path / "records"


@pytest.fixture
def reviewed(folder):
    """Marked: 3 and 6 defective, the other frames of the left camera but one good."""
    reviews = Reviews(folder)
    for entry in reviews.history(camera="left"):
        number = int(entry.id.rpartition("-")[2])
        if entry.frame is not None and number != 14:
            reviews.mark(
                entry.id, "defective" if number in (3, 6) else "good", "Ada", "seen, twice"
            )
    reviews.close()
    return folder


def test_csv_and_parquet_have_a_row_for_each_verdict_with_its_review(reviewed, tmp_path, capsys):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "verdicts.csv", tmp_path / "verdicts.parquet"
    for option, path in zip(("--csv", "--parquet"), out, strict=True):
        assert main(["records", "export", str(reviewed), option, str(path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"out": str(path), "rows": 16}
    rows = parquet.read_table(out[1]).to_pylist()
    reviews = Reviews(reviewed, writes=False)
    expected = reviews.after(0, 100)
    reviews.close()
    for row, entry in zip(rows, expected, strict=True):
        for key in ("number", "id", "captured", "score", "is_anomalous", "is_sampled", "label"):
            assert row[key] == getattr(entry, key)
        if entry.frame is not None:
            assert reviewed / row["frame"] == entry.frame
    with open(out[0], newline="") as stream:
        texts = list(csv.DictReader(stream))
    for text, row in zip(texts, rows, strict=True):
        assert text == {key: "" if value is None else str(value) for key, value in row.items()}
    assert sum(row["label"] == "defective" for row in rows) == 2


def test_the_data_set_is_what_training_opens_and_holds_back_the_later_half_of_the_sample(
    reviewed, tmp_path, capsys, results
):
    pytest.importorskip("torch")
    from edgead_training.data import open_dataset

    target = tmp_path / "set"
    assert main(["records", "export", str(reviewed), "--mvtec", str(target), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["images"]
    # Good: the alarm 0; sampled ones 4, 5, 7 to 13, of which the last four are held out.
    assert counts == {"train/good": 6, "test/good": 4, "test/defective": 2}
    numbers = {
        kind: sorted(int(path.stem.rpartition("-")[2]) for path in (target / kind).iterdir())
        for kind in counts
    }
    assert numbers == {
        "train/good": [0, 4, 5, 7, 8, 9],
        "test/good": [10, 11, 12, 13],
        "test/defective": [3, 6],
    }
    for path in target.rglob("*.png"):
        anomalous = int(path.stem.rpartition("-")[2]) % 3 == 0
        assert np.array_equal(read_image(path), results[anomalous].frame)
    found = open_dataset(target)
    assert len(found.train) == 6
    assert sorted(sample.label for sample in found.test) == ["defective"] * 2 + ["good"] * 4


def test_what_cannot_be_exported_is_named_and_nothing_is_left(folder, tmp_path, capsys):
    def refused(*words):
        assert main(["records", "export", str(folder), *map(str, words)]) == 1
        return capsys.readouterr().err

    target = tmp_path / "set"
    assert "no frame is marked good: review some first" in refused("--mvtec", target)
    reviews = Reviews(folder)
    for entry in reviews.waiting():
        reviews.mark(entry.id, "good", "Ada")
    reviews.close()
    assert "are of left, right: one data set shows one scene" in refused("--mvtec", target)
    assert "no frame of middle is marked good" in refused("--mvtec", target, "--camera", "middle")
    target.mkdir()
    assert "is there already" in refused("--mvtec", target, "--camera", "left")
    assert "does not exist" in refused("--csv", tmp_path / "none" / "verdicts.csv")
    assert list(target.iterdir()) == [] and not list(tmp_path.glob(".*"))
    capsys.readouterr()
    assert main(["records", "export", str(tmp_path), "--csv", str(tmp_path / "x.csv")]) == 1
    assert "expected a folder of records" in capsys.readouterr().err

"""Rows of a data set: equal to ``Detector.score``, whoever scores and however often it stops."""

from __future__ import annotations

import json
import os
import shutil

import fsspec
import pyarrow
import pytest
from pyarrow import parquet

import edgead
from edgead.cli.main import main
from edgead.errors import InputError
from edgead.files import hold
from edgead.images import encode_png, read_image
from edgead.scale import score_dataset
from edgead.scale.places import open_place
from edgead.scale.rows import score_part

N = 23


@pytest.fixture(scope="module")
def images(make_frame, tmp_path_factory):
    """23 images in a folder and one inside it, the last with a scratch; and one that is damaged."""
    folder = tmp_path_factory.mktemp("data") / "parts"
    (folder / "night").mkdir(parents=True)
    for number in range(N):
        frame = make_frame(number, (40 + number, 50, 3))
        if number == N - 1:
            frame[10:20, 5:40] = 255
        place = folder / "night" if number % 3 == 0 else folder
        (place / f"{number:02}.png").write_bytes(encode_png(frame))
    (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "notes.txt").write_text("not an image")
    return folder


def rows_in(folder) -> list[dict]:
    """All rows, by path."""
    return sorted(parquet.read_table(folder).to_pylist(), key=lambda row: row["path"])


def test_each_row_is_what_score_says(bundle_dir, images, tmp_path, capsys):
    words = ["score", str(bundle_dir), str(images), "--out", str(tmp_path / "rows"), "--json"]
    assert main(words) == 1  # one image is damaged
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["scored"], found["failed"]) == (N + 1, N + 1, 1)
    assert found["left_out"] == {".txt": 1}
    rows, detector = rows_in(tmp_path / "rows"), edgead.Detector(bundle_dir, device="cpu")
    assert len(rows) == N + 1
    for row in rows:
        if row["path"] == "damaged.png":
            assert "damaged.png" in row["error"] and row["score"] is None
            continue
        result = detector.score(read_image(images / row["path"]))
        told = result.to_dict()
        assert row["error"] is None
        assert [row["height"], row["width"]] == list(result.frame.shape[:2])
        names = ("score", "p_value", "threshold", "is_anomalous", "regions")
        assert {name: row[name] for name in names} == {name: told[name] for name in names}
    assert found["anomalous"] == sum(bool(row["is_anomalous"]) for row in rows) > 0
    highest = max((row for row in rows if row["error"] is None), key=lambda row: row["score"])
    assert found["worst"] == highest["path"]


@pytest.mark.parametrize("part", [1, 5, 1000])
def test_rows_do_not_depend_on_the_parts(bundle_dir, images, tmp_path, part):
    score_dataset(bundle_dir, images, tmp_path / "a", device="cpu")
    score_dataset(bundle_dir, images, tmp_path / "b", device="cpu", part=part)
    assert rows_in(tmp_path / "a") == rows_in(tmp_path / "b")


def test_a_run_that_was_stopped_goes_on(bundle_dir, images, tmp_path):
    def stop(done: int, _total: int) -> None:
        if done >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_dataset(bundle_dir, images, tmp_path / "rows", part=5, progress=stop, device="cpu")
    assert len(rows_in(tmp_path / "rows")) == 10
    found = score_dataset(bundle_dir, images, tmp_path / "rows", device="cpu")
    assert (found.scored, found.images) == (N + 1 - 10, N + 1)
    score_dataset(bundle_dir, images, tmp_path / "whole", device="cpu")
    assert rows_in(tmp_path / "rows") == rows_in(tmp_path / "whole")
    again = score_dataset(bundle_dir, images, tmp_path / "rows", device="cpu")
    assert (again.scored, again.images, again.failed) == (0, N + 1, 1)


def test_an_actor_that_outlives_its_driver_doubles_no_row(bundle_dir, images, tmp_path):
    """It ends a part, of other images than those of the next run's parts, during it or later."""
    out, source = tmp_path / "rows", open_place(images)
    names = source.images()[0]
    detector = edgead.Detector(bundle_dir, device="cpu")
    late = [names[:7], names[7:9]]

    def end_late(done: int, _total: int) -> None:
        if late and done > 3:
            score_part(detector, source, open_place(out), late.pop())

    found = score_dataset(bundle_dir, images, out, part=5, progress=end_late, device="cpu")
    assert not late and (found.images, found.scored, found.failed) == (N + 1, N + 1, 1)
    score_dataset(bundle_dir, images, tmp_path / "whole", device="cpu")
    assert rows_in(out) == rows_in(tmp_path / "whole")
    score_part(detector, source, open_place(out), names[3:9])
    assert len(rows_in(out)) == N + 1 + 6
    again = score_dataset(bundle_dir, images, out, device="cpu")
    assert (again.images, again.scored, again.failed) == (N + 1, 0, 1)
    assert rows_in(out) == rows_in(tmp_path / "whole")


def test_an_image_that_was_mended_is_scored_when_asked_for(
    bundle_dir, make_frame, tmp_path, capsys
):
    folder, out = tmp_path / "parts", tmp_path / "rows"
    folder.mkdir()
    good = encode_png(make_frame(1))
    (folder / "a.png").write_bytes(good)
    (folder / "b.png").write_bytes(good[:100])
    words = ["score", str(bundle_dir), str(folder), "--out", str(out)]
    assert main(words) == 1
    assert "--retry-errors" in capsys.readouterr().out
    (folder / "b.png").write_bytes(good)
    assert main(words) == 1
    assert main([*words, "--retry-errors"]) == 0
    first, second = rows_in(out)
    assert {**first, "path": ""} == {**second, "path": ""}


def test_what_comes_next_is_of_the_same_settings(bundle_dir, make_frame, tmp_path, capsys):
    folder, out = tmp_path / "parts", tmp_path / "rows"
    folder.mkdir()
    good = encode_png(make_frame(1))
    (folder / "a.png").write_bytes(good)
    (folder / "b.png").write_bytes(good[:100])
    words = ["score", str(bundle_dir), str(folder), "--out", str(out)]
    settings = ["--false-reject-rate", "0.1", "--color", "rgb", "--device", "cpu", "--threads", "1"]
    assert main([*words, *settings]) == 1
    (folder / "b.png").write_bytes(good)
    following = capsys.readouterr().out.splitlines()[-1].removeprefix("next   edgead ")
    assert following.split() == [*words, *settings, "--retry-errors"]
    assert main(following.split()) == 0
    following = capsys.readouterr().out.splitlines()[-1].removeprefix("next   edgead ")
    picture = [*words[:2], str(folder / "b.png"), *settings, "--heatmap", "heatmaps"]
    assert following.split() == picture


def test_rows_of_another_bundle_or_setting_are_not_mixed(bundle_dir, tiny, images, tmp_path):
    score_dataset(bundle_dir, images, tmp_path / "rows", device="cpu")
    before = rows_in(tmp_path / "rows")
    other = tmp_path / "other.edgead"
    tiny.write(other, provenance={"seed": 8})
    with pytest.raises(InputError, match="bundle_sha256 differ"):
        score_dataset(other, images, tmp_path / "rows", device="cpu")
    with pytest.raises(InputError, match="settings differ"):
        score_dataset(bundle_dir, images, tmp_path / "rows", color="rgb", device="cpu")
    assert rows_in(tmp_path / "rows") == before
    # How many threads change no score: a run may go on with others.
    assert score_dataset(bundle_dir, images, tmp_path / "rows", threads=1).scored == 0


def test_a_relative_folder_is_the_one_that_it_was(bundle_dir, images, tmp_path, monkeypatch):
    """The same words name another folder elsewhere, and other words the same one."""
    out = tmp_path / "rows"
    monkeypatch.chdir(images.parent)
    score_dataset(bundle_dir, images.name, out, device="cpu")
    assert score_dataset(bundle_dir, f"./{images.name}/", out, device="cpu").scored == 0
    elsewhere = tmp_path / "elsewhere" / images.name
    shutil.copytree(images, elsewhere)
    monkeypatch.chdir(elsewhere.parent)
    with pytest.raises(InputError, match="images differ"):
        score_dataset(bundle_dir, images.name, out, device="cpu")


def test_two_runs_do_not_write_into_one_folder(bundle_dir, images, tmp_path):
    (tmp_path / "rows").mkdir()
    held = hold(tmp_path / "rows")
    try:
        with pytest.raises(InputError, match="another run writes"):
            score_dataset(bundle_dir, images, tmp_path / "rows", device="cpu")
    finally:
        os.close(held)


def test_a_part_that_is_damaged_says_what_to_remove(bundle_dir, images, tmp_path):
    score_dataset(bundle_dir, images, tmp_path / "rows", device="cpu")
    part = sorted((tmp_path / "rows").glob("*.parquet"))[0]
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(InputError, match=f"{part.name} cannot be read.*remove it"):
        score_dataset(bundle_dir, images, tmp_path / "rows", device="cpu")
    part.unlink()
    assert score_dataset(bundle_dir, images, tmp_path / "rows", device="cpu").scored > 0
    assert len(rows_in(tmp_path / "rows")) == N + 1


def test_object_storage_gives_the_rows_of_a_folder(bundle_dir, images, tmp_path):
    """By fsspec, whose memory:// keeps what lies in it for this process."""
    store = fsspec.filesystem("memory")
    store.put(str(images), "/bucket/parts", recursive=True)
    store.pipe("/bucket/parts/.hidden.png", b"x")
    where = {"images": "memory://bucket/parts", "out": "memory://bucket/rows"}
    found = score_dataset(bundle_dir, **where, device="cpu", part=7)
    assert (found.images, found.left_out) == (N + 1, {".txt": 1, "hidden": 1})
    score_dataset(bundle_dir, images, tmp_path / "rows", device="cpu")
    parts = [x for x in store.ls("/bucket/rows", detail=False) if x.endswith(".parquet")]
    tables = [parquet.read_table(pyarrow.BufferReader(store.cat(x))) for x in parts]
    rows = pyarrow.concat_tables(tables).to_pylist()
    assert sorted(rows, key=lambda row: row["path"]) == rows_in(tmp_path / "rows")
    assert score_dataset(bundle_dir, **where, device="cpu").scored == 0
    assert not [x for x in store.ls("/bucket/rows", detail=False) if x.endswith(".tmp")]


def test_a_read_over_the_network_is_tried_again(monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("edgead.scale.places.time.sleep", waits.append)
    fsspec.filesystem("memory").pipe("/flaky/a.png", b"content")
    place = open_place("memory://flaky")
    real, failures = place.files.open_input_stream, iter([OSError("reset"), OSError("reset")])

    class Flaky:
        def open_input_stream(self, name):
            for error in failures:
                raise error
            return real(name)

    flaky = type(place)(place.given, place.path, Flaky())
    assert flaky.read("a.png") == b"content"
    assert len(waits) == 2
    with pytest.raises(FileNotFoundError):
        place.read("absent.png")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--ray"], "--ray without --out"),
        (["--actors", "2"], "--actors without --out"),
        (["--out", "{}/rows", "--heatmap", "{}/h"], "--heatmap with --out"),
        (["--out", "nowhere://x/rows"], "nowhere://x/rows"),
    ],
)
def test_what_does_not_go_together_is_said(bundle_dir, images, tmp_path, capsys, more, words):
    more = [word.format(tmp_path) for word in more]
    assert main(["score", str(bundle_dir), str(images), *more]) == 1
    assert words in capsys.readouterr().err


def test_places_without_images_are_refused(bundle_dir, tmp_path):
    (tmp_path / "empty").mkdir()
    fsspec.filesystem("memory").mkdirs("/bare", exist_ok=True)
    for place in (tmp_path / "empty", "memory://bare"):
        with pytest.raises(InputError, match="holds no image"):
            score_dataset(bundle_dir, place, tmp_path / "rows", device="cpu")
    with pytest.raises(InputError, match="does not exist"):
        score_dataset(bundle_dir, tmp_path / "absent", tmp_path / "rows", device="cpu")
    assert not (tmp_path / "rows").exists()

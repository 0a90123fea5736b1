"""Evidence: whole files, never over the bound, and verdicts go on when the disk does not."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest

from edgead import Detector, files
from edgead.errors import InputError
from edgead.records import evidence as module
from edgead.records.evidence import Evidence

SUFFIXES = ["_frame.png", "_heatmap.jpg", "_verdict.json"]


@pytest.fixture(scope="module")
def anomalous(bundle_dir, frames):
    with Detector(bundle_dir, threads=1) as detector:
        result = detector.score(frames[3])
    assert result.is_anomalous
    return result


def line(number: int) -> dict:
    return {"frame": number, "captured": f"2026-01-02T03:04:{number % 60:02d}.500Z", "score": 2.5}


def stem(number: int) -> str:
    return f"20260102T0304{number % 60:02d}500Z_{number:08d}"


def save(folder, results, limit_mb=10.0, log=None):
    """Hear the results one after the other, none of them skipped."""
    evidence = Evidence(
        folder, limit_mb, lambda *said: (log if log is not None else []).append(said)
    )
    for number, result in results:
        evidence.hear(line(number), result)
        evidence._queue.join()
    evidence.close()
    return evidence


def size(folder) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_one_piece_is_the_frame_lossless_the_overlay_and_the_line(anomalous, frames, tmp_path):
    evidence = save(tmp_path / "a" / "seen", [(17, anomalous)])
    assert sorted(p.name for p in evidence.folder.iterdir()) == [f"{stem(17)}{s}" for s in SUFFIXES]
    assert np.array_equal(cv2.imread(str(evidence.folder / f"{stem(17)}_frame.png")), frames[3])
    overlay = cv2.imread(str(evidence.folder / f"{stem(17)}_heatmap.jpg"))
    assert np.abs(overlay.astype(int) - anomalous.overlay()).mean() < 5  # JPEG
    assert json.loads((evidence.folder / f"{stem(17)}_verdict.json").read_text()) == line(17)
    assert (evidence.saved, evidence.skipped) == (1, 0)


def test_good_frames_are_not_saved(bundle_dir, frames, tmp_path):
    with Detector(bundle_dir, threads=1) as detector:
        good = detector.score(frames[0])
    assert not good.is_anomalous
    assert list(save(tmp_path, [(0, good)]).folder.iterdir()) == []


def test_the_folder_stays_within_the_bound_and_the_oldest_go_first(
    anomalous, tmp_path, monkeypatch
):
    save(tmp_path, [(0, anomalous)])
    one = size(tmp_path)
    largest = []

    def watched(path, data):
        real(path, data)
        largest.append(size(tmp_path))

    real = module.write_file
    monkeypatch.setattr(module, "write_file", watched)
    save(tmp_path, [(n, anomalous) for n in range(1, 9)], limit_mb=3.5 * one / 1e6)
    assert sorted(p.name[:28] for p in tmp_path.glob("*.json")) == [stem(n) for n in (6, 7, 8)]
    assert len(list(tmp_path.iterdir())) == 9
    assert max(largest) <= 3.5 * one


def test_what_was_there_before_counts_and_foreign_files_stay(anomalous, tmp_path):
    save(tmp_path, [(n, anomalous) for n in range(3)])
    one = size(tmp_path) / 3
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / f".{stem(9)}_frame.png.{'0a' * 8}.tmp").write_bytes(b"a killed writer's")
    (tmp_path / f"{stem(0)}_verdict.json").unlink()  # killed while it removed the oldest
    save(tmp_path, [(5, anomalous)], limit_mb=2.2 * one / 1e6)
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {f"{stem(n)}{s}" for n in (2, 5) for s in SUFFIXES} | {"notes.txt"}


def test_one_that_is_larger_than_the_bound_is_said_and_removes_nothing(anomalous, tmp_path):
    save(tmp_path, [(0, anomalous)])
    before = sorted(p.name for p in tmp_path.iterdir())
    log = []
    evidence = Evidence(tmp_path, 1.1 * size(tmp_path) / 1e6, lambda *said: log.append(said))
    evidence._limit = 100
    evidence.hear(line(1), anomalous)
    evidence.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert evidence.skipped == 1
    assert "more than --evidence-mb allows" in log[0][1]


def test_a_full_disk_is_said_once_leaves_nothing_half_and_is_over_when_it_is_over(
    anomalous, tmp_path, monkeypatch
):
    real = module.write_file
    full = threading.Event()

    def write(path, data):
        if full.is_set() and path.name.endswith("json"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(path, data)

    monkeypatch.setattr(module, "write_file", write)
    log = []
    evidence = Evidence(tmp_path, 10, lambda *said: log.append(said))
    for number, is_full in enumerate([False, True, True, False]):
        full.set() if is_full else full.clear()
        evidence.hear(line(number), anomalous)
        evidence._queue.join()
    evidence.close()
    assert [word for word, _ in log] == ["failed", "fine"]
    assert re.search("no space left on the disk .*; verdicts go on", log[0][1])
    assert {p.name[:28] for p in tmp_path.iterdir()} == {stem(0), stem(3)}
    assert (evidence.saved, evidence.skipped) == (2, 2)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "evidence is not saved: MemoryError; verdicts go on"),
        (cv2.error("no codec"), "evidence is not saved: error: no codec; verdicts go on"),
    ],
)
def test_whatever_fails_is_said_and_the_next_is_saved(
    anomalous, tmp_path, monkeypatch, error, said
):
    real, errors = module.encode_png, [error]

    def encode(frame, mark):
        if errors:
            raise errors.pop()
        return real(frame, mark)

    monkeypatch.setattr(module, "encode_png", encode)
    log = []
    evidence = save(tmp_path, [(0, anomalous), (1, anomalous)], log=log)
    assert log[0] == ("failed", said) and [word for word, _ in log] == ["failed", "fine"]
    assert {p.name[:28] for p in tmp_path.iterdir()} == {stem(1)}
    assert (evidence.saved, evidence.skipped) == (1, 1)


def test_a_thread_that_died_does_not_hold_the_end(anomalous, tmp_path, monkeypatch):
    monkeypatch.setattr(module.Evidence, "_run", lambda _: None)
    evidence = Evidence(tmp_path, 10, lambda *_: None)
    for number in range(3 * module.WAITING):
        evidence.hear(line(number), anomalous)
    evidence._thread.join()
    assert evidence._queue.full()
    closing = threading.Thread(target=evidence.close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()


def test_a_folder_that_goes_away_is_said_and_made_again(anomalous, tmp_path):
    log = []
    place = tmp_path / "seen"
    evidence = Evidence(place, 10, lambda *said: log.append(said))
    place.rmdir()
    place.write_text("in the way")
    evidence.hear(line(0), anomalous)
    evidence._queue.join()
    place.unlink()
    evidence.hear(line(1), anomalous)
    evidence.close()
    assert [word for word, _ in log] == ["failed", "fine"]
    assert {p.name[:28] for p in place.iterdir()} == {stem(1)}


def test_when_saving_is_slow_verdicts_do_not_wait(anomalous, tmp_path, monkeypatch):
    real, go_on = module.write_file, threading.Event()

    def slow(path, data):
        assert go_on.wait(300)
        real(path, data)

    monkeypatch.setattr(module, "write_file", slow)
    evidence = Evidence(tmp_path, 10, lambda *_: None)
    for number in range(20):
        evidence.hear(line(number), anomalous)  # comes back though nothing can be written
    go_on.set()
    evidence.close()
    assert evidence.saved + evidence.skipped == 20
    assert module.WAITING <= evidence.saved <= module.WAITING + 1  # and one in work
    assert len(list(tmp_path.iterdir())) == 3 * evidence.saved


@pytest.mark.parametrize("limit_mb", [0, -1, float("nan")])
def test_a_bound_that_is_none_is_refused(tmp_path, limit_mb):
    with pytest.raises(InputError, match=r"--evidence-mb .*: expected more than 0 MB"):
        Evidence(tmp_path / "seen", limit_mb, print)
    assert not (tmp_path / "seen").exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "seen").write_text("a file")
    with pytest.raises(InputError, match="needs a folder where there is a file"):
        Evidence(tmp_path / "seen", 10, print)


def test_two_processes_in_one_folder_are_refused_and_a_dead_one_does_not_hold_it(tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from edgead.records.evidence import Evidence\n"
        "Evidence(Path(sys.argv[1]), 10, print); print('held', flush=True); time.sleep(300)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout.readline() == "held\n"
            with pytest.raises(
                InputError, match="another edgead watch saves there; choose another"
            ):
                Evidence(tmp_path, 10, print)
        finally:
            other.kill()
    Evidence(tmp_path, 10, print).close()


@pytest.mark.parametrize(
    "code",
    [errno.EBADF, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EACCES,
     errno.ENOSYS, errno.EIO, errno.EPERM, errno.ESTALE],
)  # fmt: skip
def test_evidence_is_saved_where_there_are_no_locks(anomalous, tmp_path, monkeypatch, code):
    def refuse(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    log = []
    evidence = save(tmp_path / "seen", [(0, anomalous), (1, anomalous)], log=log)
    assert (evidence.saved, evidence.skipped, log) == (2, 0, [])
    # And what may be alive is not removed there.
    alive = tmp_path / ".cell.edgead.writing-x"
    (alive / "new").mkdir(parents=True)
    files.replace_directory(tmp_path / "cell.edgead", {"a": b"b"})
    assert (tmp_path / "cell.edgead" / "a").read_bytes() == b"b" and alive.exists()


def test_a_watched_folder_is_no_place_for_evidence(watch, bundle_dir, tmp_path):
    place, link = tmp_path / "incoming", tmp_path / "link"
    place.mkdir()
    link.symlink_to(place)
    for watched, saved in ((place, place), (place, link), (link, place), (place, f"{link}/./")):
        code, lines, log = watch(watched, "--bundle", bundle_dir, "--evidence", saved).end()
        assert (code, lines) == (1, [])
        assert "is the watched folder itself" in log and "choose another folder" in log
    assert list(place.iterdir()) == []


MOUNTED = """mkdir seen incoming && mount --bind {one} {other} || exit 77
exec "$0" -m edgead watch incoming --bundle "$1" --evidence seen"""


@pytest.mark.parametrize("names", [("seen", "incoming"), ("incoming", "seen")])
def test_nor_is_its_other_mount(bundle_dir, tmp_path, names):
    script = MOUNTED.format(one=names[0], other=names[1])
    words = ["unshare", "--mount", "sh", "-c", script, sys.executable, str(bundle_dir)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("mounting is not permitted here")
    assert done.returncode == 1 and "is the watched folder itself" in done.stderr


def test_evidence_that_comes_into_a_watched_folder_is_not_scored(
    watch, bundle_dir, tmp_path, frames, arrive, film
):
    """Saved in a folder inside it, moved there, and saved there by another process."""
    place = tmp_path / "incoming"
    (place / "seen").mkdir(parents=True)
    words = ["--bundle", bundle_dir, "--every-frame"]
    process = watch(place, *words, "--evidence", place / "seen")
    process.wait_for_log("0 images are there already")
    arrive(place / "part.png", frames[3])
    assert process.line()["is_anomalous"] is True
    code, lines, log = watch(film, *words, "--evidence", place).end()
    assert code == 0 and any(line["is_anomalous"] for line in lines), log
    while len(list((place / "seen").iterdir())) < 3:
        time.sleep(0.01)
    (place / "seen").rename(tmp_path / "away")
    for path in (tmp_path / "away").iterdir():
        path.rename(place / f"renamed_{path.name}")
    process.wait_for_log("skip ")
    arrive(place / "last.png", frames[0])
    assert process.line()["file"] == str(place / "last.png")  # and nothing before it
    process.process.terminate()
    code, lines, log = process.end()
    assert (code, lines) == (0, [])
    assert re.search(r"left out: .*\d pictures of edgead", log)


def test_a_watch_saves_the_anomalous_frames(watch, film, bundle_dir, tmp_path):
    place = tmp_path / "seen"
    words = ["--bundle", bundle_dir, "--every-frame", "--evidence", place]
    code, lines, log = watch(film, *words).end()
    assert code == 0, log
    seen = [line for line in lines if line["is_anomalous"]]
    saved = [json.loads(p.read_text()) for p in sorted(place.glob("*_verdict.json"))]
    assert seen and saved == seen
    assert log.splitlines()[-1] == f"wrote  evidence of {len(seen)} verdicts to {place}"

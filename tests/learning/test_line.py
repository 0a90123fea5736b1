"""edgead learn --add and --forget: what is added, what is promised, what is refused, and undone."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from good_parts import part, scratched, with_label  # type: ignore[import-not-found]
from steps import digests, run, save  # type: ignore[import-not-found]

import edgead
from edgead.bundle.storage import open_bundle


def is_rejected(bundle: Path, frames: list[np.ndarray]) -> list[bool]:
    with edgead.Detector(bundle, device="cpu") as detector:
        return [bool(detector.score(frame).is_anomalous) for frame in frames]


@pytest.fixture(scope="module")
def old(good_folder: Path, backbone_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Learnt from parts without a label; its memory is full."""
    out = tmp_path_factory.mktemp("old") / "disc.edgead"
    words = ["learn", good_folder, "--out", out, "--backbone", backbone_file]
    assert run(*words, "--size", 64, "--memory", 150, "--calibration", 0.4) == 0
    return out


@pytest.fixture(scope="module")
def alarms(old: Path) -> list[int]:
    """Seeds of parts with a label that the bundle rejects; none of them is far out."""
    from edgead.learning.scoring import Scorer, fence, limit_of

    bundle = open_bundle(old)
    score, scores = Scorer(bundle), bundle.manifest.calibration.scores
    found = [
        seed
        for seed in range(200, 320)
        if limit_of(bundle) < score(with_label(seed))[1] <= fence(scores)
    ]
    assert len(found) >= 24
    return found


@pytest.fixture(scope="module")
def rejected(alarms: list[int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = {f"alarm{seed}.png": with_label(seed) for seed in alarms[:8]}
    return save(tmp_path_factory.mktemp("line") / "rejected", images)


@pytest.fixture(scope="module")
def sample(alarms: list[int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One part of four has a label."""
    images = {f"{seed}.png": part(seed) for seed in range(400, 415)}
    images |= {f"label{seed}.png": with_label(seed) for seed in alarms[8:13]}
    return save(tmp_path_factory.mktemp("line") / "sample", images)


def test_added_parts_are_no_longer_rejected_and_defects_still_are(
    old, alarms, rejected, sample, tmp_path, capsys
) -> None:
    before = digests(old)
    out = tmp_path / "new.edgead"
    words = ["learn", old, "--add", rejected, "--calibrate", sample, "--out", out, "--json"]
    assert run(*words, "--report", tmp_path / "page") == 0
    told = json.loads(capsys.readouterr().out)
    assert digests(old) == before
    frames = [with_label(seed) for seed in alarms[:8]]
    assert all(is_rejected(old, frames)) and not any(is_rejected(out, frames))
    others = [with_label(seed) for seed in alarms[13:]]  # of the same kind, never seen
    assert sum(is_rejected(out, others)) < 0.5 * sum(is_rejected(old, others))
    assert all(is_rejected(out, [scratched(seed) for seed in range(500, 510)]))
    # Promised: 1/11 of new parts, a quarter of them with a label; 14 of 48 is chance in 10,000 sets
    mixture = [part(seed) for seed in range(700, 736)]
    mixture += [with_label(seed) for seed in alarms[13:25]]
    assert sum(is_rejected(out, mixture)) < 14
    assert told["added"] == {
        "images": 8, "rejected_before": 8, "rejected_now": 0, "features": told["added"]["features"]
    }  # fmt: skip
    assert (told["images"], told["kept"], told["calibration"]) == (22, 150, 20)
    assert told["parent"] == open_bundle(old).sha256 and told["warnings"] == []
    manifest = open_bundle(out).manifest
    assert manifest.provenance["parent"] == {"bundle_sha256": told["parent"]}
    assert manifest.provenance["contents"]["learnt"]["images"] == 22
    assert manifest.provenance["contents"]["calibrated"]["images"] == 20
    page = (tmp_path / "page/index.html").read_text()
    assert "alarm" in page and page.count("no longer rejected") == 8


def test_the_memory_keeps_its_bound_and_what_is_near_good_parts(
    old, alarms, rejected, sample, tmp_path
) -> None:
    out = tmp_path / "new.edgead"
    assert run("learn", old, "--add", rejected, "--calibrate", sample, "--out", out) == 0
    kept, before = (open_bundle(path).read_array("memory.npy") for path in (out, old))
    assert kept.shape == before.shape and kept.dtype == np.float16
    rows = {row.tobytes() for row in before}
    assert 0.5 <= np.mean([row.tobytes() in rows for row in kept]) < 1
    grown = tmp_path / "grown.edgead"
    words = ["learn", old, "--add", rejected, "--calibrate", sample, "--out", grown]
    assert run(*words, "--memory", 200) == 0
    larger = {row.tobytes() for row in open_bundle(grown).read_array("memory.npy")}
    assert rows <= larger and 150 < len(larger) <= 200


def test_forget_brings_the_parent_back_byte_by_byte(
    old, alarms, rejected, sample, tmp_path, capsys
) -> None:
    """Two additions in place, a calibration after them, then forgotten twice."""
    bundle, names = tmp_path / "disc.edgead", []
    shutil.copytree(old, bundle)
    generations = [digests(bundle)]
    more = save(tmp_path / "more", {f"{s}.png": with_label(s) for s in alarms[13:16]})
    for added in (rejected, more):
        words = ["--add", added, "--calibrate", sample, "--out", bundle, "--force"]
        assert run("learn", bundle, *words) == 0
        generations.append(digests(bundle))
        names.append(open_bundle(bundle).sha256)
    fresh = save(tmp_path / "fresh", {f"{s}.png": part(s) for s in range(600, 620)})
    assert run("calibrate", bundle, fresh, "--in-place") == 0
    capsys.readouterr()
    assert run("learn", bundle, "--forget", "--out", bundle, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bundle_sha256"] == names[0] and told["images"] == 22
    assert digests(bundle) == generations[1]
    assert run("learn", bundle, "--forget", "--out", bundle) == 0
    assert digests(bundle) == generations[0]
    assert run("learn", bundle, "--forget", "--out", bundle) == 1
    assert "nothing to forget" in capsys.readouterr().err
    assert digests(bundle) == generations[0]


def test_a_parent_that_was_changed_is_not_brought_back(
    old, rejected, sample, tmp_path, capsys
) -> None:
    from edgead.bundle.storage import write_bundle

    out = tmp_path / "new.edgead"
    assert run("learn", old, "--add", rejected, "--calibrate", sample, "--out", out) == 0
    bundle = open_bundle(out)
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    for name in ("parent/memory.npy", "parent/manifest.json"):
        changed = files | {name: files[name][:-2] + b" \n"}
        write_bundle(tmp_path / "bad.edgead", bundle.manifest, changed)
        back = tmp_path / "back.edgead"
        assert run("learn", tmp_path / "bad.edgead", "--forget", "--out", back) == 1
        assert not back.exists() and "edgead: bundle" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("none", "needs --calibrate DIR, a random sample of all good parts"),
        ("added", "copies or near-copies of images to add"),
        ("added as JPEG", "copies or near-copies of images to add"),
        ("one of them", "1 of 21 images to calibrate with are copies"),
        ("learnt", "was learnt from"),
        ("alarms", "12 of 12 images to calibrate with are rejected by disc"),
        ("nearly all alarms", "as if they were chosen among its alarms"),
        ("few", "more than 3 calibration images can promise"),
        ("empty", "holds no image"),
        ("grey", "is grey"),
        ("one picture", "copies"),
    ],
)
def test_samples_that_promise_nothing(
    old, good_folder, alarms, rejected, sample, tmp_path, kind, sentence, capsys
) -> None:
    folder = tmp_path / "sample"
    images = {
        "added": {path.name: cv2.imread(str(path)) for path in rejected.iterdir()},
        "added as JPEG": {f"{s}.jpg": with_label(s) for s in alarms[:8]},
        "alarms": {f"{s}.png": with_label(s) for s in alarms[8:20]},
        "nearly all alarms": {f"{s}.png": with_label(s) for s in alarms[8:20]}
        | {"400.png": part(400)},
        "few": {f"{s}.png": part(s) for s in range(3)},
        "grey": {f"{s}.png": part(s)[:, :, 0] for s in range(400, 420)},
        "one picture": {f"{s}.png": part(400) for s in range(20)},
        "learnt": {path.name: cv2.imread(str(path)) for path in good_folder.iterdir()},
    }
    if kind == "one of them":
        shutil.copytree(sample, folder)
        first = min(rejected.iterdir())
        shutil.copyfile(first, folder / first.name)
    else:
        save(folder, images.get(kind, {}))
    words = ["learn", old, "--add", rejected, "--out", tmp_path / "new.edgead"]
    words += [] if kind == "none" else ["--calibrate", folder]
    assert run(*words) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "new.edgead").exists()


@pytest.mark.parametrize(
    ("part_of", "sentence"),
    [
        ({"rejected": "{i}", "sample": "s{i}"}, None),
        ({"rejected": "{i}", "sample": "s{few}"}, "2 calibration parts can promise: the best"),
        ({"rejected": "{i}", "sample": "{i}"}, "show parts that are added"),
        ({"rejected": "{i}", "sample": "s"}, "images to calibrate with show one part, s: the"),
        ({"rejected": "{i}"}, "does not say which part 20 of"),
    ],
)
def test_parts_by_a_list(old, rejected, sample, part_of, sentence, tmp_path, capsys) -> None:
    """A part that is added calibrates nothing, whichever image shows it."""
    folders = {"rejected": rejected, "sample": sample}
    lines = [
        f"{folders[kind].name}/{path.name},{part.format(i=i, few=i // 10)}\n"
        for kind, part in part_of.items()
        for i, path in enumerate(sorted(folders[kind].iterdir()))
    ]
    group, out = tmp_path / "parts.csv", tmp_path / "new.edgead"
    group.write_text("".join(lines))
    words = ["learn", old, "--add", rejected, "--calibrate", sample, "--group", group]
    code, said = run(*words, "--out", out), capsys.readouterr()
    assert (code == 0) == out.exists() == (sentence is None)
    assert (sentence or "20 to calibrate with, by --group") in said.out + said.err


def test_near_copies_of_other_parts_calibrate_where_parts_are_known(
    old, rejected, sample, tmp_path, capsys
) -> None:
    """Whoever says that each image shows another part has looked."""
    both = tmp_path / "sample"
    shutil.copytree(sample, both)
    first = sorted(both.iterdir())[0]
    image = cv2.imread(str(first)).astype(np.int16)
    noise = np.random.default_rng(0).normal(0, 1, image.shape).round().astype(np.int16)
    cv2.imwrite(str(both / "zz.png"), np.clip(image + noise, 0, 255).astype(np.uint8))
    words = ["learn", old, "--add", rejected, "--calibrate", both, "--json", "--out"]
    assert run(*words, tmp_path / "a.edgead") == 0
    assert json.loads(capsys.readouterr().out)["calibration"] == 20
    assert run(*words, tmp_path / "b.edgead", "--group", "(.+)") == 0
    assert json.loads(capsys.readouterr().out)["calibration"] == 21


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.zeros((80, 96, 3), np.uint8), "of one value"),
        (np.full((80, 96, 3), 255, np.uint8), "of one value"),
        (part(3)[:, :, 0], "is grey, 8 bits"),
        (part(3).astype(np.uint16) * 257, "16 bits"),
        (None, "was learnt from already"),
    ],
)
def test_images_that_cannot_be_added(
    old, good_folder, sample, tmp_path, image, sentence, capsys
) -> None:
    folder = save(tmp_path / "add", {"ok.png": with_label(200)})
    if image is None:
        for path in good_folder.iterdir():
            shutil.copyfile(path, folder / path.name)
    else:
        cv2.imwrite(str(folder / "bad.png"), image)
    out = tmp_path / "new.edgead"
    assert run("learn", old, "--add", folder, "--calibrate", sample, "--out", out) == 1
    error = capsys.readouterr().err
    assert sentence in error and "nothing was learnt" in error and "ok.png" not in error
    assert not out.exists()


def test_gross_outliers_are_shown_and_need_force(old, rejected, sample, tmp_path, capsys) -> None:
    folder = tmp_path / "add"
    shutil.copytree(rejected, folder)
    cv2.imwrite(str(folder / "defect.png"), scratched(900))
    out, page = tmp_path / "new.edgead", tmp_path / "page"
    words = ["learn", old, "--add", folder, "--calibrate", sample, "--out", out]
    assert run(*words, "--report", page) == 1
    error = capsys.readouterr().err
    assert "1 of 9 images to add score far above all good parts" in error and "--force" in error
    assert "defect.png" in error and not out.exists()
    text = (page / "index.html").read_text()
    assert text.count("gross outlier</span>") == 1
    assert text.index("defect.png") < text.index("alarm")  # the worst first
    assert run(*words, "--force", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["added"]["images"] == 9 and "--force adds them" in told["warnings"][0]
    assert not any(is_rejected(out, [scratched(900)]))


def test_a_killed_one_and_a_full_disk_leave_the_old_bundle(
    old, rejected, sample, tmp_path, monkeypatch, capsys
) -> None:
    bundle = tmp_path / "disc.edgead"
    shutil.copytree(old, bundle)
    before = digests(bundle)
    words = ["learn", bundle, "--add", rejected, "--calibrate", sample, "--out", bundle]
    script = (
        "import os, sys, edgead.files as files; from edgead.cli.main import main; "
        "files._swap_in = lambda *_: os.kill(os.getpid(), 9); "
        f"main({[str(word) for word in words]!r})"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL and digests(bundle) == before

    def full(path: Path, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("edgead.files.write_synced", full)
        assert run(*words) == 1
    error = capsys.readouterr().err
    assert "No space left" in error and "the old bundle is unchanged" in error
    assert digests(bundle) == before
    assert run(*words) == 0  # and what the killed one left is gone
    assert [path.name for path in tmp_path.iterdir()] == ["disc.edgead"]


def test_a_trained_bundle_takes_nothing(bundle_dir, rejected, sample, tmp_path, capsys) -> None:
    out = tmp_path / "new.edgead"
    assert run("learn", bundle_dir, "--add", rejected, "--calibrate", sample, "--out", out) == 1
    assert "was trained" in capsys.readouterr().err
    assert run("learn", bundle_dir, "--forget", "--out", out) == 1
    assert "nothing to forget" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--add", "IMAGES", "--trim"], "--trim does not go with --add"),
        (["--add", "IMAGES", "--size", "64"], "--size does not go with --add"),
        (["--add", "IMAGES", "--seed", "0"], "--seed does not go with --add"),
        (["--add", "IMAGES", "--report", "a.edgead"], "--report a.edgead is inside a bundle"),
        (["--forget", "--memory", "9"], "--memory does not go with --forget"),
        (["--calibrate", "IMAGES"], "--calibrate goes with --add only"),
        (["--force"], "--force goes with --add only"),
        ([], "is a bundle; give a folder of good images, or say what it learns with --add"),
        (["--add", "IMAGES", "--forget"], "not allowed with argument"),
    ],
)
def test_options_that_do_not_go_together(old, tmp_path, words, sentence, capsys) -> None:
    assert_code: Any = None
    try:
        assert_code = run("learn", old, "--out", tmp_path / "x.edgead", *words)
    except SystemExit as stopped:
        assert_code = stopped.code
    assert assert_code == 1 and sentence in capsys.readouterr().err


def test_what_is_added_is_covered_as_a_greedy_choice_that_is_written_out_covers_it() -> None:
    from edgead.learning.adding import _cover, _Far

    rng = np.random.default_rng(0)
    points, memory = (rng.normal(size=(n, 32)).astype(np.float32) for n in (900, 60))
    distances = np.square(points[:, None] - memory[None]).sum(2).min(1)
    far = _Far(points, distances.copy(), 30.0)
    for radius in (60.0, 40.0, 30.0):
        near, expected = distances.astype(np.float64), []
        while near.max() > radius:
            expected.append(int(near.argmax()))
            apart = points - points[expected[-1]]
            near = np.minimum(near, np.square(apart.astype(np.float64)).sum(1))
        found = _cover(far, radius, 900)
        np.testing.assert_array_equal(found, points[expected])
        np.testing.assert_array_equal(_cover(far, radius, 3), points[expected[:3]])
    assert _cover(far, 1e9, 9).shape == (0, 32)
    np.testing.assert_array_equal(far.distances, distances)

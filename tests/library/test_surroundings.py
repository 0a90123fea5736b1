"""What happens around libedgead while it serves: disks that are full, bundles and /proc that go."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgead.images import encode_png


@pytest.fixture
def part(tmp_path: Path, make_frame: Any) -> Path:
    """A PNG to score."""
    (tmp_path / "part.png").write_bytes(encode_png(make_frame(3, (70, 90, 3))))
    return tmp_path / "part.png"


def score_of(words: list[object], **options: Any) -> float:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return float(json.loads(done.stdout)["frames"][0]["score"])


def test_nothing_is_written_so_that_a_full_disk_does_not_matter(
    installed: Path, bundle_dir: Path, part: Path, tmp_path: Path
) -> None:
    words: list[object] = [installed / "edgead-score", bundle_dir, part, "--json"]
    home = tmp_path / "home"
    home.mkdir()

    def no_file_may_grow() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home)}
    limited = score_of(words, cwd=home, env=environment, preexec_fn=no_file_may_grow)
    assert limited == score_of(words)
    assert list(home.iterdir()) == []  # nor are there empty files


@pytest.mark.parametrize("what", ["a root that is read only", "no /proc", "no /sys"])
def test_places_that_a_system_may_not_have(
    installed: Path, bundle_dir: Path, part: Path, what: str
) -> None:
    change = {
        "a root that is read only": "mount -o remount,bind,ro /",
        "no /proc": "umount -l /proc",
        "no /sys": "mount -t tmpfs none /sys",
    }[what]
    words: list[object] = [installed / "edgead-score", bundle_dir, part, "--json"]
    apart = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*apart, change], capture_output=True).returncode
    ):
        pytest.skip("mounting is not permitted")
    script = f'{change} && exec "$@"'
    # The loader reads $ORIGIN from /proc; without it, it has to be told where the libraries are.
    spec = importlib.util.find_spec("openvino")
    assert spec is not None and spec.origin is not None
    places = f"{installed / 'lib'}:{Path(spec.origin).parent / 'libs'}"
    environment = {**os.environ, "LD_LIBRARY_PATH": places}
    changed = score_of([*apart, script, "sh", *words], env=environment)
    assert changed == score_of(words)


@pytest.mark.parametrize("limit_mb", [20, 120, 205, 300])
def test_too_few_addresses_are_a_sentence(
    installed: Path, bundle_dir: Path, part: Path, limit_mb: int
) -> None:
    """Below the least that OpenVINO needs to start; a process with that much serves."""

    def limited(megabytes: int) -> subprocess.CompletedProcess[str]:
        def limit() -> None:
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

        words = [installed / "edgead-score", bundle_dir, part, "--json", "--threads", "1"]
        return subprocess.run(
            list(map(str, words)), capture_output=True, text=True, preexec_fn=limit, timeout=60
        )

    done = limited(limit_mb)
    if limit_mb == 300:
        assert done.returncode == 0, done.stderr
        return
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "edgead: OpenVINO needs 218 MB of addresses more to start; this process may use "
        f"{limit_mb * 1.048576:.0f} MB of addresses: raise that limit (ulimit -v, LimitAS= of a "
        "systemd unit)\n"
    )


def test_memory_that_may_not_be_executed_is_told_as_in_python(
    installed: Path, bundle_dir: Path, part: Path
) -> None:
    before = "import ctypes, os, sys\nif ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(77)\n"
    words = [sys.executable, "-c", f"{before}os.execv(sys.argv[1], sys.argv[1:])"]

    def said(program: Path, *more: str) -> str:
        asked = [*words, program, *more, bundle_dir, part, "--json"]
        done = subprocess.run(list(map(str, asked)), capture_output=True, text=True)
        if done.returncode == 77:
            pytest.skip("this Linux has no PR_SET_MDWE")
        assert (done.returncode, done.stdout) == (2, "")
        return done.stderr

    expected = said(Path(sys.executable).parent / "edgead", "score")
    assert "may not make memory executable" in expected
    assert said(installed / "edgead-score") == expected


def test_a_bundle_that_is_deleted_serves_on(
    library: Any, refused: type[Exception], bundle_copy: Path
) -> None:
    frame = np.full((40, 50, 3), 77, np.uint8)
    with library.detector(bundle_copy) as detector, library.session(detector) as session:
        expected = session.score(frame, "BGR").score
        shutil.rmtree(bundle_copy)
        assert session.score(frame, "BGR").score == expected
        with library.session(detector) as another:  # everything of it is in memory
            assert another.score(np.ascontiguousarray(frame[:30]), "BGR").score > 0
            assert another.score(frame, "BGR").score == expected
        assert library.info(detector).name == b"tiny"
        with pytest.raises(refused, match="does not exist"):
            library.open(bundle_copy)


def test_a_bundle_that_is_replaced_leaves_the_open_one_as_it_was(
    library: Any, bundle_copy: Path, edit: Any
) -> None:
    frame = np.full((40, 50, 3), 77, np.uint8)
    with library.detector(bundle_copy) as detector, library.session(detector) as session:
        before, name = session.score(frame, "BGR"), library.info(detector).bundle_sha256
        edit(bundle_copy, lambda manifest: manifest.update(name="another"))
        with library.detector(bundle_copy) as second:
            assert library.info(second).name == b"another"
            assert library.info(second).bundle_sha256 != name
        after = session.score(frame, "BGR")
        assert (after.score, after.p_value) == (before.score, before.p_value)
        assert library.info(detector).bundle_sha256 == name


def test_a_second_detector_of_the_same_bundle(library: Any, bundle_dir: Path) -> None:
    frame = np.full((40, 50, 3), 77, np.uint8)
    with library.detector(bundle_dir) as first, library.session(first) as session:
        expected = session.score(frame, "BGR").score
        with library.serving(bundle_dir) as second:
            assert second.score(frame, "BGR").score == expected
        assert session.score(frame, "BGR").score == expected

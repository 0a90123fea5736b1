"""What happens around libedgead while it serves: disks that are full, bundles and /proc that go."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
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
    assert score_of([*apart, script, "sh", *words]) == score_of(words)


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


def test_memory_that_is_refused_is_an_error_and_not_the_end(
    installed: Path, bundle_dir: Path, tmp_path: Path
) -> None:
    """A process whose memory is bounded gets a sentence and goes on, or ends with it."""
    program = tmp_path / "bounded.py"
    program.write_text(BOUNDED)
    words = ["python3", program, installed / "lib" / "libedgead.so", bundle_dir]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "memory" in done.stdout


BOUNDED = """
import ctypes, resource, sys
library = ctypes.CDLL(sys.argv[1])
detector, text = ctypes.c_void_p(), ctypes.create_string_buffer(4096)
def open():
    status = library.edgead_detector_open(1, sys.argv[2].encode(), None, ctypes.byref(detector))
    library.edgead_last_error(text, 4096)
    return status
pages = int(__import__("pathlib").Path("/proc/self/statm").read_text().split()[0])
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 18), hard))
first = open()
resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
print(first, text.value.decode())
sys.exit(0 if first != 0 and open() == 0 else 1)
"""

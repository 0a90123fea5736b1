"""Where an export writes, and what an accident leaves behind: the old bundle, whole."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from edgead_export import export_method
from export_toy import ToyMethod, frames

from edgead import Detector
from edgead.bundle.storage import check_out
from edgead.errors import BundleError


def _quiet(line: str) -> None:
    pass


def test_out_that_cannot_be_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "file.edgead").write_text("x")
    (tmp_path / "photos.edgead").mkdir()
    (tmp_path / "photos.edgead" / "holiday.png").write_bytes(b"x")
    for name, sentence in (
        ("bundle", "named NAME.edgead"),
        (".edgead", "named NAME.edgead"),
        ("file.edgead", "is a file"),
        ("photos.edgead", "is a directory and no bundle"),
        ("file.edgead/x.edgead", "cannot be written to"),
    ):
        with pytest.raises(BundleError, match=re.escape(sentence)):
            check_out(tmp_path / name)
    assert (tmp_path / "photos.edgead" / "holiday.png").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(BundleError, match="cannot be written to"):
        check_out(tmp_path / "x.edgead")
    tmp_path.chmod(0o755)


def test_permission_refused_while_writing(tmp_path: Path, monkeypatch) -> None:
    """As for a user without permission, also where the tests run as root."""
    out = tmp_path / "x.edgead"
    export_method(ToyMethod(), frames(2), out, log=_quiet)
    before = _content(out)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(BundleError, match=r"Permission denied.*old bundle is unchanged"):
        export_method(ToyMethod(), frames(3), out, log=_quiet)
    assert _content(tmp_path) == {f"x.edgead/{k}": v for k, v in before.items()}


def _content(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


ACCIDENT = """
import os, resource, signal, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from export_toy import ToyMethod, frames
from edgead_export import export_method
from edgead.errors import EdgeadError

accident, count, out = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
written = [0]
sync = os.fsync

def fsync(handle):
    # Files of the bundle only: they are synced one after the other.
    if out.name in os.readlink(f"/proc/self/fd/{{handle}}"):
        written[0] += 1
        if written[0] == count:
            if accident == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(28, "No space left on device")
    return sync(handle)

os.fsync = fsync
if accident == "limit":  # a real refusal by the kernel, in the middle of a file
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, resource.RLIM_INFINITY))
try:
    export_method(ToyMethod(seed=4), frames(3), out, log=lambda line: None)
except EdgeadError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, needs RLIMIT_FSIZE")
@pytest.mark.parametrize(
    ("accident", "count", "code", "sentence"),
    [
        pytest.param("kill", 1, -signal.SIGKILL, "", marks=pytest.mark.exhaustive),
        ("kill", 8, -signal.SIGKILL, ""),
        pytest.param(
            *("full", 3, 1, "No space left on device; the old bundle is unchanged"),
            marks=pytest.mark.exhaustive,
        ),
        ("limit", 100_000, 1, "File too large; the old bundle is unchanged"),
    ],
)
def test_accident_while_writing_leaves_the_old_bundle(
    accident: str, count: int, code: int, sentence: str, tmp_path: Path
) -> None:
    out = tmp_path / "x.edgead"
    export_method(ToyMethod(), frames(2), out, log=_quiet)
    before = _content(out)
    script = ACCIDENT.format(here=str(Path(__file__).parent))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, accident, str(count), str(out)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    assert sentence in done.stdout
    assert _content(out) == before
    Detector(out)  # the old bundle still qualifies
    export_method(ToyMethod(seed=4), frames(2), out, log=_quiet)
    assert [p.name for p in tmp_path.iterdir()] == ["x.edgead"]
    assert _content(out)["model.onnx"] != before["model.onnx"]

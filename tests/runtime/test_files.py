"""Killed, out of space, not permitted: the old bundle survives and nothing is left for long."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import edgead.files
from edgead.bundle.storage import open_bundle
from edgead.errors import BundleError, InputError
from edgead.files import MOST_BYTES, read_file, write_file
from edgead.images import read_image

# Writes the bundle at argv[2] again under the name "second", from what lies at argv[1].
WRITE_AGAIN = """
import os, signal, sys
from dataclasses import replace
import edgead.files as files
from edgead.bundle import open_bundle, write_bundle
source = open_bundle(sys.argv[1])
content = {name: source.read(name) for name in source.manifest.files}
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
PATCH
write_bundle(sys.argv[2], replace(source.manifest, name="second"), content)
"""

KILL_AT = {
    "the first file": "files.os.fsync = die",
    "a later file": """
calls = []
sync = os.fsync
def count(fd):
    calls.append(fd)
    die() if len(calls) == 5 else sync(fd)
files.os.fsync = count
""",
    "before the exchange": "files._swap_in = die",
    "after the exchange": "swap = files._swap_in\nfiles._swap_in = lambda *a: (swap(*a), die())",
    "between two renames": """
files._exchange = lambda a, b: False
rename = os.rename
files.os.rename = lambda a, b: die() if str(a).endswith("new") else rename(a, b)
""",
}


def write_again(source: Path, target: Path, patch: str) -> subprocess.CompletedProcess[str]:
    program = WRITE_AGAIN.replace("PATCH", patch)
    command = [sys.executable, "-c", program, str(source), str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("moment", KILL_AT)
def test_killed_while_writing(moment: str, bundle_dir: Path, bundle_copy: Path, tiny: Any) -> None:
    done = write_again(bundle_dir, bundle_copy, KILL_AT[moment])
    assert done.returncode == -9, done.stderr
    assert len(list(bundle_copy.parent.iterdir())) == (1 if moment == "between two renames" else 2)
    if moment != "between two renames":
        expected = "second" if moment == "after the exchange" else "tiny"
        assert open_bundle(bundle_copy).manifest.name == expected
    tiny.write(bundle_copy, name="third")
    assert open_bundle(bundle_copy).manifest.name == "third"
    assert list(bundle_copy.parent.iterdir()) == [bundle_copy]


def test_killed_between_two_renames_and_then_no_space(
    bundle_dir: Path, bundle_copy: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without renameat2 the old bundle can be out of place; the next write, even a failing one,
    puts it back."""
    write_again(bundle_dir, bundle_copy, KILL_AT["between two renames"])
    assert not bundle_copy.exists()
    monkeypatch.setattr(edgead.files, "_fill", _no_space)
    with pytest.raises(BundleError, match="No space"):
        tiny.write(bundle_copy, name="third")
    assert open_bundle(bundle_copy).manifest.name == "tiny"
    assert list(bundle_copy.parent.iterdir()) == [bundle_copy]


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_living_writer_is_left_alone(
    bundle_copy: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = edgead.files._swap_in
    seen = []

    def while_writing(fresh: Path, target: Path, old: Path) -> None:
        if not seen:
            seen.append(fresh)
            tiny.write(bundle_copy, name="other")  # a second writer comes and goes
            assert fresh.is_dir()
        swap(fresh, target, old)

    monkeypatch.setattr(edgead.files, "_swap_in", while_writing)
    tiny.write(bundle_copy, name="second")
    assert open_bundle(bundle_copy).manifest.name == "second"
    assert list(bundle_copy.parent.iterdir()) == [bundle_copy]


def test_without_exchange(bundle_copy: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edgead.files, "_exchange", lambda a, b: False)
    tiny.write(bundle_copy, name="second")
    assert open_bundle(bundle_copy).manifest.name == "second"
    assert list(bundle_copy.parent.iterdir()) == [bundle_copy]


def test_file_too_large(bundle_dir: Path, bundle_copy: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    done = write_again(bundle_dir, bundle_copy, limit)
    assert "BundleError: cannot write bundle" in done.stderr
    assert "File too large; the old bundle is unchanged" in done.stderr
    assert open_bundle(bundle_copy).manifest.name == "tiny"
    assert list(bundle_copy.parent.iterdir()) == [bundle_copy]


@pytest.fixture
def small_disk(tmp_path: Path, tiny: Any) -> Iterator[Path]:
    """A file system that holds the tiny bundle once, and not twice."""
    place = tmp_path / "disk"
    place.mkdir()
    pages = sum(len(data) // 4096 + 1 for data in tiny.files.values())
    options = f"size={4096 * (pages + pages // 2)}"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root; test_file_too_large stands in")
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not permitted here; test_file_too_large stands in")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk(small_disk: Path, tiny: Any) -> None:
    path = small_disk / "a.edgead"
    tiny.write(path)
    with pytest.raises(BundleError, match=r"No space left.*the old bundle is unchanged: free"):
        tiny.write(path, name="second")
    assert open_bundle(path).manifest.name == "tiny"
    assert list(small_disk.iterdir()) == [path]
    with pytest.raises(BundleError, match="No space left on device: free some, or write"):
        tiny.write(small_disk / "b.edgead", name="second")
    assert list(small_disk.iterdir()) == [path]


def test_no_write_permission(bundle_dir: Path) -> None:
    """Root ignores permission bits, so a child process becomes somebody else first."""
    become = "os.setgid(65534); os.setuid(65534)" if os.geteuid() == 0 else ""
    place = Path(tempfile.mkdtemp())
    try:
        shutil.copytree(bundle_dir, place / "a.edgead")
        place.chmod(0o555)
        done = write_again(bundle_dir, place / "a.edgead", become)
        assert "BundleError: cannot write bundle" in done.stderr
        assert "Permission denied; the old bundle is unchanged" in done.stderr
        assert open_bundle(place / "a.edgead").manifest.name == "tiny"
    finally:
        place.chmod(0o755)
        shutil.rmtree(place)


def test_the_parent_is_a_file(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("dear")
    with pytest.raises(BundleError, match="cannot write bundle"):
        tiny.write(tmp_path / "file" / "a.edgead")
    assert (tmp_path / "file").read_text() == "dear"


def test_names_that_look_like_patterns(bundle_dir: Path, tmp_path: Path, tiny: Any) -> None:
    target = tmp_path / "a[1]*.edgead"
    tiny.write(target)
    assert write_again(bundle_dir, target, KILL_AT["before the exchange"]).returncode == -9
    tiny.write(target, name="third")
    assert list(tmp_path.iterdir()) == [target]


def test_write_file_keeps_links_and_devices(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_file(tmp_path / "pipe", b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    with pytest.raises(OSError, match="directory"):
        write_file(tmp_path, b"new")


def test_a_refusal_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_file(tmp_path / "absent" / "look.png", b"")
    assert caught.value.filename == str(tmp_path / "absent" / "look.png")


@pytest.mark.parametrize("start", [b"", b"\x89PNG\r\n\x1a\n", b"II*\0\x08\0\0\0", b"\xff\xd8\xff"])
def test_a_sparse_file_of_any_size_is_refused_unread(tmp_path: Path, start: bytes) -> None:
    """It takes no room on disk, and would take all memory."""
    path = tmp_path / "a.png"
    path.write_bytes(start)
    os.truncate(path, MOST_BYTES + 1)
    with pytest.raises(OSError, match=r"it has 2.1 GB; at most 2.1 are read"):
        read_file(path)
    os.truncate(path, 60 * 2**30)
    with pytest.raises(InputError, match=r"a\.png: it has 64.4 GB"):
        read_image(path)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
def test_a_folder_is_named_and_no_file_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(IsADirectoryError) as caught:
        read_file(tmp_path)
    assert caught.value.filename == str(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before

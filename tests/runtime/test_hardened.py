"""Machines that forbid, limit or lack something: a sentence that names it, or it works."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import cv2
import pytest

from edgead import _cpu, installation
from edgead.bundle.storage import open_bundle
from edgead.cli import doctor
from edgead.cli.main import main
from edgead.cpu import restrictions
from edgead.cpu.engine import OpenVINOEngine
from edgead.errors import DeviceError
from edgead.files import scarcity

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
RUN = "import sys; from edgead.cli.main import main; sys.exit(main(sys.argv[1:]))"
WRITE_XOR_EXECUTE = (
    "import ctypes, sys; sys.exit(77) if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) else None; "
)
NO_HOME = """
import os, pwd
def unknown(uid): raise KeyError(uid)
pwd.getpwuid = unknown
os.environ.pop("HOME", None); os.environ.pop("XDG_CACHE_HOME", None)
"""


@pytest.fixture
def words(bundle_dir, tmp_path, make_frame) -> list[str]:
    """``edgead score`` of one good part."""
    image = tmp_path / "part.png"
    assert cv2.imwrite(str(image), make_frame(100))
    return ["score", str(bundle_dir), str(image)]


def run(before: str, *words: str, **more) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", before + RUN, *words],
        capture_output=True,
        text=True,
        timeout=300,  # a process that waits for ever
        **more,
    )
    if done.returncode == 77:
        pytest.skip("this Linux has no PR_SET_MDWE")
    return done


def test_memory_that_may_not_be_executed_is_named_with_its_cure(words):
    done = run(WRITE_XOR_EXECUTE, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "may not make memory executable" in line
    assert "MemoryDenyWriteExecute=no in the [Service] of its systemd unit" in line


def test_training_names_it_too(tmp_path, make_frame):
    for number in range(12):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), make_frame(number))
    words = ["train", "redi", str(tmp_path), "--out", str(tmp_path / "run"), "--minutes", "0.01"]
    done = run(WRITE_XOR_EXECUTE, *words)
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith("edgead: this process may not make memory executable, and PyTorch")
    assert "MemoryDenyWriteExecute=no in the [Service] of its systemd unit" in line


def test_the_doctor_tries_it(capsys):
    done = run(WRITE_XOR_EXECUTE, "doctor")
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if "code in memory" in line)
    assert lines[at].startswith("broken")
    assert "cure: MemoryDenyWriteExecute=no" in lines[at + 1]
    assert main(["doctor"]) == 0
    assert "OpenVINO may compile its kernels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "environment", "said"),
    [
        ({"proc/self/status": "Seccomp:\t2"}, {"INVOCATION_ID": "x"}, "MemoryDenyWriteExecute=no"),
        ({"sys/fs/selinux/enforce": "1"}, {}, "SELinux forbids it"),
        ({}, {}, "find what forbids it"),
        ({"proc/self/status": "Seccomp:\t2"}, {}, "find what forbids it"),
    ],
)
def test_what_forbids_it_is_told_apart(monkeypatch, tmp_path, files, environment, said):
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(f"Name:\tpython\n{text}\n")
    assert said in _cpu.cure_of_code(str(tmp_path))


def test_what_is_forbidden_stands_in_place_of_what_openvino_says(monkeypatch, bundle_dir):
    def refused(*_):
        raise RuntimeError("Exception from x.cpp:1:\ncan't protect\n")

    import openvino

    monkeypatch.setattr(restrictions, "code_refused", lambda: "this process may not make code")
    monkeypatch.setattr(openvino.Core, "compile_model", refused)
    with pytest.raises(DeviceError, match="cannot compile the graph: this process may not"):
        OpenVINOEngine(open_bundle(bundle_dir))


def test_another_failure_keeps_its_own_words(monkeypatch, bundle_dir):
    import openvino

    def refused(*_):
        raise RuntimeError("Exception from x.cpp:1:\nan unknown operation\n")

    monkeypatch.setattr(openvino.Core, "compile_model", refused)
    with pytest.raises(DeviceError) as found:
        OpenVINOEngine(open_bundle(bundle_dir))
    assert str(found.value) == "OpenVINO cannot compile the graph: an unknown operation"


@pytest.mark.parametrize("limit_mb", [150, 250, 350, 450, 600, 800])
def test_a_limit_of_addresses_is_a_sentence_or_enough(words, limit_mb):
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit_mb << 20, limit_mb << 20))

    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = run("", *words, preexec_fn=limit, env=environment)
    if done.returncode < 0 or "OpenBLAS" in done.stderr:
        pytest.xfail("too little for NumPy or a native library itself, which end the process")
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode:
        last = done.stderr.splitlines()[-1]
        assert last.startswith("edgead: ")
        assert "MB of addresses" in last or "memory" in last or "addresses (ulimit -v" in last


def test_a_user_without_a_home_scores(words):
    done = run(NO_HOME, *words)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_user_without_a_home_is_told_where_plans_could_go():
    done = run(NO_HOME, "doctor")
    assert done.returncode == 0
    assert "set EDGEAD_CACHE to a directory" in done.stdout
    done = run(NO_HOME, "build", "--list")
    assert (done.returncode, done.stdout) == (2, "")
    assert "set EDGEAD_CACHE to a directory" in done.stderr


@pytest.mark.parametrize("text", ["~nobody-so-named/x", "a" * 5000, "/dev/null", "/proc/x", "x\ny"])
def test_any_text_in_edgead_cache_is_a_value_or_a_sentence(monkeypatch, tmp_path, text, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEAD_CACHE", text)
    assert main(["build", "--list"]) in (0, 2)
    captured = capsys.readouterr()
    assert len(captured.err.splitlines() + captured.out.splitlines()) == 1
    assert main(["doctor"]) == 0


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "not enough memory"),
        (RuntimeError("can't start new thread"), "no more threads"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] can't allocate memory: 8 EB"), "memory"),
        (RuntimeError("a defect"), None),
        (ValueError("a defect"), None),
    ],
)
def test_what_runs_out_is_a_sentence(error, said):
    found = scarcity(error)
    assert found is None if said is None else said in found


@pytest.mark.parametrize(
    "said", ["can't start new thread", "thread: Resource temporarily unavailable"]
)
def test_a_thread_that_finds_no_addresses_names_their_limit(said):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**46, before[1]))
    try:
        found = scarcity(RuntimeError(said)) or ""
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert "70368744 MB of addresses" in found and "ulimit -v" in found


@pytest.fixture
def half_removed(monkeypatch) -> None:
    """What is left of cv2 where one of two distributions was removed: a folder without code."""
    monkeypatch.setitem(sys.modules, "cv2", types.ModuleType("cv2"))


REINSTALL = "pip install --force-reinstall --no-deps opencv-python-headless"


@pytest.mark.parametrize(
    ("left", "cure"),
    [
        ([], "pip install opencv-python-headless"),
        (["opencv-python-headless"], REINSTALL),
        (
            ["opencv-contrib-python-headless"],
            "pip install --force-reinstall --no-deps opencv-contrib-python-headless",
        ),
        (["opencv-python"], f"pip uninstall -y opencv-python && {REINSTALL}"),
        (
            ["opencv-python-headless", "opencv-python"],
            f"pip uninstall -y opencv-python-headless opencv-python && {REINSTALL}",
        ),
    ],
)
def test_a_half_removed_opencv_has_a_cure_that_pip_does_not_skip(
    monkeypatch, words, half_removed, left, cure, capsys
):
    monkeypatch.setattr(installation, "opencv_distributions", lambda: left)
    assert installation.opencv_trouble() == (
        "cv2 is a folder without OpenCV in it: half of it was removed",
        cure,
    )
    assert main(["doctor"]) == 2
    assert f"cure: {cure}\n" in capsys.readouterr().out
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("edgead: OpenCV cannot be used, cv2 is a folder without OpenCV")
    assert captured.err.endswith(f": {cure}\n")


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("libGL.so.1: cannot open shared object file", "opencv-python-headless"),
        ("cv2.abi3.so: failed to map segment from shared object", "noexec"),
    ],
)
def test_an_opencv_that_does_not_load(monkeypatch, said, cure, capsys):
    def load(name):
        raise ImportError(said)

    monkeypatch.setattr(installation, "import_module", load)
    reason, found = installation.opencv_trouble() or ("", "")
    assert said in reason and cure in found
    (check,) = doctor._opencv()
    assert (check.state, check.cure) == ("broken", found)


def test_two_opencvs_in_one_folder_are_named(monkeypatch):
    both = ["opencv-python-headless", "opencv-python"]
    monkeypatch.setattr(doctor, "opencv_distributions", lambda: both)
    check, _ = doctor._opencv()
    assert check.state == "ok"
    assert "removing one breaks the other" in check.detail

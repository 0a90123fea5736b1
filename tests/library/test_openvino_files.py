"""OpenVINO's files and libedgead's own for it: missing, damaged or of another version. A sentence,
never the end of the process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

OWN = "libedgead_openvino.so.1"
LOADED_WHEN_ASKED = {
    "CPU plugin": "libopenvino_*_cpu_plugin.so",
    "ONNX frontend": "libopenvino_onnx_frontend.so.*",
}
NEEDED_AT_ONCE = (OWN, "libopenvino.so.*", "libtbb.so.*")
NEITHER_LIBRARY = (
    b"\x7fELF, and nothing that is a library for any processor, but as long as a header"
)
ASKS = """
#include <edgead.h>
#include <stdio.h>
int main(void) {
  for (size_t i = 0; i == 0 || edgead_engine(i - 1); ++i) {
    char why[4096] = "";
    const edgead_status status = edgead_engine_check(i);
    if (status) edgead_last_error(why, sizeof why);
    const char* name = edgead_engine(i);
    printf("%s|%s|%s\\n", name ? name : "", edgead_status_text(status), why);
  }
  return 0;
}
"""


@pytest.fixture
def moved(installed: Path, tmp_path: Path) -> Path:
    """A copy of what is installed, with links to the files of OpenVINO."""
    if not list((installed / "lib" / "edgead").glob("libopenvino.so.*")):
        pytest.skip("this OpenVINO is a package of the system")
    for folder in ("bin", "lib"):
        shutil.copytree(
            *(installed / folder, tmp_path / folder),
            symlinks=True,
            ignore=shutil.ignore_patterns("*.a", "edgead"),
        )
    shutil.copytree(installed / "lib/edgead", tmp_path / "lib/edgead", copy_function=os.link)
    return tmp_path


def run(moved: Path, bundle: Path, **environment: str) -> Any:
    """``edgead-score`` of a golden frame."""
    image = bundle / "golden" / "0.png"
    command = [moved / "bin" / "edgead-score", bundle, image, "--json", "--threads", "1"]
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env={**os.environ, **environment}
    )


def refused(moved: Path, bundle: Path, **environment: str) -> str:
    """The one sentence of a device that cannot serve."""
    done = run(moved, bundle, **environment)
    assert done.returncode == 2 and done.stdout == "", (done.returncode, done.stderr)
    (sentence,) = done.stderr.splitlines()
    return str(sentence).removeprefix("edgead: ")


def file_of(moved: Path, pattern: str) -> Path:
    (file,) = (moved / "lib" / "edgead").glob(pattern)
    return file


def replace(file: Path, content: bytes) -> None:
    """Not written into, as it is a link to another's."""
    file.unlink()
    file.write_bytes(content)


def fake(file: Path, source: str, *options: str) -> None:
    """A library of another content in the place of one."""
    file.unlink(missing_ok=True)
    command = ["cc", "-shared", "-fPIC", "-xc", "-", "-o", str(file), *options]
    subprocess.run(command, input=source, text=True, check=True)


@pytest.mark.parametrize("part", LOADED_WHEN_ASKED)
@pytest.mark.parametrize("damage", ["missing", "none"])
def test_files_that_are_loaded_when_asked(
    moved: Path, bundle_dir: Path, part: str, damage: str
) -> None:
    assert run(moved, bundle_dir).returncode == 0
    file = file_of(moved, LOADED_WHEN_ASKED[part])
    file.unlink()
    if damage == "none":
        file.write_bytes(NEITHER_LIBRARY)
    sentence = refused(moved, bundle_dir)
    assert sentence.startswith("OpenVINO ") and f"has no {part} here" in sentence


@pytest.mark.parametrize("pattern", NEEDED_AT_ONCE)
@pytest.mark.parametrize("damage", ["missing", "none", "empty"])
def test_files_that_are_needed_at_once(
    moved: Path, bundle_dir: Path, pattern: str, damage: str
) -> None:
    file = file_of(moved, pattern)
    file.unlink()
    if damage != "missing":
        file.write_bytes(NEITHER_LIBRARY if damage == "none" else b"")
    sentence = refused(moved, bundle_dir)
    assert sentence.startswith("OpenVINO cannot be loaded: ") and file.name in sentence
    assert "install all of them from one package" in sentence


@pytest.mark.parametrize("pattern", [*NEEDED_AT_ONCE, *LOADED_WHEN_ASKED.values()])
def test_a_copy_that_ended_early_does_not_end_the_process(
    moved: Path, bundle_dir: Path, pattern: str
) -> None:
    """The loader reads what the header promises: past the end of the file, which is a SIGBUS."""
    file = file_of(moved, pattern)
    data = file.read_bytes()
    for size in (len(data) // 2, 5000):
        replace(file, data[:size])
        sentence = refused(moved, bundle_dir)
        assert sentence.startswith("OpenVINO cannot be loaded: ")
        assert f"/{file.name} has only {size} bytes" in sentence


def test_an_openvino_of_another_version_is_named(moved: Path, bundle_dir: Path) -> None:
    """Its file is named after its version, so that another one is a missing one, or one that was
    renamed."""
    file = file_of(moved, "libopenvino.so.*")
    file.rename(file.with_name("libopenvino.so.1"))
    sentence = refused(moved, bundle_dir)
    assert f"{file.name}: cannot open shared object file" in sentence
    assert "expects its folder edgead beside it, and OpenVINO 20" in sentence
    fake(file, "int nothing;", f"-Wl,-soname,{file.name}")
    assert "undefined symbol" in refused(moved, bundle_dir)


def test_an_openvino_that_says_another_version_is_refused(moved: Path, bundle_dir: Path) -> None:
    """As where the program is linked with another one, whose functions are found first."""
    source = """
    struct version { const char *number, *description; };
    struct version get_openvino_version(void) {
      struct version v = {"%s", ""};
      return v;
    }
    """
    fake(moved / "other.so", source % "2019.4.0-1-abc")
    sentence = refused(moved, bundle_dir, LD_PRELOAD=str(moved / "other.so"))
    assert "this process has OpenVINO 2019.4.0, and this libedgead was built with OpenVINO 20" in (
        sentence
    )
    fake(moved / "other.so", source % "custom_branch_abc")  # of a build without a number
    assert run(moved, bundle_dir, LD_PRELOAD=str(moved / "other.so")).returncode == 0


LIBRARY = """
struct library { unsigned interface; const char* version; void* functions[8]; };
static const struct library it = {%s};
const struct library* edgead_openvino_library(void) { return &it; }
"""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('1, "0.0.7"', "is of edgead 0.0.7 (interface 1), and this libedgead is of "),
        ('99, "0.0.7"', "(interface 99), and this libedgead is of "),
        (None, "is not libedgead's library for OpenVINO"),
    ],
)
def test_a_library_of_another_edgead_is_refused(
    moved: Path, bundle_dir: Path, content: str | None, words: str
) -> None:
    source = "int nothing;" if content is None else LIBRARY % content
    fake(file_of(moved, OWN), source)
    sentence = refused(moved, bundle_dir)
    assert OWN in sentence and words in sentence and "from one package" in sentence


def test_which_engines_are_here_is_asked_without_a_bundle(moved: Path, installed: Path) -> None:
    program = moved / "bin" / "asks"
    (moved / "asks.c").write_text(ASKS)
    where = [f"-I{installed / 'include'}", f"-L{moved / 'lib'}", "-Wl,-rpath,$ORIGIN/../lib"]
    subprocess.run(["cc", moved / "asks.c", "-o", program, *where, "-ledgead"], check=True)

    def asked() -> list[list[str]]:
        done = subprocess.run([program], capture_output=True, text=True, check=True, cwd="/")
        return [line.split("|") for line in done.stdout.splitlines()]

    none = ["", "input", "engine is 1, expected a number below 1, how many this libedgead has"]
    assert asked() == [["openvino", "fine", ""], none]
    file_of(moved, OWN).unlink()
    (first, last) = asked()
    assert first[:2] == ["openvino", "device"] and f"{OWN}: cannot open" in first[2]
    assert last == none


def test_files_that_come_later_are_found_by_the_same_process(moved: Path, bundle_dir: Path) -> None:
    """The library is opened by a relative path, from a folder that the process leaves."""
    script = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from conftest import Library, Refused
library = Library(Path("lib/libedgead.so"))
os.chdir("/")
try:
    library.open(sys.argv[2])
except Refused as refused:
    print(refused.status)
os.rename(sys.argv[3] + ".kept", sys.argv[3])
library.c.edgead_detector_close(library.open(sys.argv[2]))
print("served")
"""
    file = file_of(moved, OWN)
    file.rename(f"{file}.kept")
    words = [str(Path(__file__).parent), str(bundle_dir), str(file)]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], cwd=moved, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["DEVICE", "served"]

"""OpenVINO without one of its files, or with one that is none: a sentence, not a crash."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

LOADED_WHEN_ASKED = {
    "CPU plugin": "libopenvino_*_cpu_plugin.so",
    "ONNX frontend": "libopenvino_onnx_frontend.so.*",
}


@pytest.fixture
def moved(installed: Path, tmp_path: Path) -> Path:
    """A copy of what is installed, with links to the files of OpenVINO."""
    if not (installed / "lib" / "edgead").is_dir():
        pytest.skip("this OpenVINO is a package of the system")
    for folder in ("bin", "lib"):
        shutil.copytree(
            *(installed / folder, tmp_path / folder),
            symlinks=True,
            ignore=shutil.ignore_patterns("*.a", "edgead"),
        )
    shutil.copytree(installed / "lib/edgead", tmp_path / "lib/edgead", copy_function=os.link)
    return tmp_path


def run(moved: Path, bundle: Path, image: Path) -> Any:
    command = [moved / "bin" / "edgead-score", bundle, image, "--json", "--threads", "1"]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


@pytest.mark.parametrize("part", LOADED_WHEN_ASKED)
@pytest.mark.parametrize("damage", ["missing", "none"])
def test_files_that_are_loaded_when_asked(
    moved: Path, bundle_dir: Path, part: str, damage: str
) -> None:
    image = bundle_dir / "golden" / "0.png"
    assert run(moved, bundle_dir, image).returncode == 0
    (file,) = (moved / "lib" / "edgead").glob(LOADED_WHEN_ASKED[part])
    file.unlink()
    if damage == "none":
        file.write_bytes(b"\x7fELF, and nothing that is one")
    done = run(moved, bundle_dir, image)
    assert done.returncode == 2 and done.stdout == ""
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("edgead: OpenVINO ") and f"has no {part} here" in sentence


def test_without_openvino_the_loader_names_what_it_misses(moved: Path, bundle_dir: Path) -> None:
    """Its file is named after its version, so that another one is a missing one."""
    (file,) = (moved / "lib" / "edgead").glob("libopenvino.so.*")
    file.rename(file.with_name("libopenvino.so.1"))
    done = run(moved, bundle_dir, bundle_dir / "golden" / "0.png")
    assert done.returncode == 127 and done.stdout == ""
    assert f"{file.name}: cannot open shared object file" in done.stderr

"""Both headers, compiled as strictly as compilers can, and used."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgead import Detector

STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wshadow", "-Wconversion")


@pytest.mark.parametrize("options", [("-std=c++17",), ("-std=c++20", "-fno-exceptions")])
def test_the_wrapper_says_what_python_says(
    compiled: Any, bundle_dir: Path, tmp_path: Path, make_frame: Any, options: tuple[str, ...]
) -> None:
    frame = make_frame(3, (480, 640))
    frame[100:200, 100:300] = 255
    (tmp_path / "frame.raw").write_bytes(frame.tobytes())
    program = compiled("wrapper.cpp", *STRICT, *options)
    command = [program, bundle_dir, tmp_path / "frame.raw"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    verdict, last = done.stdout.splitlines()
    score, p_value, is_anomalous = verdict.split()
    with Detector(bundle_dir, device="cpu", threads=1) as detector:
        result = detector.score(frame)
    assert (float(score), float(p_value)) == (result.score, result.p_value)
    assert bool(int(is_anomalous)) == result.is_anomalous and last == "fine"


@pytest.mark.parametrize("standard", ["c99", "c11", "c17"])
@pytest.mark.parametrize("compiler", ["cc", "clang"])
def test_the_header_is_c(installed: Path, tmp_path: Path, compiler: str, standard: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    source, program = Path(__file__).with_name("header.c"), tmp_path / "header"
    command = [compiler, f"-std={standard}", *STRICT, f"-I{installed / 'include'}"]
    subprocess.run([*command, str(source), "-o", str(program)], check=True)
    assert subprocess.run([program]).returncode == 0

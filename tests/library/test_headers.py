"""The headers, compiled as strictly as compilers can, and used."""

from __future__ import annotations

import json
import os
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


@pytest.mark.parametrize("language", [("-std=c99",), ("-x", "c++", "-std=c++17")], ids=["C", "C++"])
def test_json_is_written_as_python_writes_it(
    installed: Path, tmp_path: Path, language: tuple[str, ...]
) -> None:
    if shutil.which("cc") is None:
        pytest.skip("cc is not installed")
    source, program = Path(__file__).with_name("json.c"), tmp_path / "json"
    options = [*language, *STRICT, f"-I{installed / 'include'}"]
    subprocess.run(["cc", *options, str(source), "-o", str(program)], check=True)
    text = os.fsdecode('a "quote" \\ \t \x01 ä \U0001f600'.encode() + b"\xff\xc3.png\xe4")
    numbers = [0.1, 1.0, 1e300, -3.0, 2.2250738585072014e-308, 1e16, 123456.75, 1 / 3]
    command = [str(program), os.fsencode(text), *map(repr, numbers)]
    lines = subprocess.run(command, capture_output=True, check=True).stdout.decode().splitlines()
    assert lines[0].isascii() and json.loads(lines[0]) == text
    assert [float(line) for line in lines[1:-1]] == numbers
    assert all(len(line) <= len(repr(x)) + 2 for line, x in zip(lines[1:-1], numbers, strict=True))
    region = dict.fromkeys(("x", "y", "width", "height", "area"), 0) | {"peak": 0.0}
    assert json.loads(lines[-1]) == {
        "frame": 7, "score": 0.1, "p_value": 1.0, "is_anomalous": True, "threshold": 1e-7,
        "regions": [region | {"x": 3, "area": 1 << 40, "peak": 2.5}, region],
    }  # fmt: skip

"""Scoring takes no memory after opening, and only what the header declares is exported."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", ["bundle_dir", "with_signals", "tiled"])
def test_scoring_allocates_nothing(compiled: Any, kind: str, request: Any) -> None:
    bundle = request.getfixturevalue(kind)
    program = compiled("allocations.cpp", "-rdynamic", "-std=c++17", "-Wno-mismatched-new-delete")
    done = subprocess.run([program, bundle], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    opening, *formats = done.stdout.splitlines()
    assert int(opening) > 100  # or it does not see them
    assert len(formats) == 11
    preparing, scoring, regions = zip(*(map(int, line.split()) for line in formats), strict=True)
    assert min(preparing) >= 3  # likewise
    assert kind != "bundle_dir" or min(regions) > 0
    assert scoring == (0,) * 11


def test_only_what_the_header_declares_is_exported(installed: Path) -> None:
    nm = shutil.which("nm")
    assert nm is not None  # of binutils, as strip is
    command = [nm, "-D", "--defined-only", installed / "lib" / "libedgead.so"]
    listed = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    names = {line.split()[2].split("@")[0] for line in listed.stdout.splitlines()} - {"EDGEAD_1"}
    header = (ROOT / "csrc/include/edgead.h").read_text()
    assert names and all(f"{name}(" in header for name in names)
    declared = {word.split("(")[0] for word in header.split() if word.startswith("edgead_")}
    assert {n for n in declared if f"{n}(" in header and n in names} == names

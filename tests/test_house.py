"""The house rules that a machine can check: length of files and functions, size of what is kept."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path
from typing import Any

import house
import pytest
from house import ROOT

SOURCES = {".py", ".cpp", ".h", ".cu", ".cuh", ".txt", ".sh"}
LONGEST_FILE, LONGEST_FUNCTION, LARGEST_FILE = 400, 60, 2**20  # lines, lines, bytes
# The longest chain of imports within a package, in modules. What a camera's program embeds stays
# low; on it stand cameras, page and learning on the line, and the commands on those.
MOST_FLOORS = {"edgead": 18, "training": 15, "export": 15, "csrc": 15}
MOST_FLOORS_OF_DETECTOR = 11


def kept_files() -> list[Path]:
    """What git keeps, plus what it would keep after the next commit."""
    try:
        return [ROOT / name for name in house.kept()]
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this tree is not a git checkout")


def too_long_functions(source: str) -> list[tuple[str, int]]:
    """Name and number of lines of each function in ``source`` that is over the limit."""
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = [(f.name, (f.end_lineno or f.lineno) - f.lineno + 1) for f in functions]
    return [(name, length) for name, length in lengths if length > LONGEST_FUNCTION]


def test_no_source_file_is_too_long():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in kept_files()
        if path.suffix in SOURCES
    }
    assert lengths
    assert {name: n for name, n in lengths.items() if n > LONGEST_FILE} == {}


def test_no_function_is_too_long():
    long = {
        str(path.relative_to(ROOT)): too_long_functions(path.read_text(encoding="utf-8"))
        for path in kept_files()
        if path.suffix == ".py"
    }
    assert long
    assert {name: found for name, found in long.items() if found} == {}


def test_no_large_file_is_kept():
    sizes = {str(path.relative_to(ROOT)): path.stat().st_size for path in kept_files()}
    assert {name: size for name, size in sizes.items() if size > LARGEST_FILE} == {}


def test_the_ruler_measures():
    source = "def short():\n    pass\n\n\ndef long():\n" + "    pass\n" * LONGEST_FUNCTION
    assert too_long_functions(source) == [("long", LONGEST_FUNCTION + 1)]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What `make house` prints."""
    kept_files()  # skips where there is no git
    return house.house()


def test_imports_run_in_no_circle(found):
    assert found["import_circles"] == []
    files = {name: package["files"] for name, package in found["packages"].items()}
    assert files.keys() >= {"edgead", "training", "export", "csrc"}
    assert min(files.values()) >= 10  # that many were looked at


@pytest.mark.parametrize("package", ["edgead", "training", "export", "csrc"])
def test_imports_of_a_package_run_through_few_floors(found, package):
    assert found["packages"][package]["floors"] <= MOST_FLOORS[package]


def test_the_detector_stands_on_few_floors():
    sources = {
        str(path.relative_to(ROOT)): path.read_text()
        for path in kept_files()
        if path.suffix == ".py" and path.is_relative_to(ROOT / "edgead")
    }
    floors = house.floors(house.within(house.python_arrows(sources), "edgead"))
    assert floors["edgead.detector"] <= MOST_FLOORS_OF_DETECTOR


def test_planted_circles_and_their_floors_are_found():
    """At the top, in a function, for types only; and a chain of three beside them."""
    sources = {
        "edgead/__init__.py": "",
        "edgead/a.py": "from edgead import b",
        "edgead/b.py": "def late():\n    from .c import name",
        "edgead/c.py": "if TYPE_CHECKING:\n    import edgead.a",
        "edgead/top.py": "from . import middle",
        "edgead/middle.py": "from .a import late",
        "training/run.py": "from edgead.top import name",
    }
    arrows = house.python_arrows(sources)
    assert house.circles(arrows) == [["edgead.a", "edgead.b", "edgead.c"]]
    assert house.floors(arrows)["edgead_training.run"] == 4  # the circle counts as one
    assert max(house.floors(house.within(arrows, "edgead")).values()) == 3
    headers = {"csrc/x.h": '#include "y.h"\n', "csrc/k/y.h": '  #include "../x.h"\n#include <map>'}
    assert house.circles(house.include_arrows(headers)) == [["csrc/k/y.h", "csrc/x.h"]]

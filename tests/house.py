"""What ``make house`` prints: sizes, import circles and floors, read from the code itself.

An arrow goes from a module to each module of this repository that it imports, wherever the import
stands: at the top, in a function, or for types only. In csrc an arrow is an ``#include "…"``. A
circle is a set of modules that reach each other. Floors are the longest chain of arrows, counted in
modules; a circle counts as one.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "edgead": "edgead",
    "training": "edgead_training",
    "export": "edgead_export",
    "benchmarks": "benchmarks",
}
COUNTED = ("edgead", "training", "export", "csrc")  # the folders of "source_lines"
CODE = {".py", ".pyi", ".cpp", ".h", ".hpp", ".cu", ".cuh", ".html"}
NATIVE = {".cpp", ".h", ".hpp", ".cu", ".cuh", ".c"}
Arrows = dict[str, set[str]]


def kept(root: Path = ROOT) -> list[str]:
    """Relative paths of what git keeps, or would keep after the next commit."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if (root / line).is_file()]


def module_of(path: str) -> str:
    """``training/data/content.py`` as ``edgead_training.data.content``."""
    parts = list(Path(path).with_suffix("").parts)
    parts[0] = PACKAGES[parts[0]]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, module: str, *, package: bool) -> Iterable[str]:
    """Dotted names that ``source`` imports, ``from a import b`` as ``a.b``, absolute."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            here = module.split(".")
            up = node.level - 1 if package else node.level
            base = here[: len(here) - up] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{start}.{alias.name}" for alias in node.names)


def python_arrows(sources: Mapping[str, str]) -> Arrows:
    """Arrows between the modules of ``sources``: path -> content."""
    modules = {module_of(path): path for path in sources}
    arrows: Arrows = {module: set() for module in modules}
    for module, path in modules.items():
        package = path.endswith("__init__.py")
        for name in imported(sources[path], module, package=package):
            # benchmarks/ are scripts: they import each other by their bare names
            for found in (name, f"{module.rpartition('.')[0]}.{name}", f"benchmarks.{name}"):
                target = next((t for t in (found, found.rpartition(".")[0]) if t in modules), None)
                if target is not None and (found == name or module.startswith("benchmarks")):
                    if target != module:
                        arrows[module].add(target)
                    break
    return arrows


def include_arrows(sources: Mapping[str, str]) -> Arrows:
    """Arrows between the files of csrc: path -> content."""
    by_name = {Path(path).name: path for path in sources}
    arrows: Arrows = {path: set() for path in sources}
    for path, text in sources.items():
        for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.MULTILINE):
            if Path(name).name in by_name:
                arrows[path].add(by_name[Path(name).name])
    return arrows


def components(arrows: Arrows) -> list[list[str]]:
    """Strongly connected components, each after all that it imports (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(arrows[node]):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            position = stack.index(node)
            found.append(sorted(stack[position:]))
            del stack[position:]

    for node in sorted(arrows):
        if node not in index:
            visit(node)
    return found


def circles(arrows: Arrows) -> list[list[str]]:
    """Sets of modules that reach each other."""
    return [one for one in components(arrows) if len(one) > 1]


def floors(arrows: Arrows) -> dict[str, int]:
    """Module -> length of the longest chain of arrows that starts there, in modules."""
    height: dict[str, int] = {}
    for one in components(arrows):
        below = [height[t] for node in one for t in arrows[node] if t not in one]
        height.update(dict.fromkeys(one, 1 + max(below, default=0)))
    return height


def within(arrows: Arrows, prefix: str) -> Arrows:
    """The arrows among the modules of one package."""
    inside = {n for n in arrows if n == prefix or n.startswith((f"{prefix}.", f"{prefix}/"))}
    return {node: arrows[node] & inside for node in inside}


def house(root: Path = ROOT) -> dict[str, object]:
    """Everything that ``make house`` prints."""
    files = kept(root)
    sources = {
        path: (root / path).read_text(encoding="utf-8")
        for path in files
        if Path(path).suffix in CODE
    }
    lines = {path: text.count("\n") for path, text in sources.items()}
    python = {
        path: text
        for path, text in sources.items()
        if path.endswith((".py", ".pyi")) and path.split("/")[0] in PACKAGES
    }
    native = {
        path: text
        for path, text in sources.items()
        if path.startswith("csrc/") and Path(path).suffix in NATIVE
    }
    arrows = python_arrows(python) | include_arrows(native)
    packages = {}
    for folder, name in {**PACKAGES, "csrc": "csrc"}.items():
        inside = within(arrows, name)
        packages[folder] = {"files": len(inside), "floors": max(floors(inside).values())}
    largest = max(lines, key=lambda path: lines[path])
    return {
        "source_lines": sum(n for path, n in lines.items() if path.split("/")[0] in COUNTED),
        "largest_file": {"path": largest, "lines": lines[largest]},
        "import_circles": circles(arrows),
        "packages": packages,
    }


if __name__ == "__main__":
    json.dump(house(), sys.stdout, indent=1)
    print()

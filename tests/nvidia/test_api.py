"""The types that stand for TensorRT, held by mypy against stubs of the real RTX bindings."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgead.nvidia.plans import api
from edgead.nvidia.plans.library import Library

pytest.importorskip("mypy", reason="mypy comes with make lint")

REAL = "tensorrt_rtx_bindings.tensorrt_rtx"
ROOT = Path(api.__file__).parents[3]
CLASSES = {
    "Tensor": "ITensor",
    "Layer": "ILayer",
    "Network": "INetworkDefinition",
    "ParserError": "ParserError",
    "OnnxParser": "OnnxParser",
    "Profile": "IOptimizationProfile",
    "Config": "IBuilderConfig",
    "Builder": "Builder",
}
"""Our protocol: the class of the library."""


@pytest.fixture(scope="module")
def check(rtx: Library, tmp_path_factory: pytest.TempPathFactory):
    """``check(code)``: what mypy says of code that sees the real bindings' signatures."""
    root = tmp_path_factory.mktemp("stubs")
    package = REAL.partition(".")[0]
    code = "import sys; from mypy.stubgen import main; main(sys.argv[1:])"
    stubgen = [sys.executable, "-c", code, "-q", "-p", package, "-o", str(root)]
    subprocess.run(stubgen, check=True, capture_output=True)
    for stub in root.rglob("*.pyi"):
        stub.write_text("\n".join(filter(is_typed, stub.read_text().splitlines())))

    def run(code: str) -> str:
        (root / "claim.py").write_text(code)
        command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "claim.py"]
        command += ["--cache-dir", str(root / "cache"), "--follow-imports=silent"]
        env = {**os.environ, "MYPYPATH": os.pathsep.join([str(root), str(ROOT)])}
        done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stdout + done.stderr  # 2: mypy itself failed
        lines = [line for line in done.stdout.splitlines() if line.startswith("claim.py")]
        return "\n".join(lines)

    return run


def is_typed(line: str) -> bool:
    """Drop what stands in mypy's way: a constant that hides ``bool``, NumPy, which takes half a
    minute, and signatures that stubgen copied from docstrings and that are no Python.
    """
    if line in ("bool: DataType", "import numpy"):
        return False
    if not line.lstrip().startswith("def "):
        return True
    try:
        ast.parse(line.strip())
    except SyntaxError:
        return False
    return True


def claim(protocol: str, real: str) -> str:
    return (
        f"import {REAL} as real\nfrom edgead.nvidia.plans import api\n"
        f"def same(value: real.{real}) -> api.{protocol}:\n    return value\n"
    )


def test_the_real_classes_are_what_our_types_say(check) -> None:
    lines = [f"import {REAL} as real", "from edgead.nvidia.plans import api"]
    for protocol, real in CLASSES.items():
        lines += [f"def {real.lower()}(value: real.{real}) -> api.{protocol}:", "    return value"]
    assert check("\n".join(lines) + "\n") == ""


def test_a_wrong_type_would_show(check) -> None:
    assert 'expected "Profile"' in check(claim("Profile", "ITensor"))
    wrong = (
        f"import {REAL} as real\nfrom typing import Protocol\n"
        "class Wrong(Protocol):\n    def parse(self, model: int) -> str: ...\n"
        "def same(value: real.OnnxParser) -> Wrong:\n    return value\n"
    )
    assert "Incompatible return value type" in check(wrong)


def test_every_class_of_ours_is_held_against_one(check) -> None:
    ours = {
        name
        for name, value in vars(api).items()
        if getattr(value, "_is_protocol", False) and value.__module__ == api.__name__
    }
    assert ours - {"TensorRT"} == set(CLASSES)


def test_the_real_module_has_every_name_that_is_asked_of_it(rtx: Library) -> None:
    for name in api.TensorRT.__annotations__:
        assert hasattr(rtx.module, name), name

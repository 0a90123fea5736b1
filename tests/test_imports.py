"""What importing the runtime drags in, seen from a fresh interpreter."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgead

TRAINING = ("torch", "onnx", "onnxruntime", "onnxsim", "edgead_training", "edgead_export")
HEAVY = ("cv2", "openvino", "scipy", "PIL", "matplotlib", "tensorrt", "tensorrt_rtx", "pycuda")


def runtime_modules() -> list[str]:
    """Every Python module of edgead/; the compiled ones are imported by these."""
    found = pkgutil.walk_packages(edgead.__path__, "edgead.")
    return sorted(m.name for m in found if not m.name.rpartition(".")[2].startswith("_"))


def loaded_by(code: str) -> set[str]:
    """Top-level modules in sys.modules after ``code`` ran in a new interpreter."""
    code += "\nimport json, sys; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_runtime_has_the_modules_this_file_looks_at():
    modules = runtime_modules()
    assert {"edgead.cli.main", "edgead.detector", "edgead.cli.score"} <= set(modules)
    files = {p.stem for p in Path(edgead.__file__).parent.glob("*.py")} - {"__init__", "__main__"}
    assert files <= {m.split(".")[1] for m in modules}


def test_no_module_of_the_runtime_imports_training_code():
    code = "import importlib\n" + "\n".join(
        f"importlib.import_module({name!r})" for name in runtime_modules()
    )
    assert loaded_by(code).isdisjoint((*TRAINING, "tensorrt", "tensorrt_rtx", "pycuda"))


def test_the_live_loop_needs_no_benchmark():
    code = (
        "import sys, edgead.live.board, edgead.live.loop\n"
        "print([m for m in sys.modules if m.startswith('edgead.bench')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "code", ["import edgead", "import edgead.cli.main", "import edgead.errors"]
)
def test_the_door_imports_nothing_heavy(code):
    assert loaded_by(code).isdisjoint(TRAINING + HEAVY)


@pytest.mark.parametrize(
    "command", ["build", "calibrate", "score", "watch", "replay", "inspect", "verify", "doctor"]
)
def test_the_help_of_a_runtime_command_imports_nothing_heavy(command):
    code = (
        "from edgead.cli.main import main\n"
        f"try: main([{command!r}, '--help'])\nexcept SystemExit: pass"
    )
    assert loaded_by(code).isdisjoint(TRAINING + HEAVY)


def test_the_observer_would_see_torch():
    """The tests above can fail: a module of that kind does show up in what they look at."""
    assert "onnx" in loaded_by("import sys, types; sys.modules['onnx'] = types.ModuleType('onnx')")

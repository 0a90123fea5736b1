"""What is in a wheel, as CycloneDX, and proof that it works where nothing can be compiled.

Installs a wheel into a fresh environment, scores a golden frame of a bundle there with no compiler,
cmake or nvcc on PATH, and writes what that environment holds, with what is compiled into the wheel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "tests/made_before/disc.edgead"
SCORE = """
import sys
import edgead
detector = edgead.Detector(sys.argv[1], device="cpu")
print(detector.score(edgead.read_image(sys.argv[2])).score)
assert "torch" not in sys.modules
"""


def install(wheel: Path, python: str, folder: Path) -> Path:
    """Install ``wheel`` into a fresh environment at ``folder``. Returns its interpreter."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    inside = folder / "bin/python"
    pip = [
        inside,
        "-m",
        "pip",
        "install",
        "-q",
        "--only-binary=:all:",
        "-c",
        ROOT / "constraints.txt",
    ]
    subprocess.run([*pip, wheel], check=True, stdout=sys.stderr)
    return inside


def first_verdict(python: Path) -> float:
    """The score of a golden frame, in an environment whose PATH has the interpreter alone."""
    frame = sorted((BUNDLE / "golden").glob("*.png"))[0]
    alone = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    alone["PATH"] = str(python.parent)
    command = [python, "-I", "-c", SCORE, BUNDLE, frame]
    done = subprocess.run(command, check=True, env=alone, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def write(python: Path, target: Path) -> None:
    """Write the bill of materials of the environment of ``python`` to ``target``."""
    command = [
        *(sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"),
        *("--pyproject", ROOT / "pyproject.toml", "--of", "JSON", python),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    bill = json.loads(done.stdout)
    # pip and setuptools belong to the environment, not to what is delivered.
    bill["components"] = [c for c in bill["components"] if c["name"] not in ("pip", "setuptools")]
    kept = {component["bom-ref"] for component in bill["components"]} | {
        bill["metadata"]["component"]["bom-ref"]
    }
    bill["dependencies"] = [one for one in bill["dependencies"] if one["ref"] in kept]
    bill["components"] += compiled_in()
    temporary = target.with_name(f".{target.name}.partial")
    temporary.write_text(json.dumps(bill, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(target)


def compiled_in() -> list[dict[str, object]]:
    """Components whose code is in the compiled module, not in packages beside it."""
    libraries = {
        "pybind11": (version("pybind11"), "BSD-3-Clause"),
        "nlohmann-json": (version("nlohmann-json"), "MIT"),
        "libc++": (f"of zig {version('ziglang')}", "Apache-2.0 WITH LLVM-exception"),
    }
    return [
        {
            "type": "library",
            "bom-ref": f"compiled-in-{name}",
            "name": name,
            "version": number,
            "description": "compiled into edgead._cpu",
            "licenses": [{"expression": licence}],
        }
        for name, (number, licence) in libraries.items()
    ]


def required(wheel: Path) -> list[str]:
    """The packages that the wheel needs without an extra, on a machine that is not a Jetson."""
    with zipfile.ZipFile(wheel) as packed:
        (name,) = [name for name in packed.namelist() if name.endswith(".dist-info/METADATA")]
        lines = packed.read(name).decode().splitlines()
    needs = [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]
    return [
        need
        for need in needs
        if "extra ==" not in need and "'tegra' in" not in need.replace('"', "'")
    ]

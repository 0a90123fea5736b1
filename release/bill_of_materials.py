"""What is in a wheel, as CycloneDX, and proof that it works where nothing can be compiled.

Installs a wheel into a fresh environment, scores a golden frame of a bundle there with no compiler,
cmake or nvcc on PATH, and writes what that environment holds, with what is in the wheel itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "tests/made_before/disc.edgead"
SCORE = """
import importlib.util
import sys
import edgead
assert importlib.util.find_spec("torch") is None
detector = edgead.Detector(sys.argv[1], device="cpu")
print(detector.score(edgead.read_image(sys.argv[2])).score)
"""
CHARTS = "edgead/live/page/static/vendor/uPlot.iife.min.js"
OF_THE_ENVIRONMENT = ("pip", "setuptools")
"""What it has before anything is installed: not delivered."""


def environment(python: str, folder: Path) -> Path:
    """Make a fresh environment at ``folder``. Returns its interpreter."""
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    return folder / "bin/python"


def prove(wheel: Path, inside: Path) -> dict[str, object]:
    """Install ``wheel`` into a fresh environment and score there.

    Returns: "score", "seconds" from the start of pip to the verdict, "cpu_seconds" of it, which
        other work on this machine hardly changes, and "bytes" of the packages.
    """
    start, before = time.monotonic(), children_s()
    install(wheel, inside)
    score = first_verdict(inside)
    return {
        "score": score,
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(children_s() - before, 1),
        "bytes": package_bytes(inside),
    }


def children_s() -> float:
    """CPU time of the processes that have been waited for."""
    used = os.times()
    return used.children_user + used.children_system


def install(wheel: Path, inside: Path) -> None:
    """Install ``wheel`` and what it requires, nothing of which may have to be compiled."""
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


def package_bytes(inside: Path) -> dict[str, int]:
    """How large the installed packages are, by distribution, the largest first.

    What belongs to the environment is left out.
    """
    code = """if True:
        import json
        from importlib.metadata import distributions
        print(json.dumps({
            each.name: [str(each.locate_file(file)) for file in each.files or ()]
            for each in distributions()
        }))"""
    command = [inside, "-I", "-c", code]
    files = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    sizes = Counter(
        {
            name: sum(Path(file).stat().st_size for file in paths if Path(file).exists())
            for name, paths in files.items()
            if name not in OF_THE_ENVIRONMENT
        }
    )
    return dict(sizes.most_common())


def first_verdict(python: Path) -> float:
    """The score of a golden frame, in an environment whose PATH has the interpreter alone."""
    frame = sorted((BUNDLE / "golden").glob("*.png"))[0]
    alone = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    alone["PATH"] = str(python.parent)
    command = [python, "-I", "-c", SCORE, BUNDLE, frame]
    done = subprocess.run(command, check=True, env=alone, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def write(python: Path, number: str, target: Path) -> None:
    """Write the bill of materials of the environment of ``python``, with edgead ``number``."""
    command = [
        *(sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"),
        *("--pyproject", ROOT / "pyproject.toml", "--of", "JSON", python),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    bill = completed(json.loads(done.stdout), number, in_the_wheel())
    temporary = target.with_name(f".{target.name}.partial")
    temporary.write_text(json.dumps(bill, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(target)


def completed(bill: dict, number: str, inside: list[dict]) -> dict:  # type: ignore[type-arg]
    """The bill of an environment as that of edgead.

    Args:
        bill: of CycloneDX, for a project whose version is not in pyproject.toml.
        number: that version.
        inside: the components that are in the wheel itself.
    """
    subject = {**bill["metadata"]["component"], "version": number}
    subject["purl"] = f"pkg:pypi/edgead@{number}"
    delivered = [c for c in bill["components"] if c["name"] not in OF_THE_ENVIRONMENT]
    kept = {component["bom-ref"] for component in (subject, *delivered)}
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    needs[subject["bom-ref"]] = [
        *needs.get(subject["bom-ref"], []),
        *(component["bom-ref"] for component in inside),
    ]
    return {
        **bill,
        "metadata": {**bill["metadata"], "component": subject},
        "components": [*delivered, *inside],
        "dependencies": [
            {"ref": ref, "dependsOn": on} if on else {"ref": ref}
            for ref, on in needs.items()
            if ref in kept
        ],
    }


def in_the_wheel() -> list[dict[str, object]]:
    """Components whose code is in the wheel, not in packages beside it."""
    charts = (ROOT / CHARTS).read_text(encoding="utf-8")[:200]
    module = "compiled into edgead._cpu"
    libraries = {
        "pybind11": (version("pybind11"), "BSD-3-Clause", module),
        "nlohmann-json": (version("nlohmann-json"), "MIT", module),
        "libc++": (f"of zig {version('ziglang')}", "Apache-2.0 WITH LLVM-exception", module),
        "uPlot": (charts.partition("(v")[2].partition(")")[0], "MIT", f"in {CHARTS}"),
    }
    return [
        {
            "type": "library",
            "bom-ref": f"inside-{name}",
            "name": name,
            "version": number,
            "description": where,
            "licenses": [{"expression": licence}],
        }
        for name, (number, licence, where) in libraries.items()
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

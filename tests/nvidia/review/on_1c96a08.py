"""Shows that the review's faults are in the code that it read: ``carried.py`` on that commit.

    python tests/nvidia/review/on_1c96a08.py FOLDER [options of pytest]

makes FOLDER a worktree of 1c96a08 (one that is there is used again), compiles its CPU kernels,
runs the carried tests there and prints a line for each: what the old code does. The exit code is
the number of those that pass, which would be no proof.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

COMMIT = "1c96a08"
HERE = Path(__file__).resolve().parent


def main() -> int:
    """One line a test."""
    checkout = Path(sys.argv[1]).resolve()
    if not checkout.exists():
        command = ["git", "worktree", "add", "--detach", str(checkout), COMMIT]
        subprocess.run(command, cwd=HERE, check=True)
    if not list(checkout.glob("edgead/_cpu.*.so")):
        command = [sys.executable, "setup.py", "build_ext", "--inplace"]
        subprocess.run(command, cwd=checkout, check=True, env={**os.environ, "EDGEAD_CUDA": "OFF"})
    for path in checkout.glob("edgead/_cuda*.so"):
        path.unlink()  # the simulation stands for it
    shutil.copy(HERE / "carried.py", checkout / "tests/nvidia/serving/test_carried.py")
    report = checkout / "build/carried.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts="]
    command += ["--import-mode=importlib", f"--junitxml={report}"]
    command += ["tests/nvidia/serving/test_carried.py", *sys.argv[2:]]
    paths = [checkout, checkout / "tests/nvidia/serving", checkout / "tests/nvidia"]
    path = os.pathsep.join(map(str, paths))
    subprocess.run(command, cwd=checkout, env={**os.environ, "PYTHONPATH": path}, check=False)
    said: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name, failed = case.get("name") or "", case.find("failure")
        said.setdefault(name, "PASSES")  # an error around it, as of a fixture, is no proof either
        if failed is not None:
            said[name] = (failed.get("message") or "").splitlines()[0][:150]
    for name, how in said.items():
        print(f"{name}: {how}")
    return list(said.values()).count("PASSES")


if __name__ == "__main__":
    sys.exit(main())

"""Installs edgead as docs/jetson.md says, in a folder that looks like a Jetson, and scores there.

    python tests/install/jetson_root.py ROOT BUNDLE.edgead IMAGE

Needs root, Debian's debootstrap and qemu-user-static, its entry in /proc/sys/fs/binfmt_misc, and
some ten minutes. ROOT becomes Debian 12 for arm64 (an installed one is used again) with what
JetPack has: Python with NumPy 1 and OpenCV as packages of the system, no nvcc on PATH, and a kernel
whose name ends in -tegra (by qemu). The commands are those of the page; then `edgead doctor --json`
must find OpenCV with GStreamer and NumPy 1, and `edgead score` must give a verdict of the CPU.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
KERNEL = "5.15.148-tegra"  # of JetPack 6
PACKAGES = "ca-certificates python3 python3-numpy python3-opencv"
INTERPRETER = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")


def main() -> int:
    """Make the folder, install, score; the last line says what came of it."""
    root, bundle, image = (Path(word).absolute() for word in sys.argv[1:4])
    if not INTERPRETER.exists():
        raise SystemExit(f"jetson_root: no {INTERPRETER}: install qemu-user-static, binfmt-support")
    if not (root / "usr/bin/python3").exists():
        command = ["debootstrap", "--arch=arm64", "--variant=minbase", "bookworm", str(root)]
        subprocess.run(command, check=True)
    shutil.copy("/etc/resolv.conf", root / "etc")
    inside(root, f"apt-get update -q && apt-get install -qy --no-install-recommends {PACKAGES}")
    if Path("/etc/ssl/certs/ca-certificates.crt").exists():
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs")
    clone(root / "edgead")
    for command in commands():
        print(f"jetson_root: {command}", flush=True)
        inside(root, f"cd /edgead && {command}")
    for source, name in ((bundle, "part.edgead"), (image, f"image{image.suffix}")):
        target = root / "tmp" / name
        shutil.rmtree(target, ignore_errors=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    found = json.loads(inside(root, "/edgead/.venv/bin/edgead doctor --json", output=True))
    check(found)
    score = f"/edgead/.venv/bin/edgead score /tmp/part.edgead /tmp/image{image.suffix} --json"
    print(inside(root, score, output=True, allowed=(0, 1, 3)))
    print(json.dumps(found["missing"], indent=2))
    print("jetson_root: installed, and a verdict of the CPU")
    return 0


def commands() -> list[str]:
    """Those of the page's section on installing."""
    page = (REPOSITORY / "docs/jetson.md").read_text()
    block = re.search(r"## Install.*?```sh\n(.*?)```", page, re.DOTALL)
    assert block is not None
    lines = [line.partition("#")[0].strip() for line in block[1].splitlines()]
    return [re.sub("^apt-get install", "apt-get install -y", line) for line in lines if line]


def clone(target: Path) -> None:
    """The last commit's files; an environment that is there already stays."""
    target.mkdir(exist_ok=True)
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=REPOSITORY, check=True, capture_output=True
    )
    subprocess.run(["tar", "-x", "-C", str(target)], input=archive.stdout, check=True)


def inside(root: Path, command: str, *, output: bool = False, allowed: Sequence[int] = (0,)) -> str:
    """Run a command there, as on JetPack's kernel."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_TIMEOUT")}
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "QEMU_UNAME": KERNEL,
        **kept,
    }
    mounted = "mountpoint -q /proc || mount -t proc proc /proc; "
    done = subprocess.run(
        ["chroot", str(root), "/bin/sh", "-c", mounted + command],
        env=environment,
        stdout=subprocess.PIPE if output else None,
        text=True,
    )
    if done.returncode not in allowed:
        raise SystemExit(f"jetson_root: {command} ended with {done.returncode}")
    return done.stdout or ""


def check(found: dict[str, Any]) -> None:
    """What an installation on a Jetson must be."""
    there = {one["what"]: one["detail"] for one in found["ok"]}
    assert found["can_score"], found
    assert there["numpy"].startswith("1."), there["numpy"]
    assert "with GStreamer" in there["opencv"], there["opencv"]
    assert "neon" in there["kernels cpu"], there["kernels cpu"]
    (cuda,) = (one for one in found["missing"] if one["what"] == "kernels cuda")
    assert "no nvcc in" in cuda["cause"], cuda


if __name__ == "__main__":
    sys.exit(main())

"""Installs edgead as docs/jetson.md says, in a folder that looks like a Jetson, and scores there.

    python tests/install/jetson_root.py ROOT BUNDLE.edgead IMAGE [WHEEL]

``make jetson-root`` builds the wheel first. Needs root, Debian's mmdebstrap and qemu-user-static,
the network, and Linux 6.7 or qemu's entry in /proc/sys/fs/binfmt_misc; nothing of this machine is
changed. ROOT becomes Debian 12 for arm64 (one that is there is used again) with what JetPack has:
Python with NumPy 1 and OpenCV as packages of the system, no nvcc on PATH, and a kernel whose name
ends in -tegra (by qemu). The commands are those of the page: with a WHEEL its section on one, else
that on a clone, which compiles for over half an hour. Then `edgead doctor --json` must find OpenCV
with GStreamer and NumPy 1, and `edgead score` must give the verdict that it gives here.
"""

from __future__ import annotations

import ctypes
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
CORES = "cortex-a76"  # of the generation that Orin's are of; qemu's own choice ends OpenVINO
SUITE = "bookworm"
PACKAGES = "python3-numpy python3-opencv python3-venv"
ENTRIES = Path("/proc/sys/fs/binfmt_misc")
QEMU = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
NEW_MOUNTS, NEW_USERS = 0x20000, 0x10000000  # CLONE_NEWNS, CLONE_NEWUSER
TOLERANCE = 1e-3  # relative: the kernels and OpenVINO of another processor


def main() -> int:
    """Make the folder, install, score; the last line says what came of it."""
    root, bundle, image, *wheels = (Path(word).absolute() for word in sys.argv[1:5])
    here = json.loads(scored([sys.executable, "-m", "edgead"], bundle, image))["frames"][0]
    enter_namespaces()
    if not (root / "var/lib/edgead-root").exists():
        make_root(root)
    mount_devices(root)
    shutil.copy("/etc/resolv.conf", root / "etc")
    if CERTIFICATES.exists():  # of a network that has one of its own
        shutil.copy(CERTIFICATES, root / "etc/ssl/certs")
    place = root / "edgead"
    if wheels:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        shutil.copy(wheels[0], place)
    else:
        clone(place)
    for source in (bundle, image):
        target = root / "tmp" / source.name
        shutil.rmtree(target, ignore_errors=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    for command in commands(*wheels):
        print(f"jetson_root: {command}", flush=True)
        inside(root, f"cd /edgead && {command}")
    edgead = "/edgead/.venv/bin/edgead"
    found = json.loads(inside(root, f"{edgead} doctor --json", output=True))
    check(found, *wheels)
    words = f"{edgead} score /tmp/{bundle.name} /tmp/{image.name} --json"
    there = json.loads(inside(root, words, output=True, allowed=(0, 1, 3)))["frames"][0]
    print(json.dumps({"here": here, "there": there, "doctor": found}, indent=2))
    assert there["is_anomalous"] == here["is_anomalous"], (there, here)
    assert abs(there["score"] - here["score"]) <= TOLERANCE * abs(here["score"]), (there, here)
    print("jetson_root: installed, and the verdict of this machine")
    return 0


def scored(edgead: Sequence[str], bundle: Path, image: Path) -> str:
    """What ``edgead score`` says here."""
    command = [*edgead, "score", str(bundle), str(image), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1, 3):
        raise SystemExit(f"jetson_root: {' '.join(command)} ended with {done.returncode}")
    return done.stdout


def enter_namespaces() -> None:
    """Go on in a process that has mounts, and an entry for qemu where there is none, of its own."""
    flags = NEW_MOUNTS if (ENTRIES / QEMU.stem).exists() else NEW_MOUNTS | NEW_USERS
    (ready, is_ready), (mapped, is_mapped) = os.pipe(), os.pipe()
    child = os.fork()
    if child:
        os.close(is_ready)
        if os.read(ready, 1) and flags & NEW_USERS:
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{child}/{name}").write_text("0 0 4294967294")
        os.write(is_mapped, b"x")
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        raise SystemExit(f"jetson_root: unshare: {os.strerror(ctypes.get_errno())}: be root")
    os.write(is_ready, b"x")
    os.read(mapped, 1)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    if flags & NEW_USERS:
        os.setgid(0)
        os.setuid(0)
        if not QEMU.exists():
            raise SystemExit(f"jetson_root: no {QEMU}: apt-get install qemu-user-static")
        subprocess.run(["mount", "-t", "binfmt_misc", "none", str(ENTRIES)], check=True)
        (ENTRIES / "register").write_bytes(QEMU.read_bytes().strip())


def make_root(root: Path) -> None:
    """Install Debian; what is most work, unpacking, is done by this machine's own dpkg."""
    skipped = "--skip=output/mknod,check/qemu"  # device nodes are mounted
    words = ["--mode=root", "--variant=minbase", "--architectures=arm64", skipped]
    words += ["--include=ca-certificates,python3", SUITE, str(root)]
    subprocess.run(["mmdebstrap", *words], check=True)
    mount_devices(root)
    shutil.copy("/etc/resolv.conf", root / "etc")
    inside(root, "apt-get update -q")
    inside(root, f"apt-get install -qy --no-install-recommends --download-only {PACKAGES}")
    packages = [str(path) for path in (root / "var/cache/apt/archives").glob("*.deb")]
    given = ["--force-all", "--force-unsafe-io", "--no-triggers", "--unpack"]
    subprocess.run(["dpkg", f"--root={root}", *given, *packages], check=True)
    inside(root, "dpkg --force-unsafe-io --configure -a")
    (root / "var/lib/edgead-root").touch()


def mount_devices(root: Path) -> None:
    """/proc, /sys and the devices that Python asks for, until this process ends."""
    for name in ("proc", "sys"):
        subprocess.run(["mount", "--rbind", f"/{name}", str(root / name)], check=True)
    (root / "dev/shm").mkdir(parents=True, exist_ok=True)
    for name in ("null", "zero", "random", "urandom"):
        target = root / "dev" / name
        if not target.exists():
            target.touch()
        subprocess.run(["mount", "--bind", f"/dev/{name}", str(target)], check=True)


def commands(wheel: Path | None = None) -> list[str]:
    """Those of the page's section on installing: from a clone, or a wheel."""
    page = (REPOSITORY / "docs/jetson.md").read_text()
    section = page.partition("## Install")[2].partition("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    (block,) = (one for one in blocks if (".whl" in one) == (wheel is not None))
    lines = [line.partition("#")[0].strip() for line in block.splitlines()]
    if wheel is not None:
        lines = [re.sub(r"\S+\.whl", wheel.name, line) for line in lines]
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
    kept = {n: v for n, v in os.environ.items() if n in ("PIP_DEFAULT_TIMEOUT", "PIP_INDEX_URL")}
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "QEMU_UNAME": KERNEL,
        "QEMU_CPU": CORES,
        "PIP_CERT": str(CERTIFICATES),
        **kept,
    }
    done = subprocess.run(
        ["chroot", str(root), "/bin/sh", "-c", command],
        env=environment,
        stdout=subprocess.PIPE if output else None,
        text=True,
    )
    if done.returncode not in allowed:
        raise SystemExit(f"jetson_root: {command} ended with {done.returncode}")
    return done.stdout or ""


def check(found: dict[str, Any], wheel: Path | None = None) -> None:
    """What an installation on a Jetson must be."""
    there = {one["what"]: one["detail"] for one in found["ok"]}
    assert found["can_score"], found
    assert there["numpy"].startswith("1."), there["numpy"]
    assert "with GStreamer" in there["opencv"], there["opencv"]
    assert "neon" in there["kernels cpu"], there["kernels cpu"]
    (cuda,) = (one for one in found["missing"] if one["what"] == "kernels cuda")
    said = r"no nvcc in" if wheel is None else r"^built for .*sm_87.*; unusable: |EDGEAD_CUDA=OFF"
    assert re.search(said, cuda["cause"]) and cuda["cure"], cuda


if __name__ == "__main__":
    sys.exit(main())

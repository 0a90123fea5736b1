"""``make wheels``: the wheels and the source distribution of a release, in dist/.

Usage: build_wheels.py [--pythons PYTHON …] [--machines x86_64 aarch64]. Ends with one line of JSON:
{"wheels": [{"file", "tag", "bytes", "modules", "sha256", "installed"}], "sdist", "materials"},
"installed" for this machine's: {"score", "seconds", "cpu_seconds", "bytes": {PACKAGE: bytes}}.

What is committed is built, not what lies in the folder: it is packed as a source distribution, and
each wheel is built from that one unpacked. zig compiles (without CUDA kernels) for each machine
with the headers of an old glibc; auditwheel proves that nothing newer is asked for, and names the
wheel by the oldest that has all of it. No container is needed. Each wheel for this machine is then
installed where nothing can be compiled, and scores; what that environment holds is the bill of
materials (CycloneDX).

Two runs on one commit with the same packages make the same bytes: all times are those of the
commit, or SOURCE_DATE_EPOCH. The version is that of the tag: on the commit of v1.2.3 it is 1.2.3,
which edgead/installation.py has to say too; on any other one it is a development version of what
stands there.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import bill_of_materials
from build_wheel import described

ROOT = Path(__file__).resolve().parents[1]
DIST, WORK = ROOT / "dist", ROOT / "build/wheels"
GLIBC = {"x86_64": "2.17", "aarch64": "2.28"}
"""The oldest that a machine may have: CentOS 7; Debian 10 (OpenVINO's wheels for Arm: 2.31)."""
PYTHONS = ("python3.10", "python3.11", "python3.12", "python3.13")
VERSION_FILE = "edgead/installation.py"


def main() -> None:
    """Build them all. Raises: SystemExit for what cannot be built, with the cure."""
    options = arguments()
    pythons = [usable(python) for python in options.pythons]
    epoch = os.environ.setdefault("SOURCE_DATE_EPOCH", git("log", "-1", "--format=%ct"))
    shutil.rmtree(WORK, ignore_errors=True)
    version = write_source(WORK / "tree")
    sdist = pack(WORK / "tree", version, int(epoch))
    say(f"packed   {sdist.name}")
    made = []
    for python in pythons:
        tools = environment(python)
        for machine in options.machines:
            made.append(build(sdist, tools, machine))
            say(f"built    {made[-1].name}")
    DIST.mkdir(exist_ok=True)
    files = [Path(shutil.copy2(file, DIST)) for file in (sdist, *made)]
    materials = DIST / f"edgead-{version}.cdx.json"
    installed = prove(pythons, files[1:], version, materials)
    wheels = [
        {**described(file), "sha256": digest(file), "installed": installed.get(file)}
        for file in files[1:]
    ]
    bill = relative(materials) if installed else None
    print(json.dumps({"wheels": wheels, "sdist": relative(files[0]), "materials": bill}))


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pythons", nargs="+", default=PYTHONS, metavar="PYTHON")
    parser.add_argument("--machines", nargs="+", default=sorted(GLIBC), choices=sorted(GLIBC))
    return parser.parse_args()


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def prove(
    pythons: Sequence[str], wheels: Sequence[Path], version: str, materials: Path
) -> dict[Path, dict[str, object]]:
    """Install and try the wheels for this machine; write the bill of materials of the last one.

    Returns: what was found for each of them.
    """
    here = [wheel for wheel in wheels if wheel.stem.endswith(f"_{platform.machine()}")]
    found = {}
    for python, wheel in zip(pythons, here, strict=False):
        inside = bill_of_materials.environment(python, WORK / f"fresh-{Path(python).name}")
        found[wheel] = bill_of_materials.prove(wheel, inside)
        say(f"scored   {found[wheel]['score']:.4f} with {wheel.name}, no compiler on PATH")
        bill_of_materials.write(inside, version, materials)
    return found


def say(line: str) -> None:
    """Progress, beside the line of JSON."""
    print(line, file=sys.stderr, flush=True)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def run(*command: object, **options: object) -> str:
    """What the command prints. Raises: SystemExit with what it said where it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(  # type: ignore[call-overload]
        words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}\nbuild_wheels: {' '.join(words)}: exit {done.returncode}")
    return str(done.stdout).strip()


def git(*words: str) -> str:
    if not (ROOT / ".git").exists():
        raise SystemExit("build_wheels: expected a clone: what is committed is built")
    return run("git", "-C", ROOT, *words)


def usable(python: str) -> str:
    """The path of an interpreter that can be asked. Raises: SystemExit where there is none."""
    found = shutil.which(python)
    if found and not subprocess.run([found, "-c", ""], capture_output=True).returncode:
        return run(found, "-c", "import sys; print(sys.executable)")
    raise SystemExit(
        f"build_wheels: {python} is not installed; build for those you have, "
        'make wheels PYTHONS="python3.11", or install it, for example with pyenv, which starts the '
        "versions that are listed in PYENV_VERSION=3.13.0:3.12.1"
    )


def write_source(tree: Path) -> str:
    """Write what is committed into ``tree``, its version that of the tag. Returns the version."""
    tree.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "-C", ROOT, "archive", "HEAD"], check=True, stdout=subprocess.PIPE
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as packed:
        packed.extractall(tree, filter="data")
    if git("status", "--porcelain", "--untracked-files=no"):
        say("note: what is committed is built; there are changes that are not")
    file = tree / VERSION_FILE
    written = re.search(r'^__version__ = "(.+)"$', text := file.read_text(), re.MULTILINE)
    assert written is not None
    version = version_of(
        written[1], git("tag", "--points-at", "HEAD"), git("rev-list", "--count", "HEAD")
    )
    file.write_text(text.replace(written[0], f'__version__ = "{version}"'))
    return version


def version_of(written: str, tags: str, commits: str) -> str:
    """The version of this commit.

    Args:
        written: what stands in the file.
        tags: those of the commit, by line.
        commits: how many there are up to this one.

    Raises: SystemExit where a tag and the file differ.
    """
    releases = [tag[1:] for tag in tags.split() if re.fullmatch(r"v\d.*", tag)]
    if not releases:
        return f"{written}.dev{commits}"
    if releases != [written]:
        raise SystemExit(
            f"build_wheels: tagged {tags.split()}, but {VERSION_FILE} says {written}; "
            f"make release VERSION={releases[0]} writes both"
        )
    return written


def pack(tree: Path, version: str, epoch: int) -> Path:
    """The source distribution: setuptools's, packed again so that nothing else is in its bytes."""
    run(sys.executable, "-m", "build", "--sdist", "--outdir", WORK / "sdist", tree)
    plain = WORK / "sdist" / f"edgead-{version}.tar.gz"
    packed = WORK / plain.name
    with (
        tarfile.open(plain) as source,
        packed.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=epoch) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as target,
    ):
        for member in sorted(source.getmembers(), key=lambda one: one.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            target.addfile(member, source.extractfile(member) if member.isfile() else None)
    return packed


def environment(python: str) -> Path:
    """An interpreter with what pyproject.toml needs to build. Returns its path."""
    folder = WORK / f"python-{Path(python).name}"
    needs = re.search(r"^requires = (\[.*\])$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert needs is not None
    run(python, "-m", "venv", folder)
    pip = (folder / "bin/python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt")
    run(*pip, *json.loads(needs[1]))
    return folder / "bin/python"


def build(sdist: Path, python: Path, machine: str) -> Path:
    """One wheel, built by zig from the source distribution and proven by auditwheel."""
    work = WORK / "now"  # one folder for all of them: no path in a wheel depends on which it is
    shutil.rmtree(work, ignore_errors=True)
    with tarfile.open(sdist) as packed:
        packed.extractall(work, filter="data")
    (source,) = work.iterdir()
    tag = run(python, "-c", "import sys; print(sys.implementation.cache_tag)")
    variables = {
        **os.environ,
        "CMAKE_TOOLCHAIN_FILE": str(source / "csrc/zig.cmake"),
        "EDGEAD_ZIG_PYTHON": sys.executable,
        "EDGEAD_ZIG_MACHINE": machine,
        "EDGEAD_ZIG_GLIBC": GLIBC[machine],
        "EDGEAD_CUDA": "OFF",
        "SETUPTOOLS_EXT_SUFFIX": f".{tag}-{machine}-linux-gnu.so",
        "_PYTHON_HOST_PLATFORM": f"linux-{machine}",
    }
    run(
        python,
        "setup.py",
        "-q",
        "bdist_wheel",
        "--dist-dir",
        work / "plain",
        cwd=source,
        env=variables,
    )
    (plain,) = (work / "plain").iterdir()
    return Path(shutil.copy2(proven(plain, machine, work / "proven"), WORK))


def proven(plain: Path, machine: str, folder: Path) -> Path:
    """auditwheel's copy of a wheel in ``folder``, named by the oldest glibc that it runs with.

    Raises: SystemExit where that is newer than it was built for.
    """
    beside = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    # auto: by name, auditwheel takes the platforms of the machine alone on which it runs.
    repair = (sys.executable, "-m", "auditwheel", "repair", "--plat", "auto")
    run(*repair, "--wheel-dir", folder, plain, env=beside)
    (wheel,) = folder.iterdir()
    found = re.search(rf"manylinux_2_(\d+)_{machine}$", wheel.stem)
    if not found or int(found[1]) > int(GLIBC[machine].removeprefix("2.")):
        raise SystemExit(f"build_wheels: {wheel.name}: expected at most glibc {GLIBC[machine]}")
    return wheel


if __name__ == "__main__":
    main()

"""``make release VERSION=1.2.3``: the checklist of a release, each point done or checked.

Usage: release.py VERSION [--skip-ci]. Stops at the first point that does not hold, and says what to
do; started again it goes on from there. Nothing leaves this machine: the last lines are the
commands that publish.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSION_FILE, CITATION, CHANGELOG = "edgead/installation.py", "CITATION.cff", "CHANGELOG.md"


def main() -> int:
    """Walk the list. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("version", help="such as 1.2.3")
    parser.add_argument("--skip-ci", action="store_true", help="CI has passed on this commit")
    options = parser.parse_args()
    return walk(points(options.version, options.skip_ci))


Point = tuple[str, Callable[[], str]]
"""What is checked or done, and the function for it, which returns why it does not hold, or ""."""


def points(version: str, skip_ci: bool) -> list[Point]:
    """The list, in its order."""
    return [
        (f"{version} is a version after those that are tagged", lambda: is_next(version)),
        ("everything is committed, on main", committed),
        (f"{CHANGELOG} tells what is new in it", lambda: changelog(version)),
        (f"{VERSION_FILE} and {CITATION} say {version}", lambda: write_version(version)),
        ("the C library keeps its ABI, or says that it does not", abi),
        ("lint and tests pass (.ci/run)", (lambda: "") if skip_ci else ci),
        (f"the commit is tagged v{version}", lambda: tag(version)),
        ("two builds give the same wheels", same_twice),
        ("publish, by hand", lambda: publish(version)),
    ]


def walk(list_: Sequence[Point]) -> int:
    """Print each point as it is done. Returns 1 at the first that does not hold."""
    for what, hold in list_:
        why = hold()
        print(f"[{' ' if why else 'x'}] {what}" + (f": {why}" if why else ""), flush=True)
        if why:
            return 1
    return 0


def git(*words: str) -> str:
    """What git says."""
    return subprocess.run(
        ["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def is_next(version: str) -> str:
    """Why ``version`` cannot be released, or ""."""
    if not re.fullmatch(r"\d+\.\d+\.\d+(rc\d+)?", version):
        return "expected MAJOR.MINOR.PATCH, as 1.2.3, or 1.2.3rc1"
    tags = git("tag", "--list", "v*").split()
    at_head = git("tag", "--points-at", "HEAD").split()
    later = [one for one in tags if order(one[1:]) >= order(version) and one not in at_head]
    return f"{later[-1]} is there" if later else ""


def order(version: str) -> tuple[int, ...]:
    """Something to compare versions by: a candidate comes before its release."""
    numbers, _, candidate = version.partition("rc")
    return (*map(int, numbers.split(".")), int(candidate) if candidate else sys.maxsize)


def committed() -> str:
    if git("status", "--porcelain"):
        return "git status lists changes: commit or remove them"
    branch = git("rev-parse", "--abbrev-ref", "HEAD")
    return "" if branch == "main" else f"the branch is {branch}"


def changelog(version: str) -> str:
    """The section is there and has a date; that of today is put in where it says unreleased."""
    file = ROOT / CHANGELOG
    text = file.read_text(encoding="utf-8")
    heading = re.search(rf"^## \[{re.escape(version)}\] - (.+)$", text, re.MULTILINE)
    if heading is None:
        return f"no heading '## [{version}] - unreleased'"
    if heading[1] == "unreleased":
        today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        file.write_text(text.replace(heading[0], f"## [{version}] - {today}"), encoding="utf-8")
    return ""


def write_version(version: str) -> str:
    """Both files say it; where one did not, the change is committed."""
    for name, pattern in (
        (VERSION_FILE, r'^__version__ = "(.+)"$'),
        (CITATION, r"^version: (.+)$"),
    ):
        file = ROOT / name
        text = file.read_text(encoding="utf-8")
        found = re.search(pattern, text, re.MULTILINE)
        if found is None:
            return f"{name} has no line with a version"
        line = found[0].replace(found[1], version)
        file.write_text(text.replace(found[0], line), encoding="utf-8")
    if git("status", "--porcelain"):
        git("commit", "-aqm", f"Release {version}")
    return ""


def abi() -> str:
    """``make abi`` writes what is committed."""
    said = subprocess.run(["make", "-s", "abi"], cwd=ROOT, capture_output=True, text=True)
    if said.returncode:
        return said.stderr.strip().splitlines()[-1]
    changed = git("status", "--porcelain", "csrc/abi.txt")
    return "csrc/abi.txt changed: raise the library's version, tell it in the changelog" * bool(
        changed
    )


def ci() -> str:
    done = subprocess.run(["bash", ".ci/run"], cwd=ROOT).returncode
    return f"it ended with {done}, see above" if done else ""


def tag(version: str) -> str:
    if f"v{version}" not in git("tag", "--points-at", "HEAD").split():
        git("tag", "-a", f"v{version}", "-m", f"edgead {version}")
    return ""


def same_twice() -> str:
    """Build all wheels two times; their digests must be the same."""
    digests = [built() for _ in range(2)]
    return "" if digests[0] == digests[1] else f"digests differ: {digests}"


def built() -> dict[str, str]:
    """SHA-256 of each file of ``make wheels``."""
    done = subprocess.run(["make", "-s", "wheels"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"make wheels ended with {done.returncode}")
    said = json.loads(done.stdout.splitlines()[-1])
    return {wheel["file"]: wheel["sha256"] for wheel in said["wheels"]}


def publish(version: str) -> str:
    # Neither the bill of materials, which PyPI does not take, nor what lies there of a candidate.
    print(
        f"    git push origin main v{version}\n    python -m twine upload "
        f"dist/edgead-{version}.tar.gz dist/edgead-{version}-*manylinux*.whl"
    )
    return ""


if __name__ == "__main__":
    sys.exit(main())

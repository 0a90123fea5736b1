"""A bundle as a payload of SWUpdate: the example's files, with Debian's swupdate."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "swupdate"

# On a busy machine SWUpdate 2022.12 now and then exits with 1 after it, or ends while the script
# still runs, whatever that does: with one that only prints, one run of five. It is run again then.
SUCCESS = "SWUPDATE successful !"
TRIES = 6


@pytest.fixture
def swupdate(slots_dir: Path, keys: Path, tmp_path: Path) -> Any:
    """``swupdate(bundle)``: build the payload, install it; gives the finished process."""
    for program in ("swupdate", "openssl", "cpio"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    certificate, key, conf = (tmp_path / name for name in ("c.pem", "k.pem", "update.conf"))
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    request += ["-subj", "/CN=test", "-addext", "extendedKeyUsage=emailProtection"]
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    edgead = tmp_path / "edgead"
    edgead.write_text(f'#!/bin/sh\nexec {sys.executable} -m edgead "$@"\n')
    edgead.chmod(0o755)
    options = 'OPTIONS="--device cpu --threads 1"'
    conf.write_text(f"EDGEAD={edgead}\nSLOTS={slots_dir}\nKEYS={keys}\n{options}\n")
    environment = {**os.environ, "CONF": str(conf), "STAGE": str(tmp_path / "stage")}
    environment["TMPDIR"] = str(tmp_path)  # its sockets and scripts

    def install(bundle: Path) -> subprocess.CompletedProcess[str]:
        payload = tmp_path / "x.swu"
        command = [EXAMPLE / "build.sh", bundle, certificate, key, payload]
        subprocess.run(list(map(str, command)), check=True, env=environment)
        return subprocess.run(
            ["swupdate", "-H", "board:1.0", "-k", certificate, "-i", payload],
            capture_output=True, text=True, env=environment, timeout=120,
        )  # fmt: skip

    return install


def test_swupdate_brings_a_bundle(
    swupdate: Any, serves: Any, versions: Any, tmp_path: Path
) -> None:
    for _ in range(TRIES):
        done = swupdate(versions["new"])
        if SUCCESS in done.stdout:
            break
    assert SUCCESS in done.stdout, done.stdout + done.stderr
    assert serves() == "new" and not (tmp_path / "stage").exists()


def test_swupdate_is_told_what_edgead_refuses(swupdate: Any, serves: Any, versions: Any) -> None:
    for name in ("wrong", "older"):
        done = swupdate(versions[name])
        assert done.returncode != 0 and SUCCESS not in done.stdout and serves() == "old"

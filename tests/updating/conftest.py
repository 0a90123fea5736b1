"""Signed bundles in four versions, and slots in which the first one serves."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from serving import Server  # type: ignore[import-not-found]

from edgead.bundle.storage import open_bundle
from edgead.signing.ed25519 import new_key, read_key
from edgead.signing.sign import sign
from edgead.signing.trust import read_trusted_keys
from edgead.updating.slots import opened
from edgead.updating.sources import FolderSource
from edgead.updating.update import Options, update

ENGINE = {"device": "cpu", "threads": 1}


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list that trusts one key, ``signing.key`` beside it."""
    folder = tmp_path_factory.mktemp("keys")
    key = new_key(folder / "signing.key")
    (folder / "trusted.keys").write_text(f"trust {key.public} the line\n")
    return folder / "trusted.keys"


@pytest.fixture(scope="session")
def versions(tiny: Any, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """``old`` (counter 5), ``new`` (6), ``older`` (4), ``strict`` (7: rejects every second part),
    ``wrong`` (8: its golden frames are not reproduced); not to be changed."""
    folder, key = tmp_path_factory.mktemp("versions"), read_key(keys.with_name("signing.key"))
    changes: dict[str, tuple[int, dict[str, Any]]] = {
        "older": (4, {"name": "older"}),
        "old": (5, {"name": "old"}),
        "new": (6, {"name": "new"}),
        "strict": (7, {"name": "strict"}),
        "wrong": (8, {"name": "wrong"}),
    }
    from dataclasses import replace

    calibration = replace(tiny.manifest.calibration, false_reject_rate=0.5)
    changes["strict"][1]["calibration"] = calibration
    golden = tuple(replace(g, score=g.score + 1) for g in tiny.manifest.golden)
    changes["wrong"][1]["golden"] = golden
    for name, (counter, change) in changes.items():
        sign(tiny.write(folder / f"{name}.edgead", **change), key, counter)
    return {name: folder / f"{name}.edgead" for name in changes}


@pytest.fixture(scope="session")
def first_slots(
    versions: dict[str, Path], keys: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Slots in which ``old`` serves; not to be changed."""
    folder = tmp_path_factory.mktemp("first") / "slots"
    with opened(folder, make=True) as slots:
        source = FolderSource(versions["old"])
        assert update(slots, source, read_trusted_keys(keys), Options(ENGINE)).updated
    return folder


@pytest.fixture
def slots_dir(first_slots: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    shutil.copytree(first_slots, tmp_path / "slots", symlinks=True)
    return tmp_path / "slots"


@pytest.fixture
def serves(slots_dir: Path) -> Callable[[], str]:
    """``serves()``: name of the bundle that ``current`` leads to."""
    return lambda: open_bundle(slots_dir / "current").manifest.name


@pytest.fixture
def run(run: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    """``run(*words)`` -> (exit code, stdout, stderr) of edgead update."""
    return partial(run, "update")


@pytest.fixture
def bring(
    run: Any, slots_dir: Path, versions: dict[str, Path], keys: Path
) -> Callable[..., tuple[int, str, str]]:
    """``bring(version or source, *words)``: an update of ``slots_dir``."""

    def call(which: object, *words: object) -> tuple[int, str, str]:
        source = versions.get(str(which), which)
        given = ["--from", source, "--slots", slots_dir, "--trust", keys, "--device", "cpu"]
        return run(*given, "--threads", 1, *words)

    return call


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A web server of ``tmp_path / "www"``, which can misbehave."""
    (tmp_path / "www").mkdir()
    with Server(tmp_path / "www") as running:
        yield running

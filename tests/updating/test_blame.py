"""What says nothing about a bundle is not remembered as its failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import edgead
from edgead.errors import DeviceError


@pytest.mark.parametrize("error", [MemoryError(), DeviceError("OpenVINO: bad allocation")])
@pytest.mark.parametrize("when", ["qualify", "health"])
def test_a_device_without_memory_does_not_blame_the_bundle(
    bring: Any, serves: Any, slots_dir: Path, monkeypatch: pytest.MonkeyPatch,
    error: Exception, when: str,
) -> None:  # fmt: skip
    """At the first of two openings of the new bundle, or at the second one, where it serves."""
    openings, failing = [], {"qualify": 1, "health": 2}[when]

    class Short(edgead.Detector):
        def __init__(self, *given: Any, **more: Any) -> None:
            openings.append(given)
            if len(openings) == failing:
                raise error
            super().__init__(*given, **more)

    monkeypatch.setattr("edgead.updating.update.Detector", Short)
    code, _, err = bring("new")
    said = "not enough memory" if isinstance(error, MemoryError) else "bad allocation"
    assert code == 2 and said in err and "may be brought again" in err and serves() == "old"
    state = json.loads((slots_dir / "update.json").read_text())
    assert state == {"counter": 5, "trial": None, "failed": {}}
    code, _, err = bring("new")
    assert code == 0 and serves() == "new", err


def test_frames_that_nobody_can_score_do_not_blame_the_bundle(
    bring: Any, serves: Any, tmp_path: Path
) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames/a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, _, err = bring("new", "--shadow", tmp_path / "frames", "--most-changed", "0.5")
    assert code == 1 and "none of 1 images" in err and "a.png: image" in err and serves() == "old"
    code, _, err = bring("new")
    assert code == 0 and serves() == "new", err

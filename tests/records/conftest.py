"""Records in a folder of their own, and two verdicts for them."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import pytest

from edgead import Detector
from edgead.records.store import Records, RecordsSettings

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def results(bundle_dir, make_frame):
    """(good, anomalous): a scratch makes the difference."""
    scratched = make_frame(3)
    scratched[20:32:2, 15:65], scratched[21:32:2, 15:65] = 255, 0
    with Detector(bundle_dir, threads=1) as detector:
        found = detector.score(make_frame(0)), detector.score(scratched)
    assert [each.is_anomalous for each in found] == [False, True]
    return found


@pytest.fixture
def open_records(tmp_path):
    """``open_records(**settings)``: Records in one folder, closed when the test ends."""
    opened = []

    def start(draw=lambda: 0.999, log=None, **settings):
        log = [] if log is None else log
        given = RecordsSettings(tmp_path / "records", **settings)
        opened.append(Records(given, lambda *said: log.append(said), draw))
        return opened[-1]

    yield start
    for each in opened:
        if each._lock is not None:
            each.close()


@pytest.fixture
def film_of_one(make_frame, tmp_path) -> Path:
    """A video of one frame."""
    path = tmp_path / "one.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (90, 70))
    writer.write(make_frame(0))
    writer.release()
    return path

"""A bundle learnt from discs, and records of a line whose discs begin to have labels."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "learning"))
sys.path.insert(0, str(Path(__file__).parents[1]))  # browser
sys.path.insert(0, str(Path(__file__).parent))

from good_parts import part, scratched, with_label, write_small_backbone  # type: ignore
from relearning_line import RATE, a_request, mark_all, record

from edgead import Detector
from edgead.bundle.storage import open_bundle
from edgead.cli.main import main
from edgead.learning.scoring import Scorer, fence, limit_of
from edgead.live.relearning import job
from edgead.live.relearning.job import Request, learn
from edgead.live.relearning.state import State


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Learnt from discs without a label."""
    pytest.importorskip("torch", reason="a backbone is made with the extra edgead[train]")
    folder = tmp_path_factory.mktemp("taught")
    write_small_backbone(folder / "small.onnx")
    (folder / "good").mkdir()
    for seed in range(30):
        cv2.imwrite(str(folder / "good" / f"{seed:02}.png"), part(seed))
    words = ["learn", folder / "good", "--out", folder / "disc.edgead", "--size", 64]
    words += ["--backbone", folder / "small.onnx", "--memory", 150, "--calibration", 0.4]
    words += ["--false-reject-rate", RATE, "--placement", "loose"]
    assert main([str(word) for word in words]) == 0
    return folder / "disc.edgead"


@pytest.fixture(scope="session")
def shift(taught: Path) -> list[tuple[str, Any]]:
    """(kind, result) of 80 frames: good discs, some with a label that are rejected, scratches."""
    bundle = open_bundle(taught)
    score, limit = Scorer(bundle), limit_of(bundle)
    far = fence(bundle.manifest.calibration.scores)
    labels = (seed for seed in range(200, 900) if limit < score(with_label(seed))[1] <= far)
    order = ["good", "label", "good", "label", "scratch"] * 16
    frames = [
        scratched(500 + number)
        if kind == "scratch"
        else with_label(next(labels))
        if kind == "label"
        else part(500 + number)
        for number, kind in enumerate(order)
    ]
    with Detector(taught, device="cpu", threads=1) as detector:
        return [(kind, detector.score(frame)) for kind, frame in zip(order, frames, strict=True)]


@pytest.fixture(scope="session")
def reviewed(tmp_path_factory: pytest.TempPathFactory, shift: list[tuple[str, Any]]) -> Path:
    """All that waits is marked; every other frame is in the sample. To be copied."""
    folder = record(tmp_path_factory.mktemp("reviewed") / "records", shift, 2)
    mark_all(folder, [kind for kind, _ in shift])
    return folder


@pytest.fixture(scope="session")
def finished(
    reviewed: Path, taught: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Request, State, list[str]]:
    """A learning that went well: what was asked for, its state, its steps. To be copied."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(taught, folder / "disc.edgead")
    shutil.copytree(reviewed, folder / "records")
    request, steps = a_request(folder), list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "NICE", 0)  # this process goes on to other tests
        state = learn(request, lambda step, done, total: steps.append(step))
    return request, state, list(dict.fromkeys(steps))


@pytest.fixture
def ready(finished: tuple[Request, State, list[str]], tmp_path: Path) -> Request:
    """A copy of what ``finished`` has."""
    shutil.copytree(finished[0].bundle, tmp_path / "disc.edgead")
    shutil.copytree(finished[0].records, tmp_path / "records")
    request = a_request(tmp_path)
    (request.records / ".learning" / finished[0].place.name).rename(request.place)
    return request

"""Two processes under torchrun on the CPU, held against one: same losses, one model, one writer."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from edgead_training.processes import launch

from edgead.errors import DeviceError, TrainingError

WORKER = Path(__file__).with_name("processes_worker.py")


def _json(path: Path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def two(parts, tmp_path_factory):
    """What the worker found in two processes: ``found[rank]``; and where its runs lie."""
    out = tmp_path_factory.mktemp("two")
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # else torchrun warns that it sets it
    done = subprocess.run(
        [*words, str(WORKER), str(parts), str(out)],
        capture_output=True, env=environment, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # neither Fabric nor torch has something to say to people
    return SimpleNamespace(out=out, found=[_json(out / f"{rank}.json") for rank in (0, 1)])


@pytest.fixture(scope="module")
def one(parts, tmp_path_factory):
    """The same functions in this process alone."""
    out = tmp_path_factory.mktemp("one")
    return SimpleNamespace(out=out, worker=runpy.run_path(str(WORKER)))


def test_two_processes_compute_what_one_does(one, two):
    alone = one.worker["toy"](one.out)
    for found in two.found:
        # Float64 rounds at 1e-16; 24 steps of a smooth loss do not make 1e-12 of it.
        assert found["toy"]["weights"] == pytest.approx(alone["weights"], abs=1e-12, rel=0)
        for both, row in zip(found["toy"]["history"], alone["history"], strict=True):
            assert [both[key] for key in ("stage", "step")] == [row["stage"], row["step"]]
            assert both["mse"] == pytest.approx(row["mse"], rel=1e-12)
            assert both["l1"] == pytest.approx(row["l1"], rel=1e-12)
    first, second = (found["toy"]["seen"] for found in two.found)
    assert [a + b for a, b in zip(first, second, strict=True)] == alone["seen"]
    assert {len(part) for part in first + second} == {2}


def test_each_process_draws_for_itself(two):
    first, second = (found["toy"]["drawn"] for found in two.found)
    assert set(first).isdisjoint(second) and len(set(first + second)) == 48


def test_both_processes_hold_the_same_model(two):
    first, second = two.found
    for case in ("toy", "clean", "whole", "resumed", "minutes", "agpnet", "redi"):
        assert first[case]["digest"] == second[case]["digest"], case


def test_batch_normalisation_of_parts_stays_near_that_of_the_whole(parts, one, two):
    one.worker["ssae"](parts, one.out / "clean", clean=1.0)
    alone, both = (_json(run.out / "clean" / "run.json")["history"] for run in (one, two))
    assert len(alone) == 3
    for a, b in zip(alone, both, strict=True):
        # Nothing is drawn here, so all that differs is mean and variance of 2 images, not of 4:
        # a hundredth in 20 steps, where the loss falls by a fifth.
        assert b["kept"] == pytest.approx(a["kept"], rel=0.05)
    assert both[-1]["kept"] < 0.9 * both[0]["kept"]


def test_agpnet_without_noise_learns_in_two_as_in_one(parts, one, two):
    """Nothing is drawn, and its norms know no batch: only the order of sums differs."""
    one.worker["whole"]("agpnet", one.worker["AGPNET"], parts, one.out / "agpnet")
    alone, both = (_json(run.out / "agpnet" / "run.json")["history"] for run in (one, two))
    assert [row["step"] for row in alone] == [row["step"] for row in both] == [0, 10]
    # The sum of two halves, rounded at 6e-8 each.
    assert both[0]["clean"] == pytest.approx(alone[0]["clean"], rel=1e-6)
    # Adam moves a weight whose gradient is but rounding by its rate, yet such weights hardly count.
    assert both[1]["clean"] == pytest.approx(alone[1]["clean"], rel=1e-4)
    assert both[1]["clean"] < 0.99 * both[0]["clean"]


def test_redi_learns_both_stages_in_two_processes(two):
    history = _json(two.out / "redi" / "run.json")["history"]
    assert [row["stage"] for row in history] == ["recover", "discriminate"]
    assert two.found[0]["redi"]["steps"] == 11


def test_a_signal_to_one_stops_all_and_two_resume_as_if_never_stopped(two):
    for found in two.found:
        assert found["stopped"] == {"stopped": "stopped by SIGTERM", "code": 143}
        assert found["resumed"]["digest"] == found["whole"]["digest"]
        assert found["resumed"]["steps"] == 21


def test_one_process_resumes_what_two_began(parts, one, two):
    out = one.out / "left"
    shutil.copytree(two.out / "left", out)
    assert one.worker["ssae"](parts, out, resume=True)["steps"] == 21
    steps = [row["step"] for row in _json(out / "run.json")["history"]]
    assert steps == [0, 10, 20]
    assert _json(out / "run.json")["processes"] == 1


def test_a_bound_in_minutes_ends_in_the_same_step(two):
    first, second = (found["minutes"]["steps"] for found in two.found)
    assert first == second >= 1
    assert _json(two.out / "minutes" / "run.json")["processes"] == 2


def test_the_first_process_alone_writes_and_speaks(two):
    first, second = two.found
    assert {"run.json", "model.safetensors", "checkpoint.safetensors"} <= set(first["written"])
    assert second["written"] == []
    lines = first["command"]["stdout"].splitlines()
    assert first["command"]["code"] == second["command"]["code"] == 0
    assert any(line.startswith("device cpu, 2 processes") for line in lines)
    assert lines[-1].startswith("next   edgead export")
    assert second["command"]["stdout"] == second["command"]["stderr"] == ""


def test_a_batch_that_does_not_divide_is_refused_once(two):
    first, second = (found["refused"] for found in two.found)
    assert "batch_size=5 cannot be divided among 2" in first["stderr"]
    assert "--set batch_size=6" in first["stderr"]
    assert second["stdout"] == second["stderr"] == ""
    assert first["code"] == second["code"] == 1
    assert not (two.out / "refused").exists()


def test_an_error_in_one_process_is_told_by_all(two):
    first, second = (found["missing"] for found in two.found)
    assert "nowhere does not exist" in second
    assert first == f"process 1 of 2: {second}"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_what_goes_on_is_started_as_it_was(monkeypatch):
    from edgead_training.processes import launcher

    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert launcher() == ["edgead"]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert launcher() == ["torchrun", "--nproc-per-node", "4", "-m", "edgead"]


def test_a_gpu_that_is_not_there_gets_a_sentence():
    with pytest.raises(DeviceError, match="--device cpu"):
        launch("cuda")


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "9" * 5000, "٣", "1_0", "\n"])
def test_the_environment_of_torchrun_is_read_at_the_door(monkeypatch, text):
    for name in ("GROUP_RANK", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", text)
    with pytest.raises(TrainingError, match=r"WORLD_SIZE=.*start with torchrun"):
        launch("cpu")

"""Commands on a SIMULATED device: what they say of it and how they count; no GPU is involved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulation import Device

from edgead.bench.command import main as bench
from edgead.bundle.storage import Bundle
from edgead.cli.main import main
from edgead.errors import DeviceError
from edgead.nvidia import memory


def test_doctor_says_what_auto_would_choose(
    device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    def auto() -> str:
        main(["doctor", "--json"])
        found = json.loads(capsys.readouterr().out)["ok"]
        return next(f["detail"] for f in found if f["what"] == "device auto")  # type: ignore[no-any-return]

    assert auto() == "cuda:0 (auto: a GPU that can serve)"
    memory._opened.clear()  # a process looks once
    device.count = 0
    assert auto().startswith("the CPU (auto: no GPU: NVIDIA's driver finds no GPU")


def test_bench_has_the_scope_of_the_copies_and_names_the_gpu(
    device: Device, half_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "now.json"
    words = [str(half_bundle.path), "--device", "cpu", "--device", "cuda", "--repeats", "15"]
    assert bench([*words, "--cold-starts", "0", "--json", str(path)]) == 0
    report = json.loads(path.read_bytes())
    (gpu,) = report["beside"]
    assert "copies" not in report["scopes"]
    assert gpu["identity"]["device"] == "cuda:0: Simulated GPU"
    assert gpu["identity"]["precision"] == "float16"
    assert gpu["identity"]["version"] == "TensorRT 10.3.0"
    assert gpu["settings"]["device"] == "cuda"
    network, copies = (gpu["scopes"][name]["samples_ms"] for name in ("network", "copies"))
    np.testing.assert_allclose(network, 0.25)  # a tick of the simulated clock
    assert len(copies) == 15 and all(both > one for one, both in zip(network, copies, strict=True))
    assert set(gpu["stages"]) == {"preprocess", "copy", "engine", "anomaly_map", "total"}
    assert "cuda:0: Simulated GPU, float16" in capsys.readouterr().out


def test_score_prints_the_gpu_and_its_timings(
    device: Device,
    half_bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    half: Any,
) -> None:
    image = tmp_path / "frame.png"
    image.write_bytes(half.files[half.manifest.golden[0].image])
    main(["score", str(half_bundle.path), str(image), "--device", "cuda", "--json"])
    frames = json.loads(capsys.readouterr().out)["frames"]
    assert list(frames[0]["timings_ms"]) == ["preprocess", "engine", "anomaly_map", "copy", "total"]


def verified(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> tuple[int, list[tuple[str, str]], str]:
    """Exit code of ``edgead verify``, (engine, precision) of its lines, and what it says."""
    capsys.readouterr()
    code = main(["verify", str(bundle.path), "--json"])
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    return code, [(line["engine"], line["precision"]) for line in lines], err


def test_verify_tries_every_precision_on_the_gpu(
    device: Device,
    half_bundle: Bundle,
    plans: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An engine that fails is named, and ends the command only when all were tried."""

    def before(cancelled: Any) -> None:
        if plans["asked"][-1]["precision"] in failing:
            raise DeviceError("no kernel for that")

    plans["before"], failing = before, set[str]()
    gpu = ("TensorRT", "float16"), ("TensorRT", "float32")
    code, engines, _ = verified(half_bundle, capsys)
    assert (code, tuple(engines[-2:])) == (0, gpu)
    failing = {"float32"}  # not what device="auto" takes
    code, engines, said = verified(half_bundle, capsys)
    assert (code, engines[-1]) == (0, gpu[0])
    assert "not here: the GPU in float32: no kernel for that" in said
    failing = {"float16"}
    code, engines, said = verified(half_bundle, capsys)
    assert (code, engines[-1]) == (2, gpu[1])
    assert said.count("no kernel for that") == 1
    assert said.splitlines()[-1] == "edgead: the GPU in float16: no kernel for that"

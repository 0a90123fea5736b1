"""A frame through the SIMULATED device whose kernels are the real CUDA sources, run on the CPU.

``tests/cuda_on_cpu`` compiles csrc/*.cu with a C++ compiler; see there for what that can find. The
graph is executed by ONNX Runtime. No GPU is involved.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated_machine import install
from simulation import Device

from edgead import Detector
from edgead.anomaly_map import DISTANCES, FUSIONS, POOLINGS, MapParams
from edgead.bundle.storage import Bundle
from edgead.preprocess import PreprocessParams

COLORS = {(2, 1, 0): "bgr", (0, 1, 2): "rgb", (0, 0, 0): "gray"}


class Sources:
    """The compiled sources as the twins that the simulation calls."""

    def __init__(self, once: Callable[..., Path], folder: Path, bundle: Bundle) -> None:
        sys.path.insert(0, str(Path(__file__).parents[2] / "cuda_on_cpu"))
        import harness

        self.harness = harness
        self.folder = folder
        build = harness.Build("g++", "plain")
        made = once(f"cuda_on_cpu-{build}", lambda to: harness.Program(build, to).compile())
        self.program = harness.Program(build, made).path
        self.params = bundle.manifest.preprocess_params()
        self.runs = {"preprocess": 0, "anomaly_map": 0}

    def run(self, name: str, case: Any) -> list[np.ndarray]:
        self.runs[name] += 1
        return self.harness.run_cases(self.program, [case], self.folder)[0]

    def preprocess(self, **given: Any) -> Any:
        return _Preprocess(self, given)

    def anomaly_map(self, **given: Any) -> Any:
        return _AnomalyMap(self, given)


class _Preprocess:
    def __init__(self, sources: Sources, given: dict[str, Any]) -> None:
        self.sources, self.color = sources, COLORS[tuple(given["order"])]
        self.params: PreprocessParams = sources.params

    def run(self, frame: np.ndarray, out: np.ndarray) -> None:
        case = self.sources.harness.preprocess_case(
            np.ascontiguousarray(frame).copy(), self.params, color=self.color
        )
        out[:] = self.sources.run("preprocess", case)[0]


class _AnomalyMap:
    def __init__(self, sources: Sources, given: dict[str, Any]) -> None:
        self.sources, self.roi = sources, given["roi"]
        self.params = MapParams(
            size=tuple(given["size"]),
            distance=DISTANCES[given["distance"]],
            weights=tuple(given["weights"]),
            fusion=FUSIONS[given["fusion"]],
            align_corners=given["align_corners"],
            blur_sigma=given["sigma"],
            pooling=POOLINGS[given["pooling"]],
        )

    def run(self, pairs: Any, out: np.ndarray, score: np.ndarray) -> None:
        case = self.sources.harness.anomaly_map_case(pairs, self.params, roi=self.roi)
        out[:], score[:] = self.sources.run("anomaly_map", case)


@pytest.mark.skipif(
    shutil.which("g++") is None or shutil.which("objcopy") is None, reason="needs g++ and objcopy"
)
def test_frames_through_the_cuda_sources(
    half_bundle: Bundle,
    device: Device,
    monkeypatch: pytest.MonkeyPatch,
    make_frame: Callable[..., np.ndarray],
    once: Callable[..., Path],
    tmp_path: Path,
) -> None:
    sources = Sources(once, tmp_path, half_bundle)
    twins = {"Preprocess": sources.preprocess, "AnomalyMap": sources.anomaly_map}
    frames = [make_frame(1, (50, 40, 3)), make_frame(2, (33, 44), np.uint16)]
    with Detector(half_bundle, device="cuda") as plain:
        expected = [plain.score(frame) for frame in frames]
    install(monkeypatch, device, twins=twins)
    with Detector(half_bundle, device="cuda") as detector:  # its golden frames qualified it
        for frame, truth in zip(frames, expected, strict=True):
            found = detector.score(frame)
            # The image is the same to the bit; the map is float32 in another order of sums.
            assert found.score == pytest.approx(truth.score, rel=1e-5)
            np.testing.assert_allclose(found.map, truth.map, atol=1e-5)
    assert min(sources.runs.values()) >= 5

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
from simulated_kernels import sought_of
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
        self.runs = {"preprocess": 0, "anomaly_map": 0, "nearest": 0, "whiten": 0}

    def run(self, name: str, case: Any) -> list[np.ndarray]:
        self.runs[name] += 1
        return self.harness.run_cases(self.program, [case], self.folder)[0]

    def preprocess(self, **given: Any) -> Any:
        return _Preprocess(self, given)

    def anomaly_map(self, **given: Any) -> Any:
        return _AnomalyMap(self, given)

    def out(self, size: tuple[int, int], before: Any = None, **given: Any) -> Any:
        before = None if before is None else before.reshape(1, *size)
        return self.harness.Out(before=before, **given)

    def nearest(self, **given: Any) -> Any:
        weights, root = sought_of(given), given["root"]

        def run(queries: Any, memory: Any, shares: Any = None, **more: Any) -> list[np.ndarray]:
            out = self.out(queries.shape[2:], **more)
            case = self.harness.nearest_case(
                queries, memory, weights, root=root, shares=shares, out=out
            )
            return self.run("nearest", case)

        return run

    def whiten(self, **given: Any) -> Any:
        named = {key: given[key] for key in ("triangular", "channel_normal", "epsilon")}

        def run(
            features: Any, mean: Any, factors: Any, centre: Any = None, **more: Any
        ) -> list[np.ndarray]:
            out = self.out(features.shape[2:], **more)
            case = self.harness.whiten_case(
                features, mean, factors, given["side"], centre=centre, out=out, **named
            )
            return self.run("whiten", case)

        return run

    @property
    def twins(self) -> dict[str, Any]:
        return {
            "Preprocess": self.preprocess,
            "AnomalyMap": self.anomaly_map,
            "Nearest": self.nearest,
            "Whiten": self.whiten,
        }


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


needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None or shutil.which("objcopy") is None, reason="needs g++ and objcopy"
)


@needs_compiler
def test_frames_through_the_cuda_sources(
    half_bundle: Bundle,
    device: Device,
    monkeypatch: pytest.MonkeyPatch,
    make_frame: Callable[..., np.ndarray],
    once: Callable[..., Path],
    tmp_path: Path,
) -> None:
    sources = Sources(once, tmp_path, half_bundle)
    frames = [make_frame(1, (50, 40, 3)), make_frame(2, (33, 44), np.uint16)]
    with Detector(half_bundle, device="cuda") as plain:
        expected = [plain.score(frame) for frame in frames]
    install(monkeypatch, device, twins=sources.twins)
    with Detector(half_bundle, device="cuda") as detector:  # its golden frames qualified it
        for frame, truth in zip(frames, expected, strict=True):
            found = detector.score(frame)
            # The image is the same to the bit; the map is float32 in another order of sums.
            assert found.score == pytest.approx(truth.score, rel=1e-5)
            np.testing.assert_allclose(found.map, truth.map, atol=1e-5)
    assert min(sources.runs[name] for name in ("preprocess", "anomaly_map")) >= 5


@needs_compiler
def test_a_memory_through_the_cuda_sources(
    device: Device,
    monkeypatch: pytest.MonkeyPatch,
    once: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """A bundle that was learnt: preprocess, nearest and anomaly_map are the CUDA sources."""
    pytest.importorskip("torch", reason="a backbone is made with the extra edgead[train]")
    from test_memories import learnt_bundle, scratched

    learnt = learnt_bundle(tmp_path, precisions=())
    with Detector(learnt, device="cpu") as cpu:
        expected = cpu.score(scratched(7))
    sources = Sources(once, tmp_path, learnt)
    install(monkeypatch, device, twins=sources.twins)
    with Detector(learnt, device="cuda", precision="float32") as detector:  # golden frames passed
        found = detector.score(scratched(7))
    tolerance = learnt.manifest.tolerance["float32"]
    assert abs(found.score - expected.score) <= tolerance.score
    np.testing.assert_allclose(found.map, expected.map, atol=tolerance.map)
    assert min(sources.runs[n] for n in ("preprocess", "anomaly_map", "nearest")) >= 5

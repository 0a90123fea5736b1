"""What goes wrong on a GPU, planted on a SIMULATED device: each a sentence with the cure."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated_tensorrt import plan_bytes
from simulation import CudaError, Device

import edgead
from edgead import Detector, DeviceError, InputError
from edgead.bundle.storage import Bundle
from edgead.errors import DeviceLostError

MakeFrame = Callable[..., np.ndarray]
ILLEGAL = "cuStreamSynchronize failed: an illegal memory access was encountered"


def refused(bundle: Bundle, device: str = "cuda", **given: Any) -> str:
    """The sentence of the DeviceError."""
    with pytest.raises(DeviceError) as error:
        Detector(bundle, device=device, **given)
    assert error.value.exit_code == 2
    return str(error.value)


@pytest.mark.parametrize(
    ("code", "text", "said"),
    [
        (100, "no CUDA-capable device is detected", "finds no GPU"),
        (999, "unknown error", "driver does not start"),
        (803, "system has unsupported display driver", "driver does not start"),
    ],
)
def test_a_driver_that_is_no_use(
    device: Device, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, code: int, text: str,
    said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(edgead.nvidia._cuda, "status", lambda: (code, text))
    found = refused(half_bundle)
    assert said in found and f"{text} (error {code})" in found
    assert "nvidia-smi" in found and 'device="cpu"' in found


def test_no_driver_and_one_that_is_too_old_are_told_apart(
    device: Device, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CUDA runtime says the same of both: insufficient."""
    monkeypatch.setattr(edgead.nvidia._cuda, "status", lambda: (35, "driver is insufficient"))

    there = None
    monkeypatch.setattr("edgead.nvidia.kernels.nvidia_driver", lambda: there)
    said = refused(half_bundle)
    assert "driver is not installed (libcuda.so.1)" in said and 'device="cpu"' in said
    there = object()
    said = refused(half_bundle)
    assert "driver is insufficient (error 35)" in said and "newer driver" in said


def test_no_tensorrt(device: Device, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    said = refused(half_bundle)
    assert "TensorRT is not installed" in said and "pip install" in said


def test_an_old_tensorrt(
    device: Device, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["tensorrt"], "__version__", "8.4.1")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    assert "TensorRT 8.4.1 is too old" in refused(half_bundle)


def test_kernels_that_were_not_built(
    device: Device, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "edgead.nvidia._cuda", None)
    assert "kernels were not built here" in refused(half_bundle)


def test_kernels_of_another_gpu(
    device: Device, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simulated one is sm_87."""
    monkeypatch.setattr(edgead.nvidia._cuda, "ARCHITECTURES", "sm_75 sm_89")
    said = refused(half_bundle)
    assert "built for sm_75 sm_89, and this GPU is sm_87" in said
    assert "EDGEAD_CUDA_ARCHITECTURES=87-real pip install ." in said


@pytest.mark.parametrize("call", ["begin_capture", "end_capture"])
def test_what_cannot_be_captured_runs_without_a_graph_and_says_so(
    device: Device, half_bundle: Bundle, make_frame: MakeFrame, call: str
) -> None:
    frame = make_frame(1, (41, 50, 3))
    with Detector(half_bundle, device="cuda") as detector:
        expected = detector.score(frame).score
    refusal = RuntimeError("CUDA: operation not permitted (error 900)")
    device.plant(call, 1, refusal)  # in the pipeline of the golden frames
    with Detector(half_bundle, device="cuda") as detector:
        assert "error 900" in detector.info()["kernels"]  # before the first frame
        device.plant(call, 1, refusal)  # in the pipeline of this thread
        assert detector.score(frame).score == expected
        said = detector.info()["kernels"]
        assert said.startswith("cuda, without a CUDA graph") and "error 900" in said
        launches = device.count_of("launch")
        assert detector.score(frame).score == expected
        assert device.count_of("launch") == launches


def test_a_pipeline_that_is_captured_takes_the_word_of_another_back(
    gpu: Detector, device: Device, half_bundle: Bundle, frame: np.ndarray
) -> None:
    """``info`` says what the frames run on now, and a pipeline tells its engine nothing."""
    device.plant("begin_capture", 1, RuntimeError("CUDA: operation not permitted (error 900)"))
    with Detector(half_bundle, device="cuda") as detector:
        engine = detector.engine
        assert engine.kernels == "cuda" and "error 900" in detector.info()["kernels"]
        assert detector.score(frame).score == gpu.score(frame).score
        assert detector.info()["kernels"] == "cuda"


def test_a_plan_that_does_not_load(
    device: Device, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.refuse_plan = True
    said = refused(half_bundle)
    assert "does not load this plan on cuda:0: Simulated GPU" in said
    assert "cannot load" in said and "edgead build NAME.edgead" in said
    assert said.isprintable()  # TensorRT's line had a newline and a terminal code


def test_out_of_memory_when_a_plan_loads(device: Device, half_bundle: Bundle) -> None:
    """Building it again would not help."""
    device.refuse_plan = "Error Code 2: OutOfMemory (Requested size was 51380224 bytes.)"
    said = refused(half_bundle)
    assert "out of device memory; close other programs and Detectors" in said
    assert "build it again" not in said


def test_what_tensorrt_says_on_a_thread_of_its_own_is_heard(
    device: Device, half_bundle: Bundle
) -> None:
    device.refuse_plan, device.logs_elsewhere = "Serialization assertion failed", True
    assert "Serialization assertion failed" in refused(half_bundle)


def test_tensorrt_that_refuses_to_run_in_a_capture(
    device: Device, half_bundle: Bundle, frame: np.ndarray
) -> None:
    """A DLA's plan: the frame runs step by step, and info() says why."""
    with Detector(half_bundle, device="cuda") as detector:
        expected = detector.score(frame).score
    device.refuses_capture = "DLA cannot be captured"
    with Detector(half_bundle, device="cuda") as detector:
        for _ in range(3):
            assert detector.score(frame).score == expected
        said = detector.info()["kernels"]
        assert said.startswith("cuda, without a CUDA graph") and "DLA cannot be captured" in said


def test_a_driver_that_is_too_old_for_tensorrt(device: Device, half_bundle: Bundle) -> None:
    device.refuse_plan = "CUDA initialization failure with error: 35"
    said = refused(half_bundle)
    assert "error: 35; install a newer driver" in said and "build it again" not in said


def test_ctrl_c_while_a_plan_loads(
    device: Device, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT's bindings drop what a logger raises, and with it what a signal's handler did."""
    runtime = sys.modules["tensorrt"].Runtime
    load, before = runtime.deserialize_cuda_engine, signal.getsignal(signal.SIGINT)

    def interrupted(self: Any, data: bytes) -> Any:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return load(self, data)

    monkeypatch.setattr(runtime, "deserialize_cuda_engine", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Detector(half_bundle, device="cuda")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_runtime_that_cannot_be_made(
    device: Device, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bindings raise TypeError where the library gives a null pointer."""

    def nothing(logger: Any) -> None:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(sys.modules["tensorrt"], "Runtime", nothing)
    assert "does not load this plan" in refused(half_bundle)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": ("reference_0", "restored_0", "reference_1", "other")}, "of another bundle"),
        ({"channels": (8, 13)}, r"'reference_1' is an output, \(-1, 13, 16, 12\)"),
    ],
)
def test_a_plan_of_another_graph(
    device: Device,
    half_bundle: Bundle,
    plans: dict[str, Any],
    make_graph: Callable[..., bytes],
    change: dict[str, Any],
    said: str,
) -> None:
    plans["data"] = plan_bytes(make_graph(**change))
    with pytest.raises(DeviceError, match=said) as error:
        Detector(half_bundle, device="cuda")
    assert "edgead build NAME.edgead" in str(error.value)


def test_a_plan_with_float16_outputs(
    device: Device, half_bundle: Bundle, plans: dict[str, Any]
) -> None:
    import onnx

    graph = onnx.load_from_string(half_bundle.read("model.fp16.onnx"))
    last = graph.graph.node[-1]
    last.attribute[0].i = onnx.TensorProto.FLOAT16
    port = next(p for p in graph.graph.output if p.name == last.output[0])
    port.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    plans["data"] = plan_bytes(graph.SerializeToString())
    assert "HALF; the manifest says" in refused(half_bundle)


def test_a_plan_for_four_images(device: Device, half_bundle: Bundle, plans: dict[str, Any]) -> None:
    import onnx

    graph = onnx.load_from_string(half_bundle.read("model.fp16.onnx"))
    for port in (*graph.graph.input, *graph.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 4
    plans["data"] = plan_bytes(graph.SerializeToString())
    assert "each axis that or free" in refused(half_bundle)


def test_a_foreign_plan_needs_trust(
    device: Device, half_bundle: Bundle, plans: dict[str, Any], tmp_path: Path, frame: np.ndarray
) -> None:
    path = tmp_path / "foreign.plan"
    path.write_bytes(plan_bytes(half_bundle.read("model.fp16.onnx")))
    before = device.count_of("deserialize_cuda_engine")
    said = refused(half_bundle, plan=path)
    assert "trust_plan=True" in said and "running their program" in said
    assert device.count_of("deserialize_cuda_engine") == before
    with Detector(half_bundle, device="cuda", plan=path, trust_plan=True) as detector:
        assert detector.score(frame).score > 0
    assert plans["asked"] == []  # the cache was not asked
    path.write_bytes(path.read_bytes().replace(b"\x0a\x03\x00", b"\x0a\x04\x00", 1))
    said = refused(half_bundle, plan=path, trust_plan=True)  # by TensorRT; the header says why
    assert "its header says TensorRT 10.4.0" in said and "not compatible with this version" in said
    assert "cannot read plan" in refused(half_bundle, plan=tmp_path / "no", trust_plan=True)
    with pytest.raises(InputError, match="a plan is for a GPU"):
        Detector(half_bundle, device="cpu", plan=path, trust_plan=True)


def test_out_of_memory_when_it_opens(device: Device, half_bundle: Bundle) -> None:
    device.free_bytes = 60_000
    said = refused(half_bundle)
    assert "out of memory" in said and "MB are free" in said and "allocating" in said
    device.free_bytes = 2**30
    Detector(half_bundle, device="cuda").close()


def test_an_execution_context_that_is_not_made(device: Device, half_bundle: Bundle) -> None:
    with Detector(half_bundle, device="cuda") as detector:
        engine = detector.engine
        device.free_bytes, kept = 100, device.free_bytes
        with pytest.raises(DeviceError, match=r"no execution context.*out of memory"):
            engine.session()
        device.free_bytes = kept


def test_a_frame_that_is_too_large_concerns_that_frame(
    device: Device, half_bundle: Bundle, make_frame: MakeFrame
) -> None:
    small = make_frame(1, (40, 50, 3))
    with Detector(half_bundle, device="cuda") as detector:
        expected = detector.score(small).score
        kept, device.free_bytes = device.free_bytes, 10_000
        with pytest.raises(DeviceError, match=r"out of memory.*allocating 0\.1 MB") as error:
            detector.score(make_frame(1, (200, 200, 3)))
        assert not isinstance(error.value, DeviceLostError)
        del error
        device.free_bytes = kept
        assert detector.score(small).score == expected


@pytest.mark.parametrize("call", ["launch", "synchronize", "copy", "intervals_ms", "preprocess"])
def test_an_error_in_the_middle_of_a_stream_marks_the_detector_failed(
    device: Device, half_bundle: Bundle, make_frame: MakeFrame, call: str
) -> None:
    frames = [make_frame(seed, (40 + seed, 50, 3)) for seed in range(2)]
    detector = Detector(half_bundle, device="cuda")
    result = detector.score(frames[0])
    device.plant(call, 1, CudaError("too bad"))
    with pytest.raises(DeviceLostError, match=r"too bad \(error 719\); make a new Detector"):
        detector.score(frames[1 if call == "preprocess" else 0])
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"failed and scores no more; make a new.*too bad"):
            detector.score(frames[0])
    with pytest.raises(DeviceError, match="failed"):
        _ = detector.engine
    with pytest.raises(DeviceError, match="failed"):
        detector.false_reject_rate = 0.1
    assert "failed" in repr(detector)
    assert result.map.shape == (64, 48)  # this error spared the memory, so the map was saved
    with Detector(half_bundle, device="cuda") as again:
        assert again.score(frames[0]).score == result.score
    detector.close()


def test_the_kernels_errors_are_named_too(
    device: Device, half_bundle: Bundle, make_frame: MakeFrame
) -> None:
    with Detector(half_bundle, device="cuda") as detector:
        error = RuntimeError("CUDA: no kernel image is available (error 209)")
        device.plant("anomaly_map", 1, error)
        with pytest.raises(DeviceLostError, match=r"scoring a frame: no kernel image.*209"):
            detector.score(make_frame(1, (41, 50, 3)))


def test_tensorrt_that_fails_on_a_frame(
    device: Device, half_bundle: Bundle, make_frame: MakeFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Detector(half_bundle, device="cuda") as detector:
        context_class = sys.modules["tensorrt"].IExecutionContext
        monkeypatch.setattr(context_class, "execute_async_v3", lambda self, stream: False)
        with pytest.raises(DeviceLostError, match=r"TensorRT 10\.3\.0 failed on a frame"):
            detector.score(make_frame(1, (41, 50, 3)))


def test_an_error_that_stays_says_to_start_the_process_again(
    device: Device, half_bundle: Bundle, frame: np.ndarray
) -> None:
    """A sticky error ends CUDA for the process: nothing can be copied or made any more."""
    detector = Detector(half_bundle, device="cuda")
    result = detector.score(frame)
    device.sticky = CudaError(ILLEGAL)
    with pytest.raises(DeviceLostError, match="illegal memory access"):
        detector.score(frame)
    with pytest.raises(DeviceLostError, match="illegal memory access"):
        _ = result.map
    assert result.score > 0
    assert "start the process again" in refused(half_bundle)
    with Detector(half_bundle, device="cpu") as cpu:
        assert cpu.score(frame).score > 0
    detector.close()


def test_a_gpu_that_disappears(
    device: Device, half_bundle: Bundle, frame: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fell off the bus, or its driver was taken away: the cure is no newer driver."""
    detector = Detector(half_bundle, device="cuda")
    detector.score(frame)
    device.sticky, device.count = CudaError("no CUDA-capable device is detected", 100), 0
    with pytest.raises(DeviceLostError, match=r"\(error 100\); make a new Detector"):
        detector.score(frame)
    said = refused(half_bundle)
    assert "NVIDIA's driver finds no GPU" in said and "nvidia-smi" in said
    with Detector(half_bundle) as auto:
        assert auto.score(frame).score > 0
        assert auto.info()["chosen"] == f"auto: no GPU: {said}"
    detector.close()

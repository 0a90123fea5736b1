"""Frames in GPU memory, on a SIMULATED device: taken where they are, checked like NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulation import LEGACY_STREAM, Device, Fault, Op

import edgead
from edgead import Detector, DeviceError, InputError
from edgead.bundle.storage import Bundle
from edgead.result import as_bgr8
from edgead.tiling import Tiling

MakeFrame = Callable[..., np.ndarray]


class OnDevice:
    """What torch, CuPy and PyCUDA offer: an array in device memory, for this simulated one."""

    def __init__(
        self,
        device: Device,
        values: np.ndarray,
        *,
        version: int = 3,
        stream: int | None = None,
        kind: str = "device",
        view: Callable[[np.ndarray], np.ndarray] = lambda a: a,
        **others: Any,
    ) -> None:
        self.device = device
        self.memory = device.allocate(values.nbytes, kind)
        whole = np.ndarray(values.shape, values.dtype, self.memory.bytes)
        whole[:] = values
        seen = view(whole)
        contiguous = seen.flags.c_contiguous
        self.shape = seen.shape
        self.__cuda_array_interface__ = {
            "shape": seen.shape,
            "typestr": seen.dtype.str,
            "data": (seen.ctypes.data, False),
            "strides": None if contiguous else seen.strides,
            "version": version,
            "stream": stream,
            **others,
        }

    def __del__(self) -> None:
        self.device.release(self.memory)


class View:
    """A view of an OnDevice with the methods of CuPy, or of torch: ``permute``."""

    def __init__(self, base: OnDevice, seen: np.ndarray, *, tensor: bool) -> None:
        self._base, self._seen, self._tensor = base, seen, tensor
        self.shape, self.dtype = seen.shape, seen.dtype
        interface = {"data": (seen.ctypes.data, False), "strides": seen.strides}
        self.__cuda_array_interface__ = {
            **base.__cuda_array_interface__, **interface, "shape": seen.shape,
        }  # fmt: skip
        setattr(self, "permute" if tensor else "transpose", self._turned)

    def __getitem__(self, key: Any) -> View:
        return View(self._base, self._seen[key], tensor=self._tensor)

    def __len__(self) -> int:
        return len(self._seen)

    def _turned(self, *axes: int) -> View:
        return View(self._base, self._seen.transpose(axes), tensor=self._tensor)


VIEWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "whole": lambda a: a,
    "a window": lambda a: a[5:40, 7:60],
    "mirrored": lambda a: a[:, ::-1],
    "every other": lambda a: a[::2, ::3],
    "planes": lambda a: a.transpose(1, 0, 2),
    "one channel": lambda a: a[:, :, 1],
}


def with_fourth(frame: np.ndarray) -> np.ndarray:
    return np.concatenate([frame, frame[:, :, :1] ^ 255], axis=2)


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize(
    ("layout", "taken"),
    [
        (lambda a: a, True),
        (with_fourth, True),
        (lambda a: a[None], True),
        (lambda a: with_fourth(a)[None, None], True),
        (lambda a: a[None, :, :, 0], True),
        (lambda a: a.transpose(2, 0, 1), None),
        (lambda a: a.transpose(2, 0, 1)[None], None),
        (lambda a: with_fourth(a).transpose(2, 0, 1), None),
        (lambda a: np.concatenate([a, a], axis=2), False),
        (lambda a: np.stack([a, a]), False),
    ],
)
def test_layouts_of_other_libraries(
    gpu: Detector,
    device: Device,
    make_frame: MakeFrame,
    layout: Callable[[np.ndarray], np.ndarray],
    taken: bool | None,
    tensor: bool,
) -> None:
    """Views of the same memory; where the axes are not certain, the line that turns them."""
    frame = make_frame(5, (60, 80, 3))
    given = np.ascontiguousarray(layout(frame))
    base = OnDevice(device, given)
    seen = np.ndarray(given.shape, given.dtype, base.memory.bytes)
    there = View(base, seen, tensor=tensor)
    expected = gpu.score(frame[:, :, 0] if given.ndim == 3 and given.shape[0] == 1 else frame)
    uploads = device.count_of("upload")
    if taken or (taken is None and tensor):
        result = gpu.score(there)
        assert result.score == expected.score
        np.testing.assert_array_equal(result.overlay(), expected.overlay())
    else:
        with pytest.raises(InputError, match=r"give |detector\.score\(one\)") as caught:
            gpu.score(there)
        line = str(caught.value).rpartition(": give ")[2]
        if taken is None:
            assert gpu.score(eval(line, {"frame": there})).score == expected.score
    assert device.count_of("upload") == uploads


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("view", VIEWS)
def test_scores_are_those_of_the_same_frame_from_the_host(
    gpu: Detector, device: Device, make_frame: MakeFrame, view: str, dtype: type
) -> None:
    frame = make_frame(5, (60, 80, 3), dtype)
    expected = gpu.score(VIEWS[view](frame))
    there = OnDevice(device, frame, view=VIEWS[view])
    uploads = device.count_of("upload")
    for _ in range(3):  # at once, then captured, then as a graph
        result = gpu.score(there)
        assert result.score == expected.score
        np.testing.assert_array_equal(result.map, expected.map)
    assert device.count_of("upload") == uploads


def test_frames_of_12_bits_from_the_host_and_on_the_device(
    half_bundle: Bundle, device: Device, make_frame: MakeFrame, at: Callable[..., np.ndarray]
) -> None:
    frame = make_frame(5, (60, 80, 3))
    with Detector(half_bundle, device="cuda", bit_depth=12) as gpu:
        expected = gpu.score(frame).score
        found = gpu.score(at(frame, 12))
        assert found.score == pytest.approx(expected, abs=5e-3)
        there = gpu.score(OnDevice(device, at(frame, 12)))
        assert there.score == found.score and there.bit_depth == 12
        np.testing.assert_array_equal(there.overlay(), found.overlay())
        white = np.full((60, 80, 3), 4095, np.uint16)
        above = np.full((60, 80, 3), 65535, np.uint16)
        with pytest.raises(InputError, match=r"value 65535 and .* 12 bits, at most 4095"):
            gpu.score(above)
        # On the device nobody looks: sums are bounded, so that it is white and does not wrap.
        bounded = gpu.score(OnDevice(device, above))
        assert bounded.score == pytest.approx(gpu.score(white).score, abs=5e-3)
        assert as_bgr8(bounded.frame, "bgr", bounded.bit_depth).min() == 255


def test_the_result_brings_the_frame_to_the_host_when_asked(
    gpu: Detector, device: Device, make_frame: MakeFrame
) -> None:
    frame = make_frame(5, (60, 80, 3))
    there = OnDevice(device, frame, view=VIEWS["mirrored"])
    result = gpu.score(there)
    reads = device.count_of("read")
    assert result.heatmap().shape == (60, 80)
    assert "frame 60 x 80" in repr(result)
    assert device.count_of("read") == reads
    np.testing.assert_array_equal(result.frame, frame[:, ::-1])
    assert result.frame is result.frame
    np.testing.assert_array_equal(result.overlay(), gpu.score(frame[:, ::-1]).overlay())
    assert device.count_of("read") == reads + 1


def test_a_frame_is_captured_when_its_address_comes_again(
    gpu: Detector, device: Device, make_frame: MakeFrame
) -> None:
    """A camera's ring of buffers becomes graphs; addresses that never come again do not."""
    ring = [OnDevice(device, make_frame(seed, (30, 40, 3))) for seed in range(4)]
    for frame in ring:
        gpu.score(frame)
    assert device.count_of("begin_capture") == 3  # of the golden frames
    for frame in ring * 3:
        gpu.score(frame)
    assert device.count_of("begin_capture") == 3 + 4
    many = [OnDevice(device, make_frame(seed, (30, 40, 3))) for seed in range(12)]
    before = device.count_of("cudaMalloc", "Events", "begin_capture")
    for frame in many:
        gpu.score(frame)
    assert device.count_of("cudaMalloc", "Events", "begin_capture") == before


@pytest.mark.parametrize(("version", "stream"), [(3, "own"), (3, LEGACY_STREAM), (2, None)])
def test_the_stream_that_makes_the_frame_is_waited_for(
    gpu: Detector, device: Device, make_frame: MakeFrame, version: int, stream: Any
) -> None:
    """The frame is written late, by work that is pending when it is scored."""
    frame, empty = make_frame(5, (60, 80, 3)), np.zeros((60, 80, 3), np.uint8)
    own = device.new_stream().handle
    handle = own if stream == "own" else LEGACY_STREAM
    given = {"version": version, "stream": None if version == 2 else handle}
    there = OnDevice(device, empty, **given)
    expected = gpu.score(frame).score
    for _ in range(3):
        there.memory.bytes[:] = 0

        def fill() -> None:
            there.memory.bytes[:] = frame.reshape(-1)

        touches = ((there.memory.address, there.memory.size, True),)
        device.enqueue(handle, Op("fill", fill, touches))
        assert gpu.score(there).score == expected


def test_a_stream_that_is_not_named_is_found_by_the_simulation(
    half_bundle: Bundle, device: Device, make_frame: MakeFrame
) -> None:
    """The check above can fail: with stream None the producer promises to be done, and lies."""
    gpu = Detector(half_bundle, device="cuda")
    there = OnDevice(device, make_frame(5, (60, 80, 3)), stream=None)
    own = device.new_stream().handle
    touches = ((there.memory.address, there.memory.size, True),)
    device.enqueue(own, Op("fill", lambda: None, touches))
    with pytest.raises(Fault, match="race on two streams"):
        gpu.score(there)
    assert len(device.faults) == 1
    device.faults.clear()
    device.drain(own)
    gpu.close()


def test_a_stream_that_is_none_concerns_that_frame(
    gpu: Detector, device: Device, make_frame: MakeFrame
) -> None:
    """What CUDA says of a handle that was destroyed; anything else is the device's failure."""
    frame = make_frame(5, (60, 80, 3))
    there = OnDevice(device, frame, stream=device.new_stream().handle)
    device.plant("record", 1, RuntimeError("CUDA: invalid resource handle (error 400)"))
    with pytest.raises(InputError, match=r"names the stream 0x[0-9a-f]+, which is none of cuda:0"):
        gpu.score(there)
    assert gpu.score(there).score == gpu.score(frame).score
    device.plant("record", 1, RuntimeError("CUDA: an illegal memory access (error 700)"))
    with pytest.raises(DeviceError, match="make a new Detector"):
        gpu.score(there)


def test_digests_are_those_of_the_host(
    half_bundle: Bundle, device: Device, make_frame: MakeFrame
) -> None:
    frame = make_frame(5, (60, 80, 3))
    with Detector(half_bundle, device="cuda", digests=True) as detector:
        there = detector.score(OnDevice(device, frame)).digests
        assert there == detector.score(frame).digests is not None


def test_tiles_of_a_frame_on_the_device(
    half: Any, device: Device, tmp_path: Path, make_frame: MakeFrame
) -> None:
    from edgead.serving.open_engine import open_engine
    from edgead.serving.open_pipeline import open_pipeline

    bundle = half.write(tmp_path / "tiled.edgead", tiling=Tiling((70, 60), 10))
    pipeline = open_pipeline(bundle, open_engine(bundle, "cuda"))
    frame = make_frame(8, (200, 190, 3))
    expected = pipeline.run(frame)
    there = OnDevice(device, frame[:, ::-1], view=VIEWS["mirrored"])
    for _ in range(3):
        found = pipeline.run(there)
        assert found.score == expected.score
        np.testing.assert_array_equal(found.map, expected.map)
    pipeline.close()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            np.zeros((8, 8, 3), np.float32),
            r"float32.*uint8 or uint16. Where 1 is white: give \(255 \* frame\)\.round\(\)\.astype",
        ),
        (np.zeros((8, 8), np.int32), r'int32.* 255 is white: give frame\.astype\("uint8"\)$'),
        (np.zeros((8, 8, 4), np.uint8), r"\(8, 8, 4\)"),
        (np.zeros((8, 8), ">u2"), ">u2"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"\(1, 8, 8, 3\)"),
    ],
)
def test_what_is_no_frame(gpu: Detector, device: Device, values: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=said):
        gpu.score(OnDevice(device, values))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 1}, "version 2 or 3"),
        ({"stream": 0}, "stream 0"),
        ({"mask": np.zeros(1)}, "mask"),
        ({"data": None}, "damaged"),
        ({"shape": None}, "damaged"),
        ({"typestr": "no"}, "damaged"),
        ({"strides": (3,)}, "strides"),
        ({"shape": (0, 8)}, "expected 1 to 32767 pixels"),
    ],
)
def test_a_damaged_interface(
    gpu: Detector, device: Device, change: dict[str, Any], said: str
) -> None:
    there = OnDevice(device, np.zeros((8, 8, 3), np.uint8))
    there.__cuda_array_interface__ |= change
    with pytest.raises(InputError, match=said):
        gpu.score(there)


def test_a_frame_of_another_device(
    gpu: Detector, device: Device, monkeypatch: pytest.MonkeyPatch, frame: np.ndarray
) -> None:
    there = OnDevice(device, frame)
    for place, said in ((1, "the frame lies on cuda:1"), (-1, "in no device's memory")):
        found = (place, 0)
        monkeypatch.setattr(edgead.nvidia._cuda, "place_of", lambda *asked, found=found: found)
        with pytest.raises(InputError, match=said):
            gpu.score(there)


def test_gray_refuses_colour(device: Device, half_bundle: Bundle, make_frame: MakeFrame) -> None:
    with Detector(half_bundle, device="cuda", color="gray") as detector:
        with pytest.raises(InputError, match="gray"):
            detector.score(OnDevice(device, make_frame(1, (20, 20, 3))))
        grey = make_frame(1, (20, 20))
        assert detector.score(OnDevice(device, grey)).score == detector.score(grey).score


def test_the_cpu_says_that_it_cannot_see_the_gpu_s_memory(
    device: Device, half_bundle: Bundle, frame: np.ndarray
) -> None:
    with (
        Detector(half_bundle, device="cpu") as cpu,
        pytest.raises(InputError, match=r"lies in GPU memory and the CPU scores.*device=\"cuda\""),
    ):
        cpu.score(OnDevice(device, frame))

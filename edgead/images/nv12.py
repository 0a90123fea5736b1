"""Frames in NV12, as cameras and video decoders give them: a plane of Y and one of U V."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgead import _cpu
from edgead.errors import InputError

COLOR_SPACES = ("bt601", "bt601_full", "bt709", "bt709_full")
"""What Y, U and V mean, in the order of ``edgead_color_space``: limited range (Y from 16 to 235)
unless it says full (0 to 255)."""

_HOST = 1  # kDLCPU of DLPack
_WHOLE = "expected Y [H, W], or both planes as [H * 3 / 2, W]"


class Plane(NamedTuple):
    """Where one plane lies."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]  # bytes
    address: int


class Nv12:
    """A frame in NV12, for ``Detector.score``; the planes are not copied.

    Each 2 x 2 pixels have one U and one V. On the CPU, and for a GPU that they have to be brought
    to, they become colours first; planes in GPU memory become colours there.

    Args:
        light: Y, [H, W] uint8, H and W even; or with ``chroma`` None both planes, [H * 3 / 2, W].
        chroma: [H / 2, W] or [H / 2, W / 2, 2] uint8, U before V.
        color_space: one of ``COLOR_SPACES``, as the camera's driver says. "bt601" gives the bytes
            of ``cv2.COLOR_YUV2BGR_NV12``.

    Raises:
        InputError: other shapes or types, samples of a row that do not lie side by side, planes of
            which one is in GPU memory, or another word.
    """

    def __init__(self, light: Any, chroma: Any = None, color_space: str = "bt601") -> None:
        if color_space not in COLOR_SPACES:
            raise InputError(f"color_space is {color_space!r}, expected one of {COLOR_SPACES}")
        self.color_space = COLOR_SPACES.index(color_space)
        light = _array(light)
        if chroma is None:
            rows = _shape(light)[0] if _shape(light) else 0
            if len(_shape(light)) != 2 or rows % 3:
                raise InputError(f"the NV12 frame has shape {_shape(light)}, {_WHOLE}")
            light, chroma = light[: rows // 3 * 2], light[rows // 3 * 2 :]
        self.light, self.chroma = light, _array(chroma)
        self.on_device = _on_device(self.light)
        if self.on_device != _on_device(self.chroma):
            raise InputError(
                "of the NV12 frame's planes one lies in GPU memory and one does not: copy both to "
                "one place"
            )
        self.planes = plane_of("light", self.light), plane_of("chroma", self.chroma)
        (height, width), of_chroma = self.planes[0].shape, self.planes[1].shape
        if of_chroma not in ((height // 2, width), (height // 2, width // 2, 2)):
            raise InputError(
                f"the NV12 frame's light has shape {(height, width)} and its chroma {of_chroma}, "
                "expected half the rows, U V of 2 x 2 pixels: [H / 2, W] or [H / 2, W / 2, 2]"
            )
        _cpu.check_nv12(*self.layout)
        self.shape, self.ndim, self.dtype = (height, width, 3), 3, np.dtype(np.uint8)

    @property
    def layout(self) -> tuple[int, int, int, int, int]:
        """Height, width, strides of the rows of both planes, number of the colour space."""
        light, chroma = self.planes
        return (*light.shape, light.strides[0], chroma.strides[0], self.color_space)  # type: ignore[return-value]

    def as_frame(self, color: str, on_device: bool) -> Any:
        """What is scored of it.

        Args:
            color: as for ``colors``.
            on_device: whether planes in GPU memory may stay there.

        Returns:
            Itself where they may, else [H, W, 3] in host memory.

        Raises:
            InputError: as ``colors``.
        """
        return self if on_device and self.on_device else self.colors(color)

    def colors(self, color: str) -> NDArray[np.uint8]:
        """The frame as [H, W, 3] in host memory.

        Args:
            color: the order of its channels, "bgr" or "rgb".

        Raises:
            InputError: planes in GPU memory, or "gray".
        """
        if self.on_device:
            raise InputError(
                "the NV12 frame lies in GPU memory and the CPU scores: score with a Detector on "
                'the GPU, device="cuda", or copy its planes to the host'
            )
        check_color(color)
        found = _cpu.nv12_colors(*self.layout, color == "bgr", self.light, self.chroma)
        return found[:, :, :3]


def check_color(color: str) -> None:
    """Raise InputError for ``gray``: the frame has colours."""
    if color == "gray":
        raise InputError("the frame is NV12, which has colours, and color is 'gray': give its Y")


def plane_of(name: str, array: Any) -> Plane:
    """Shape, strides and address of a plane, the samples of whose rows lie side by side.

    Raises:
        InputError: another type, or gaps between samples.
    """
    if isinstance(array, np.ndarray):
        shape, strides, address = array.shape, array.strides, array.ctypes.data
        dtype: np.dtype[Any] = array.dtype
    else:
        said = array.__cuda_array_interface__
        shape, address, dtype = (
            tuple(said["shape"]),
            int(said["data"][0]),
            np.dtype(said["typestr"]),
        )
        given = said.get("strides")
        strides = tuple(given) if given is not None else np.empty(shape, dtype).strides
    if dtype != np.uint8 or len(shape) not in (2, 3):
        raise InputError(
            f"the NV12 frame's {name} is {dtype} of shape {shape}, expected uint8 [H, W]"
        )
    if strides[1:] != ((1,) if len(shape) == 2 else (2, 1)):
        raise InputError(
            f"the NV12 frame's {name} has strides {strides}, expected the samples of a row side by "
            "side: give a plane as the camera made it, or a copy"
        )
    return Plane(shape, strides, address)


def _array(given: Any) -> Any:
    if hasattr(given, "__cuda_array_interface__"):
        return given
    place = getattr(given, "__dlpack_device__", None)
    if not isinstance(given, np.ndarray) and place is not None and place()[0] != _HOST:
        raise InputError(
            "a plane of the NV12 frame lies in a device's memory and has DLPack alone: give it as "
            "an array of torch or CuPy, such as cupy.from_dlpack(plane)"
        )
    return np.asarray(given)


def _on_device(array: Any) -> bool:
    return not isinstance(array, np.ndarray)


def _shape(array: Any) -> tuple[int, ...]:
    return tuple(array.shape)

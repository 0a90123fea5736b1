"""What a frame may be as a Python object: one door from the arrays of the ecosystem to NumPy.

Taken without a copy where the memory allows it; refused, with the line that converts, where the
meaning is not certain. Other libraries are known by what their objects say of themselves, so none
of them is imported.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgead.errors import InputError
from edgead.images.dlpack import device_array, lies_on_gpu
from edgead.images.nv12 import Nv12
from edgead.images.orientation import exif_orientation

_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16))
_EXPECTED = "expected uint8 or uint16, [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]"
_ONE_BY_ONE = "score one at a time, as in [detector.score(one) for one in frame]"
_CHANNELS = (1, 3, 4)
_PROTOCOLS = ("__array_interface__", "__array__", "__array_struct__")

_TO_HOST = ("cpu", "get", "copy_to_host")
"""Methods of arrays in GPU memory that copy them to the host: torch, CuPy, Numba."""

_CALLS = {
    "UMat": "frame.get()",  # OpenCV
    "GpuMat": "frame.download()",
    "VideoFrame": 'frame.to_ndarray(format="{color}24")',  # PyAV
    "GrabResult": "frame.GetArray()",  # pypylon
    "ImgFrame": "frame.getCvFrame()",  # DepthAI
}
"""The line for objects that hold an array and are not one, by the name of their class."""

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"RIFF", b"II*\0", b"MM\0*", b"P5", b"P6")


def as_frame(given: Any, color: str = "bgr", *, on_device: bool = False) -> NDArray[Any]:
    """Give ``given`` as a NumPy array in the layout of a frame, without a copy where possible.

    A fourth channel (BGRA, BGRx, RGBA) is dropped, leading axes of 1 too; torch tensors may have
    their channels first. The order of a PIL image is known from its mode, whatever ``color`` says.

    Args:
        given: a NumPy array, PIL image, torch tensor in host memory, an ``Nv12``, or what has the
            buffer protocol, ``__array_interface__``, ``__array__`` or DLPack.
        color: channel order that colour frames have, "bgr", "rgb" or "gray".
        on_device: return an array in GPU memory (``__cuda_array_interface__``), or a view of it;
            one that offers DLPack alone becomes a view that has it. An ``Nv12`` there as it is.

    Returns:
        [H, W], [H, W, 1] or [H, W, 3], uint8 or uint16 in the byte order of this machine.

    Raises:
        InputError: anything else, with the line that converts where there is one.
    """
    if type(given) is np.ndarray and given.dtype in _DTYPES:
        if given.ndim == 2 or (given.ndim == 3 and given.shape[2] in (1, 3)):
            return given
    elif isinstance(given, Nv12):
        kept = on_device and given.on_device
        return given if kept else given.colors(color)  # type: ignore[return-value]
    elif hasattr(given, "__cuda_array_interface__") or lies_on_gpu(given):
        if on_device:
            return _on_device(given)  # type: ignore[no-any-return]
        raise InputError(
            "the frame lies in GPU memory and the CPU scores: score with a Detector on the GPU, "
            f'device="cuda", or copy it to the host: give {_to_host(given)}'
        )
    return _arranged(_held(given, color))


def in_gpu_memory(frame: Any) -> bool:
    """Whether it is what ``as_frame`` gives of a frame in GPU memory."""
    return hasattr(frame, "__cuda_array_interface__") or isinstance(frame, Nv12)


def _on_device(given: Any) -> Any:
    """An array in GPU memory, or the view of it in the layout of a frame; its dtype is as it is."""
    if not hasattr(given, "__cuda_array_interface__"):
        try:
            given = device_array(given)
        except ValueError as error:
            raise InputError(str(error)) from error
    shape, tensor = given.__cuda_array_interface__.get("shape"), hasattr(given, "permute")
    if not isinstance(shape, tuple) or len(shape) < 3 or not hasattr(given, "__getitem__"):
        return given
    if len(shape) == 3 and shape[2] in (1, 3) and not tensor:
        return given
    array, trouble, line = _axes(given, "frame", tensor=tensor)
    if trouble:
        raise InputError(f"the frame has shape {shape}, {_EXPECTED}{trouble}: give {line}")
    return array


class _Held(NamedTuple):
    """An array, and what stands for it in a line that converts it."""

    array: NDArray[Any]
    tensor: bool = False  # torch: channels come first, and its methods are named in lines
    name: str = "frame"


def _held(given: Any, color: str) -> _Held:
    """The NumPy array that ``given`` is, or holds."""
    pil = sys.modules.get("PIL.Image")
    if isinstance(given, np.ndarray):
        if isinstance(given, np.ma.MaskedArray) and np.ma.getmaskarray(given).any():
            hidden = int(np.ma.getmaskarray(given).sum())
            raise InputError(
                f"the frame is a masked array that hides {hidden} values: a bundle has its ignore "
                "mask (edgead mask); to score it with black there, give frame.filled(0)"
            )
        return _Held(np.asarray(given))
    if pil is not None and isinstance(given, pil.Image):
        return _Held(_of_pil(given, color), name="np.asarray(frame)")
    _refuse_others(given, color)
    if hasattr(given, "permute") and hasattr(given, "detach"):
        seen = given.detach()
        # bfloat16 is unknown to NumPy
        return _Held(_read(seen.float() if seen.is_floating_point() else seen), tensor=True)
    return _Held(_read(given), name="np.asarray(frame)")


def _read(given: Any) -> NDArray[Any]:
    """By the protocol that it has: NumPy's, a buffer, DLPack."""
    dlpack = hasattr(given, "__dlpack__")
    try:
        if any(hasattr(given, name) for name in _PROTOCOLS) or not dlpack:
            return np.asarray(given)
        return np.from_dlpack(given)
    except Exception as error:  # whatever another library says
        reason = (str(error) or type(error).__name__).splitlines()[0]
        line = _dense(given)
        cure = f": give {line}" if line else ""
        raise InputError(
            f"the frame, a {type(given).__name__}, cannot be read as an array in host memory "
            f"({reason}){cure}"
        ) from error


def _of_pil(image: Any, color: str) -> NDArray[Any]:
    """A PIL image in the order of channels that ``color`` says; alpha is dropped."""
    mode = image.mode
    try:
        image.load()  # the file may only have been opened
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(
            f"the frame is a PIL image whose file cannot be read ({error}): copy it again, or read "
            "it with edgead.read_image before it is closed"
        ) from error
    # Not by getexif(), which also believes XMP. A TIFF was turned when it was loaded.
    if exif_orientation(image.info.get("exif", b"").removeprefix(b"Exif\0\0")) in range(2, 9):
        raise InputError(
            "the frame is a PIL image that is not turned as its EXIF orientation says, which "
            "edgead.read_image and cv2.imread do: give PIL.ImageOps.exif_transpose(frame)"
        )
    if mode not in ("L", "LA", "RGB", "RGBA", "RGBX", "I", "F") and not mode.startswith("I;16"):
        wanted = {"1": "L", "La": "LA", "RGBa": "RGBA"}.get(mode, "RGB")
        raise InputError(
            f"the frame is a PIL image of mode {mode}, expected L, I;16, RGB or RGBA: give "
            f'frame.convert("{wanted}")'
        )
    array = _read(image)
    if mode == "LA":
        return array[:, :, 0]
    if mode.startswith("RGB"):
        return array[:, :, :3] if color == "rgb" else array[:, :, 2::-1]
    return array


def _refuse_others(given: Any, color: str) -> None:
    """Raise InputError for what is not an array, with the line that makes or finds one."""
    kind = type(given).__name__
    if given is None:
        raise InputError(
            "the frame is None: the file or the camera could not be read, which cv2.imread and "
            "VideoCapture.read report so; check the path, or read files with edgead.read_image"
        )
    if isinstance(given, str | os.PathLike):
        raise InputError(f"the frame is a path ({kind}): give edgead.read_image(frame)")
    if isinstance(given, list | tuple):
        raise InputError(_of_several(given))
    if isinstance(given, bytes | bytearray):
        _refuse_bytes(bytes(given), f"{len(given)} bytes", "bytes(frame)")
    if kind in _CALLS:
        line = _CALLS[kind].format(color="rgb" if color == "rgb" else "bgr")
        raise InputError(f"the frame is a {kind}, expected an array: give {line}")
    if any(hasattr(given, name) for name in (*_PROTOCOLS, "__dlpack__")):
        return
    try:
        memoryview(given)
    except (TypeError, ValueError, BufferError):
        raise InputError(
            f"the frame is a {kind}, expected a numpy array [H, W] or [H, W, 3], or what NumPy can "
            "read as one"
        ) from None


def _of_several(given: Any) -> str:
    """What is wrong with a list or tuple."""
    what = f"the frame is a {type(given).__name__} of {len(given)}"
    if len(given) == 2 and isinstance(given[0], bool | np.bool_):
        return f"{what}, as VideoCapture.read() returns: give frame[1]"
    try:
        numbers = np.array(given)
    except ValueError:  # frames of several sizes
        numbers = np.empty(0)
    nested = numbers.ndim > 1 and numbers.size > 0 and isinstance(given[0], list | tuple)
    if nested and numbers.dtype.kind in "iu" and 0 <= numbers.min() <= numbers.max() <= 65535:
        return f"{what}, expected an array: give np.array(frame, np.{_fitting(numbers)})"
    if len(given) == 1:
        return f"{what}, expected one frame: give frame[0]"
    return f"{what}, expected one frame: {_ONE_BY_ONE}"


def _refuse_bytes(data: bytes, what: str, line: str) -> None:
    if data.startswith(_MAGIC):
        raise InputError(
            f"the frame is {what} of an image file, expected its pixels: give "
            f'edgead.images.decode_image({line}, "frame")'
        )
    raise InputError(
        f"the frame is {what} without a shape, {_EXPECTED}: say how many rows and columns they "
        "are, as in np.frombuffer(frame, np.uint8).reshape(height, width, 3)"
    )


def _arranged(held: _Held) -> NDArray[Any]:
    """The frame in an array of any layout; InputError with the line where it is not certain."""
    array, line = held.array, held.name
    shape = array.shape
    if array.ndim == 1 and array.dtype == np.uint8:
        _refuse_bytes(array[:16].tobytes(), f"of shape {shape}, bytes", f"{held.name}.tobytes()")
    array, trouble, line = _axes(array, line, tensor=held.tensor)
    dtype: np.dtype[Any] = array.dtype
    if dtype not in _DTYPES and dtype.newbyteorder("=") not in _DTYPES:
        why, line = _converted(array, line, tensor=held.tensor)
        trouble = f"{why}{trouble}"
    if trouble:
        raise InputError(
            f"the frame is {dtype} of shape {shape}, {_EXPECTED}{trouble}: give {line}"
        )
    return np.asarray(array, dtype.newbyteorder("="))


def _axes(array: Any, line: str, *, tensor: bool) -> tuple[Any, str, str]:
    """A view of an array in the axes of a frame; what is not certain, and the line then."""
    shape = tuple(array.shape)
    while len(array.shape) > 3 and array.shape[0] == 1:
        array, line = array[0], f"{line}[0]"
    if len(array.shape) == 3:
        return _channels_last(array, line, tensor=tensor)
    if len(array.shape) == 4:
        raise InputError(
            f"the frame has shape {shape}, {len(array)} frames, expected one: {_ONE_BY_ONE}"
        )
    if len(array.shape) != 2:
        raise InputError(f"the frame is {array.dtype} of shape {shape}, {_EXPECTED}")
    return array, "", line


def _channels_last(array: Any, line: str, *, tensor: bool) -> tuple[Any, str, str]:
    """An array of three axes as [H, W] or [H, W, C]; what is not certain, and the line then."""
    first, last = array.shape[0], array.shape[2]
    turned = f"{line}.permute(1, 2, 0)" if tensor else f"{line}.transpose(1, 2, 0)"
    if tensor and first in _CHANNELS and last in _CHANNELS and first > 1:
        return array, "; which axis the channels are is not certain. Where they come first", turned
    if tensor and first in (3, 4) and last not in _CHANNELS:
        turn = array.permute if hasattr(array, "permute") else array.transpose
        return turn(1, 2, 0)[:, :, :3], "", turned
    if last == 4:
        return array[:, :, :3], "", line
    if last in _CHANNELS:
        return array, "", line
    if first == 1:
        return array[0], "", f"{line}[0]"
    if first in (3, 4):
        return array, "; where its channels come first", turned
    if last == 2:
        return array, "; where the second channel is alpha", f"{line}[:, :, 0]"
    return array, f"; of its {last} channels, pick what the network knows", f"{line}[:, :, :3]"


def _converted(array: NDArray[Any], line: str, *, tensor: bool) -> tuple[str, str]:
    """Why the dtype does not do, as the end of a sentence, and the line that converts it.

    The range of values is looked at for the words alone: nothing is scaled by its content.
    """
    kind = array.dtype.kind
    if kind == "b":
        return "; a mask has no grey levels", f"255 * {line}.{_cast('uint8', tensor)}"
    if array.dtype.names:
        names = f"[{line}[name] for name in {line}.dtype.names]"
        return "; its channels are fields", f"np.stack({names}, axis=-1)"
    if kind not in "iuf" or array.size == 0:
        raise InputError(f"the frame is {array.dtype} of shape {array.shape}, {_EXPECTED}")
    low, high = float(array.min()), float(array.max())
    seen = f"; its values are {low:g} to {high:g}"
    if not (np.isfinite([low, high]).all() and low >= 0 and high <= 65535):
        raise InputError(
            f"the frame is {array.dtype} of shape {array.shape}, {_EXPECTED}{seen}: give the frame "
            "as the camera made it, before it was normalised"
        )
    if kind != "f":
        dtype = _fitting(array)
        return f"{seen}. Where {np.iinfo(dtype).max} is white", f"{line}.{_cast(dtype, tensor)}"
    white, dtype = (1, "uint8") if high <= 1 else (np.iinfo(_fitting(array)).max, _fitting(array))
    scaled = f"255 * {line}" if white == 1 else line
    rounded = f"({scaled}).round()" if tensor else f"np.rint({scaled})"
    return f"{seen}. Where {white} is white", f"{rounded}.{_cast(dtype, tensor)}"


def _fitting(values: NDArray[Any]) -> str:
    return "uint8" if values.max() <= 255 else "uint16"


def _cast(dtype: str, tensor: bool) -> str:
    return f"to(torch.{dtype})" if tensor else f"astype(np.{dtype})"


def _dense(given: Any) -> str:
    """The line for what NumPy cannot read of torch: in other memory or layouts; "" for none."""
    if "sparse" in str(getattr(given, "layout", "")):
        return "frame.to_dense()"
    if getattr(given, "is_quantized", False):
        return "frame.int_repr()"
    memory = getattr(getattr(given, "device", None), "type", "cpu")
    return "" if memory in ("cpu", "meta") else "frame.cpu()"


def _to_host(given: Any) -> str:
    """The line that copies an array from a GPU."""
    names = [name for name in _TO_HOST if hasattr(given, name)]
    return f"frame.{names[0]}()" if names else "a copy of it in host memory"

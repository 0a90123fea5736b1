"""DLPack: arrays in GPU memory that offer it and no ``__cuda_array_interface__``, as JAX's, and
arrays handed out.

A capsule is read and made as DLPack 0.x lays it out, which producers give unless they are asked for
more, and consumers take.

Source: https://dmlc.github.io/dlpack/latest/c_api.html and python_spec.html
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CUDA, _CUDA_MANAGED = 2, 13  # kDLCUDA, kDLCUDAManaged
_LEGACY_STREAM = 1  # the default stream: the producer lets it wait for what makes the array
_NAME, _USED = b"dltensor", b"used_dltensor"
_KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}  # kDLInt, kDLUInt, kDLFloat, kDLBool


class _Tensor(ctypes.Structure):
    """DLTensor"""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    """DLManagedTensor"""

    _fields_ = (
        ("tensor", _Tensor),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
    )


_api = ctypes.pythonapi
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_api.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
_api.PyCapsule_SetName.argtypes = (ctypes.py_object, ctypes.c_char_p)


class _Owner:
    """What a capsule gave; its producer is told once it is no longer needed."""

    def __init__(self, capsule: Any) -> None:
        self.address: int = _api.PyCapsule_GetPointer(capsule, _NAME)
        _api.PyCapsule_SetName(capsule, _USED)
        self.managed = _Managed.from_address(self.address)

    def __del__(self) -> None:
        if hasattr(self, "managed") and self.managed.deleter:
            self.managed.deleter(self.address)


class _Place:
    """Says where an array lies; NumPy makes one there and reads nothing. ``owner`` stays as long as
    that array."""

    def __init__(self, found: dict[str, Any], owner: Any = None) -> None:
        self.__array_interface__ = {**found, "version": 3}
        self._owner = owner


class DeviceArray:
    """A view of such an array with ``__cuda_array_interface__``; the memory stays with it."""

    def __init__(self, owner: Any, seen: NDArray[Any]) -> None:
        # ``seen`` is at the device's address: so its views have theirs; it is never read.
        self._owner, self._seen = owner, seen
        self.shape, self.dtype = seen.shape, seen.dtype

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        found = self._seen.__array_interface__
        keys = ("shape", "typestr", "data", "strides")
        return {**{key: found[key] for key in keys}, "version": 3, "stream": _LEGACY_STREAM}

    def __getitem__(self, key: Any) -> DeviceArray:
        return DeviceArray(self._owner, self._seen[key])

    def __len__(self) -> int:
        return len(self._seen)

    def transpose(self, *axes: int) -> DeviceArray:
        """As NumPy's."""
        return DeviceArray(self._owner, self._seen.transpose(*axes))


def lies_on_gpu(given: Any) -> bool:
    """Whether ``given`` offers DLPack and lies in the memory of a GPU."""
    try:
        return given.__dlpack_device__()[0] in (_CUDA, _CUDA_MANAGED)
    except Exception:  # it has none, or lies nowhere, as a tensor of torch's device "meta"
        return False


def device_array(given: Any) -> DeviceArray:
    """``given``, which ``lies_on_gpu``, without a copy.

    Raises:
        ValueError: it cannot be read; says what to do.
    """
    try:
        owner = _Owner(given.__dlpack__(stream=_LEGACY_STREAM))
    except Exception as error:  # whatever another library says
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"the frame, a {type(given).__name__} in GPU memory, cannot be read by DLPack "
            f"({reason}): copy it to an array of CuPy or torch, or to the host"
        ) from error
    tensor = owner.managed.tensor
    kind = _KINDS.get(tensor.code)
    if kind is None or tensor.lanes != 1 or tensor.bits % 8:
        raise ValueError(
            f"the frame, a {type(given).__name__}, has samples of another kind (DLPack code "
            f"{tensor.code}, {tensor.bits} bits), expected uint8 or uint16"
        )
    dtype = np.dtype(f"{kind}{tensor.bits // 8}")
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    strides = None
    if tensor.strides:
        strides = tuple(dtype.itemsize * tensor.strides[axis] for axis in range(tensor.ndim))
    first = (tensor.data or 0) + tensor.byte_offset
    place = {"shape": shape, "typestr": dtype.str, "data": (first, False), "strides": strides}
    return DeviceArray(owner, np.asarray(_Place(place)))


class LentArray:
    """A C-contiguous array in the memory of ``cuda:index``, lent to other libraries without a copy.

    What makes it is done: no stream has to be waited for. ``owner``, which has its memory, stays
    until this object and every array that was made of it are gone.
    """

    def __init__(
        self, address: int, shape: tuple[int, ...], dtype: Any, index: int, owner: Any
    ) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._index = index
        place = {"shape": shape, "typestr": self.dtype.str, "data": (address, False)}
        self._seen: NDArray[Any] = np.asarray(_Place(place, owner))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        found = self._seen.__array_interface__
        named = {key: found[key] for key in ("shape", "typestr", "data")}
        return {**named, "strides": None, "version": 3, "stream": None}

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA, self._index

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule of DLPack 0.x; ``stream`` and ``max_version`` ask for nothing more.

        Raises:
            BufferError: a copy, or another device, is asked for.
        """
        device = self.__dlpack_device__()
        if copy or dl_device not in (None, device):
            raise BufferError(
                f"this array lies on DLPack device {device} and is lent without a copy; asked for "
                f"device {dl_device}, copy={copy}: copy it with the library that takes it"
            )
        capsule = self._seen.__dlpack__()  # NumPy's, which takes it for host memory
        found = _Managed.from_address(_api.PyCapsule_GetPointer(capsule, _NAME))
        found.tensor.device_type, found.tensor.device_id = device
        return capsule

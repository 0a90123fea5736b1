"""What a frame may be as a Python object: the score of the plain array, or the line that converts.

A line is taken from the end of the error and executed, as a user would.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgead
import edgead.images
from edgead import Detector, InputError
from edgead.images.arrays import as_frame
from edgead.monitoring.health import look
from edgead.preprocess import PreprocessParams, preprocess

torch = pytest.importorskip("torch")
PIL = pytest.importorskip("PIL")
Image = pytest.importorskip("PIL.Image")
pytest.importorskip("PIL.ImageOps")
PngInfo = pytest.importorskip("PIL.PngImagePlugin").PngInfo

Make = Callable[[np.ndarray], Any]


@pytest.fixture(scope="module")
def detector(bundle_dir: Path) -> Iterator[Detector]:
    with Detector(bundle_dir) as one:
        yield one


def plain(grey: bool, dtype: type = np.uint8) -> np.ndarray:
    """A frame with every value of its own: a mistake of axes or channels shows in the score."""
    full = np.iinfo(dtype).max
    shape = (21, 34) if grey else (21, 34, 3)
    frame = np.random.default_rng(4).integers(0, full, shape, dtype, endpoint=True)
    frame.flat[:2] = 0, full
    return frame


class Interface:
    """Nothing but ``__array_interface__``, as frames of some cameras' libraries."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.__array_interface__ = array, array.__array_interface__


class Array:
    """Nothing but ``__array__``, as tensors of TensorFlow and JAX."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._array


class Exchanged:
    """Nothing but DLPack on the CPU."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **given: Any) -> Any:
        return self._array.__dlpack__(**given)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


class Subclass(np.ndarray):
    """A subclass that adds nothing, as imageio's and OpenCV's."""


CONTAINERS: dict[str, Make] = {
    "array": lambda a: a,
    "subclass": lambda a: a.view(Subclass),
    "masked array without a mask": np.ma.array,
    "interface": Interface,
    "__array__": Array,
    "dlpack": Exchanged,
    "memoryview": memoryview,
    "torch": lambda a: torch.from_numpy(np.ascontiguousarray(a).copy()),
}

LAYOUTS: dict[str, Make] = {
    "as it is": lambda a: a,
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "a window": lambda a: np.pad(a, [(3, 2), (1, 4), (0, 0)][: a.ndim])[3:-2, 1:-4],
    "upside down twice": lambda a: a[::-1].copy()[::-1],
    "mirrored twice": lambda a: a[:, ::-1].copy()[:, ::-1],
    "Fortran order": np.asfortranarray,
    "channels apart": lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, -1, 0)), 0, -1),
    "an axis of 1": lambda a: a[None],
    "two axes of 1": lambda a: a[None, None] if a.ndim == 3 else a[None],
    "a fourth channel": lambda a: fourth(a),
    "one channel": lambda a: a[..., None] if a.ndim == 2 else a,
}


def fourth(array: np.ndarray) -> np.ndarray:
    """BGRx of BGR, x being noise; grey frames have none."""
    if array.ndim == 2:
        return array
    noise = np.random.default_rng(1).integers(0, 255, (*array.shape[:2], 1), array.dtype)
    return np.concatenate([array, noise], axis=2)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [False, True])
def test_what_is_taken_scores_as_the_plain_array(
    detector: Detector, container: str, dtype: type, grey: bool
) -> None:
    frame = plain(grey, dtype)
    expected = detector.score(frame)
    for name, layout in LAYOUTS.items():
        arranged = layout(frame)
        if container == "dlpack" and not arranged.flags.writeable:
            continue  # older versions of NumPy do not export it
        found = detector.score(CONTAINERS[container](arranged))
        np.testing.assert_array_equal(found.map, expected.map, name)
        assert found.score == expected.score, name
        np.testing.assert_array_equal(found.overlay(), expected.overlay(), name)
        assert found.frame.shape[:2] == frame.shape[:2]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_torch_tensors_may_have_their_channels_first(detector: Detector, dtype: type) -> None:
    frame = plain(False, dtype)
    tensor = torch.from_numpy(frame).permute(2, 0, 1)
    with_alpha = torch.from_numpy(fourth(frame)).permute(2, 0, 1)
    for given in (tensor, tensor.contiguous(), tensor[None], with_alpha):
        assert detector.score(given).score == detector.score(frame).score
    grey = torch.from_numpy(frame[:, :, 1])
    for given in (grey, grey[None], grey[None, None]):
        assert detector.score(given).score == detector.score(frame[:, :, 1]).score


@pytest.mark.parametrize("container", ["array", "subclass", "interface", "__array__", "memoryview"])
@pytest.mark.parametrize(
    "layout", ["as it is", "mirrored twice", "an axis of 1", "a fourth channel"]
)
def test_nothing_is_copied(container: str, layout: str) -> None:
    arranged = LAYOUTS[layout](plain(False))
    assert np.shares_memory(as_frame(CONTAINERS[container](arranged)), arranged)


def test_tensors_and_dlpack_are_not_copied() -> None:
    frame = plain(False)
    for given in (torch.from_numpy(frame), torch.from_numpy(frame).permute(2, 0, 1)):
        assert np.shares_memory(as_frame(given), frame)
    assert np.shares_memory(as_frame(Exchanged(frame)), frame)
    assert as_frame(frame) is frame


def test_big_endian_values_are_turned(detector: Detector) -> None:
    frame = plain(False, np.uint16)
    assert detector.score(frame.astype(">u2")).score == detector.score(frame).score
    assert detector.score(Array(frame.astype(">u2"))).score == detector.score(frame).score


@pytest.mark.parametrize("color", ["bgr", "rgb"])
def test_pil_images_know_their_order(bundle_dir: Path, color: str) -> None:
    bgr = plain(False)
    with Detector(bundle_dir, color=color) as detector:
        expected = detector.score(bgr if color == "bgr" else bgr[:, :, ::-1]).score
        image = Image.fromarray(np.ascontiguousarray(bgr[:, :, ::-1]))
        for mode in ("RGB", "RGBA", "RGBX"):
            assert detector.score(image.convert(mode)).score == expected, mode
        file = io.BytesIO()
        image.save(file, "PNG")
        assert detector.score(Image.open(file)).score == expected
        grey, deep = plain(True), plain(True, np.uint16)
        for mode in ("L", "LA"):
            image = Image.fromarray(grey).convert(mode)
            assert detector.score(image).score == detector.score(grey).score
        assert detector.score(Image.fromarray(deep)).score == detector.score(deep).score
        big = Image.frombytes("I;16B", deep.shape[::-1], deep.astype(">u2").tobytes())
        assert detector.score(big).score == detector.score(deep).score


def turned(image: Any) -> Any:
    """A JPEG-like image whose EXIF says that it lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    return Image.open(file)


BGR, GREY, DEEP = plain(False), plain(True), plain(True, np.uint16)
RGB = np.ascontiguousarray(BGR[:, :, ::-1])
FEW = np.where(GREY > 127, 255, 0).astype(np.uint8)
FIELDS = np.rec.fromarrays([BGR[:, :, c] for c in range(3)], names="b,g,r")

# What is given, and the array that the line in the error has to make of it.
CONVERTED: dict[str, tuple[Any, np.ndarray]] = {
    "float, 1 is white": (BGR.astype(np.float32) / 255, BGR),
    "double, grey": (GREY / 255, GREY),
    "half": (GREY.astype(np.float16) / 255, GREY),
    "float, 255 is white": (BGR.astype(np.float64), BGR),
    "float, 65535 is white": (DEEP.astype(np.float32), DEEP),
    "int32": (BGR.astype(np.int32), BGR),
    "int64 of 16 bits": (DEEP.astype(np.int64), DEEP),
    "uint32, big-endian": (BGR.astype(">u4"), BGR),
    "bool": (FEW > 0, FEW),
    "channels first": (BGR.transpose(2, 0, 1), BGR),
    "four channels first": (fourth(BGR).transpose(2, 0, 1), BGR),
    "channels first, float": (BGR.transpose(2, 0, 1) / 255, BGR),
    "a batch of one, channels first": (BGR.transpose(2, 0, 1)[None], BGR),
    "channels first, protocol": (Array(BGR.transpose(2, 0, 1)), BGR),
    "float, protocol": (Array(BGR / 255), BGR),
    "grey and alpha": (np.stack([GREY, FEW], axis=2), GREY),
    "six channels": (np.concatenate([BGR, BGR], axis=2), BGR),
    "fields": (FIELDS, BGR),
    "torch float": (torch.from_numpy(BGR) / 255, BGR),
    "torch float, channels first": (torch.from_numpy(BGR).permute(2, 0, 1) / 255, BGR),
    "torch, with a gradient": ((torch.from_numpy(BGR) / 255).requires_grad_(), BGR),
    "torch half": ((torch.from_numpy(GREY) / 255).half(), GREY),
    "torch int64": (torch.from_numpy(BGR).long(), BGR),
    "torch bool": (torch.from_numpy(FEW > 0), FEW),
    "torch sparse": (torch.from_numpy(GREY).to_sparse(), GREY),
    "torch, three channels on both ends": (
        torch.from_numpy(BGR[:, :3]).permute(2, 0, 1),
        BGR[:, :3],
    ),
    "PIL palette": (Image.fromarray(GREY).convert("P"), GREY),
    "PIL 1": (Image.fromarray(FEW).convert("1"), FEW),
    "PIL F": (Image.fromarray(GREY.astype(np.float32)), GREY),
    "PIL I": (Image.fromarray(DEEP.astype(np.int32)), DEEP),
    "PIL CMYK": (Image.fromarray(RGB).convert("CMYK"), BGR),
    "PIL, not turned": (turned(Image.fromarray(RGB)), np.rot90(BGR, -1)),
    "nested lists": (GREY.tolist(), GREY),
    "nested lists of colours": (BGR.tolist(), BGR),
    "a list of one": ([BGR], BGR),
    "what VideoCapture.read() gives": ((True, BGR), BGR),
    "bytes of a file": (edgead.images.encode_png(BGR), BGR),
    "array of the bytes of a file": (np.frombuffer(edgead.images.encode_png(BGR), np.uint8), BGR),
    "memoryview of the bytes of a file": (memoryview(edgead.images.encode_png(BGR)), BGR),
    "masked": (np.ma.array(GREY, mask=FEW > 0), np.where(FEW > 0, 0, GREY)),
}


def sentence(score: Callable[[Any], Any], given: Any) -> str:
    with pytest.raises(InputError) as caught:
        score(given)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("kind", CONVERTED)
def test_the_line_in_the_error_converts(detector: Detector, kind: str) -> None:
    given, expected = CONVERTED[kind]
    line = re.search(r"give (.+)$", sentence(detector.score, given))
    assert line, sentence(detector.score, given)
    names = {"frame": given, "np": np, "torch": torch, "edgead": edgead, "PIL": PIL}
    converted = eval(line[1], names)
    assert detector.score(converted).score == detector.score(expected).score


def test_the_line_for_several_frames_scores_them(detector: Detector) -> None:
    for given in ([BGR, GREY], (BGR, BGR[::2]), np.stack([BGR, BGR[::-1]]), [BGR, BGR]):
        line = re.search(r"as in (\[.+\])$", sentence(detector.score, given))
        assert line
        results = eval(line[1], {"frame": given, "detector": detector})
        assert [one.score for one in results] == [detector.score(one).score for one in given]


def test_a_path_is_read_by_the_line(detector: Detector, tmp_path: Path) -> None:
    file = tmp_path / "part.png"
    edgead.images.write_png(file, BGR)
    for given in (file, str(file)):
        line = re.search(r"give (.+)$", sentence(detector.score, given))
        assert line
        frame = eval(line[1], {"frame": given, "edgead": edgead})
        assert detector.score(frame).score == detector.score(BGR).score


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "could not be read.*cv2.imread"),
        (b"\1\2\3", r"reshape\(height, width, 3\)"),
        (bytearray(12), r"reshape\(height, width, 3\)"),
        (np.zeros(12, np.uint8), r"reshape\(height, width, 3\)"),
        (np.array(7, np.uint8), r"shape \(\)"),
        (np.array([[None, 1]]), "object"),
        (np.zeros((4, 5), complex), "complex128"),
        (np.array([["a"]]), "<U1"),
        (np.full((4, 5), np.nan), "nan"),
        (np.full((4, 5), -1.0, np.float32), "normalised"),
        (np.full((4, 5), 2**20), "normalised|camera made it"),
        (np.zeros((0, 5), np.float32), r"\(0, 5\)"),
        (np.zeros((0, 5), np.uint8), r"expected 1 to 32767 pixels"),
        (np.zeros((5, 0, 4), np.uint8), r"expected 1 to 32767 pixels"),
        (np.zeros((1, 1, 1, 0), np.uint8), r"expected 1 to 32767 pixels"),
        (np.zeros((2, 2, 4, 5, 3), np.uint8), r"\(2, 2, 4, 5, 3\)"),
        (torch.zeros(3, 4, device="meta"), "Tensor.*host memory"),
        (
            torch.zeros(4, 5, dtype=torch.complex64).conj(),
            r"resolve_conj\(\).numpy\(\) instead\.\)$",
        ),
        ([], "list of 0"),
        ({}, "dict"),
        (7, "int"),
        (1.5, "float"),
        (iter([BGR]), "iterator"),
        (object(), "object"),
    ],
)
def test_anything_else_is_named(detector: Detector, given: Any, words: str) -> None:
    assert re.search(words, sentence(detector.score, given))


def test_an_object_whose_protocol_fails_is_named(detector: Detector) -> None:
    class Broken:
        def __array__(self, *_: Any, **__: Any) -> np.ndarray:
            raise RuntimeError("the camera is gone\nsecond line")

    assert "the camera is gone" in sentence(detector.score, Broken())


def test_a_pil_image_whose_file_cannot_be_read_is_named(detector: Detector) -> None:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "PNG")
    cut = Image.open(io.BytesIO(file.getvalue()[:-200]))
    closed = Image.open(file)
    closed.close()
    for given in (cut, closed):
        assert "edgead.read_image" in sentence(detector.score, given)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pil_images_are_turned_by_what_turns_files(detector: Detector, kind: str) -> None:
    """PIL also believes XMP, which neither edgead.read_image nor cv2.imread reads; it turns TIFFs
    by itself."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    image, file = Image.fromarray(RGB), io.BytesIO()
    options: dict[str, Any] = {"xmp": xmp}
    if kind == "PNG":
        options = {"pnginfo": PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    elif kind == "TIFF":
        options = {"tiffinfo": {0x0112: 6}}
    elif kind == "WEBP":
        options["lossless"] = True
    image.save(file, kind, **options)
    frame = edgead.images.decode_image(file.getvalue(), "x")
    np.testing.assert_allclose(as_frame(Image.open(file)), frame, atol=2)  # decoders of JPEG


def test_every_door_takes_them() -> None:
    params = PreprocessParams((8, 8))
    image = Image.fromarray(RGB)
    np.testing.assert_array_equal(preprocess(image, params), preprocess(BGR, params))
    assert look(image)[0] == look(BGR)[0]
    line = sentence(lambda frame: preprocess(frame, params), BGR / 255)
    assert line.endswith("np.rint(255 * frame).astype(np.uint8)")


def test_edgead_imports_none_of_them(bundle_dir: Path) -> None:
    code = (
        "import sys, numpy as np, edgead\n"
        f"edgead.Detector({str(bundle_dir)!r}).score(np.zeros((1, 9, 9, 4), np.uint8))\n"
        "assert not {'torch', 'PIL', 'tensorflow', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

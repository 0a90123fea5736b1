"""TIFF: directory and segments are read here; what they mean holds for every compression."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.errors import InputError
from edgead.images import jpeg
from edgead.images.decoded import COPY_AGAIN, MOST_PIXELS, Decoded, opencv_pixels
from edgead.images.depth import FULL, rescale
from edgead.images.tiff_directory import Directory, read_directories

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_CHANNELS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _YCBCR: 3}
_COLOURS = {4: "a mask", 5: "CMYK", 6: "YCbCr", 8: "CIE Lab", 9: "ICC Lab", 32803: "a raw mosaic"}
_PREMULTIPLIED = 1
_NO_PAGE = 0b101  # of the kind of a page: a smaller copy, a mask

_NONE, _LZW, _JPEG, _ADOBE_DEFLATE, _PACKBITS, _DEFLATE = 1, 5, 7, 8, 32773, 32946
_NAMES = {
    2: "CCITT", 3: "CCITT fax 3", 4: "CCITT fax 4", 6: "old JPEG", 34712: "JPEG 2000",
    34887: "LERC", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL",
}  # fmt: skip
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_HOLE = 512  # zero bytes in a row; PackBits stores 128 at most without a length between them
_SPARE = 2**24  # bytes that a strip may hold beyond its rows


def decode(data: bytes) -> Decoded:
    """The first page in ``data``: grey, palette or RGB, in strips or tiles, chunky or in planes.

    Raises:
        InputError: a part is missing or damaged, or an encoding that is not read here; without the
            file's name.
    """
    directories = read_directories(data)
    page = directories[0]
    layout = Layout.of(page)
    colours = page.number("photometric", _BLACK_IS_ZERO)
    _check(page, layout, colours)
    planes = read_planes(data, page, layout)
    planes = _without_alpha(planes, page, layout, _CHANNELS[colours])
    orientation = page.number("orientation", 1)
    pages = max(sum(not one.number("subfile", 0) & _NO_PAGE for one in directories), 1)
    if colours == _PALETTE:
        resolved = _resolved(planes[:, :, 0], page, layout.bits)
        return Decoded(resolved, orientation, pages=pages)
    white = _white(planes, page, layout.bits)
    if colours == _WHITE_IS_ZERO:
        planes = white - planes
    samples = planes[:, :, ::-1] if planes.shape[2] == 3 else planes[:, :, 0]
    if samples.dtype == np.uint8:
        return Decoded(rescale(samples, white, 255), orientation, pages=pages)
    return Decoded(samples, orientation, white if white < FULL else None, pages=pages)


def _check(page: Directory, layout: Layout, colours: int) -> None:
    stored = max(page.numbers("sample_format", [1]))
    if stored not in (1, 4) or layout.bits > 16:
        kind = {1: "uint", 2: "int", 3: "float"}.get(stored, "complex")
        raise InputError(
            f"holds {kind}{layout.bits} samples; expected uint8 or uint16: save it as 8 or 16-bit "
            f"with a fixed scale"
        )
    plain = colours != _YCBCR or (layout.compression == _JPEG and layout.planes == 1)
    if colours not in _CHANNELS or not plain:
        found = _COLOURS.get(colours, f"colours of kind {colours}")
        raise InputError(f"holds {found}; expected grey, palette or RGB: convert it once")
    if layout.compression == _JPEG and (layout.bits, layout.depth) not in ((8, 1), (8, 3)):
        raise InputError(
            f"holds JPEG of {layout.depth} channels of {layout.bits} bits; expected grey or RGB of "
            f"8 bits without alpha: save it as PNG"
        )
    if not _CHANNELS[colours] <= layout.channels <= _CHANNELS[colours] + 1:
        raise InputError(
            f"has {layout.channels} channels; expected grey or RGB, with alpha at most: save the "
            f"channels that are meant as images of their own"
        )


def _without_alpha(
    planes: NDArray[Any], page: Directory, layout: Layout, channels: int
) -> NDArray[Any]:
    """The colours alone; refused where a transparent alpha is multiplied into them."""
    extra = page.numbers("extra_samples", [])
    multiplied = extra[:1] == [_PREMULTIPLIED] and planes.shape[2] > channels
    if multiplied and (planes[:, :, channels] != 2**layout.bits - 1).any():
        raise InputError(
            "has colours that are multiplied by a transparent alpha; expected colours as they "
            "are: save it without alpha"
        )
    return planes[:, :, :channels]


def _resolved(indices: NDArray[Any], page: Directory, bits: int) -> NDArray[Any]:
    """[H, W, 3] BGR of a palette, scaled from 16 to 8 bits as libtiff does."""
    size = 2**bits
    table = np.array(page.numbers("color_map", []), np.uint32)
    if len(table) != 3 * size:
        raise InputError(f"is damaged: {len(table)} of {3 * size} palette values; {COPY_AGAIN}")
    table >>= np.uint32(8 if table.max() > 255 else 0)
    return np.asarray(table.astype(np.uint8).reshape(3, size)[::-1].T[indices])


def _white(samples: NDArray[Any], page: Directory, bits: int) -> int:
    """The largest value of a sample: of its bits, or MaxSampleValue where it is of a bit depth."""
    declared = max(page.numbers("max_sample", [FULL])) if bits == 16 else 0
    depth = declared.bit_length()
    if 9 <= depth < 16 and declared == 2**depth - 1 and int(samples.max()) <= declared:
        return declared  # else programs write the highest value of this image there
    return int(2**bits - 1)


@dataclass(frozen=True)
class Layout:
    """How pixels lie in segments.

    ``height``, ``width``: of the page; ``rows``, ``columns``: of a segment; ``channels``: samples
    a pixel; ``planes``: 1, or ``channels`` where each has segments of its own.
    """

    height: int
    width: int
    rows: int
    columns: int
    bits: int
    channels: int
    planes: int
    compression: int
    predictor: int

    @property
    def depth(self) -> int:
        """Samples of a pixel that lie in the same segment."""
        return self.channels // self.planes

    @classmethod
    def of(cls, page: Directory) -> Layout:
        """InputError for sizes that cannot be, and for samples of different bits."""
        height, width = page.number("height"), page.number("width")
        channels = page.number("channels", 1)
        bits = page.numbers("bits", [1])
        if len(set(bits)) != 1:
            raise InputError("has channels of different bits; save it as 8 or 16-bit RGB")
        if "tile_offsets" in page.values:
            rows, columns = page.number("tile_height"), page.number("tile_width")
        else:
            rows, columns = min(page.number("rows_per_strip", height), height), width
        sizes = (height, width, rows, columns, bits[0], channels)
        if min(sizes) < 1 or max(height * width, rows * columns) * channels > MOST_PIXELS:
            raise InputError(
                f"declares {width} x {height} pixels of {channels} samples; it is damaged or too "
                f"large; {COPY_AGAIN}"
            )
        planes = channels if page.number("planar", 1) == 2 else 1
        kind, predictor = page.number("compression", _NONE), page.number("predictor", 1)
        if kind not in (_NONE, _LZW, _JPEG, _ADOBE_DEFLATE, _PACKBITS, _DEFLATE):
            raise InputError(
                f"is compressed by {_NAMES.get(kind, f'method {kind}')}; expected none, LZW, "
                f"deflate, PackBits or JPEG: save it as PNG"
            )
        if predictor not in (1, 2) or (predictor == 2 and bits[0] not in (8, 16)):
            raise InputError(f"has predictor {predictor} for {bits[0]} bits; save it as PNG")
        return cls(height, width, rows, columns, bits[0], channels, planes, kind, predictor)


def read_planes(data: bytes, page: Directory, layout: Layout) -> NDArray[Any]:
    """[H, W, channels], uint8 up to 8 bits a sample, else uint16.

    Raises:
        InputError: segments are missing or damaged; without the file's name.
    """
    tiled = "tile_offsets" in page.values
    offsets = page.numbers("tile_offsets" if tiled else "strip_offsets", [])
    lengths = page.numbers("tile_bytes" if tiled else "strip_bytes", [])
    down, across = -(-layout.height // layout.rows), -(-layout.width // layout.columns)
    count = down * across * layout.planes
    if not lengths and len(offsets) == 1 == count:
        lengths = [len(data) - offsets[0]]  # files of before 1992 leave it out
    if len(offsets) < count or len(lengths) < count:
        raise InputError(
            f"is damaged: {min(len(offsets), len(lengths))} of {count} segments are listed; "
            f"{COPY_AGAIN}"
        )
    dtype = np.uint8 if layout.bits <= 8 else np.uint16
    image = np.empty((layout.height, layout.width, layout.channels), dtype)
    reverse = page.number("fill_order", 1) == 2
    for index in range(count):
        start, length = offsets[index], lengths[index]
        if not length or not start or start + length > len(data):
            raise InputError(f"is truncated: segment {index} of {count} is missing; {COPY_AGAIN}")
        piece = data[start : start + length]
        piece = piece.translate(_REVERSED) if reverse else piece
        plane, place = divmod(index, down * across)
        top, left = place // across * layout.rows, place % across * layout.columns
        height = layout.rows if tiled else min(layout.rows, layout.height - top)
        try:
            samples = _samples(piece, page, layout, height)
        except InputError as error:
            raise InputError(f"is damaged in segment {index} of {count}: {error}") from error
        target = image[top : top + layout.rows, left : left + layout.columns]
        part = samples[: target.shape[0], : target.shape[1]]
        target[:, :, plane : plane + layout.depth] = part
    return image


def _samples(piece: bytes, page: Directory, layout: Layout, rows: int) -> NDArray[Any]:
    """[rows, columns, depth] of one segment."""
    depth = layout.depth
    shape = (rows, layout.columns, depth)
    if layout.compression == _JPEG:
        return _jpeg(piece, page, layout, shape)
    row = -(-layout.columns * depth * layout.bits // 8)
    raw = _DECOMPRESS[layout.compression](piece, rows, row)
    if len(raw) < rows * row:
        raise InputError(f"{len(raw)} of {rows * row} bytes are there; {COPY_AGAIN}")
    raw = raw[: rows * row]
    if layout.bits == 8:
        samples = np.frombuffer(raw, np.uint8).reshape(shape)
    elif layout.bits == 16:
        stored = np.frombuffer(raw, f"{page.order}u2").reshape(shape)
        samples = stored.astype(np.uint16)
    else:
        samples = _unpacked(raw, rows, layout.columns * depth, layout.bits).reshape(shape)
    if layout.predictor == 2:  # each sample is stored as its difference from the one on its left
        samples = np.add.accumulate(samples, axis=1, dtype=samples.dtype)
    return samples


def _unpacked(raw: bytes, rows: int, count: int, bits: int) -> NDArray[Any]:
    """[rows, count] of samples that lie bit beside bit, the highest first; rows begin on a byte."""
    stored = np.unpackbits(np.frombuffer(raw, np.uint8).reshape(rows, -1), axis=1)
    each = stored[:, : count * bits].reshape(rows, count, bits)
    samples = np.zeros((rows, count), np.uint8 if bits <= 8 else np.uint16)
    for bit in range(bits):
        samples = (samples << 1) | each[:, :, bit]
    return samples


def _inflate(piece: bytes, rows: int, row: int) -> bytes:
    """Deflate; some programs fill the last strip up, so there may be more than it takes."""
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(piece, 2 * rows * row + _SPARE)
    except zlib.error as error:
        raise InputError(f"{error}; {COPY_AGAIN}") from error
    if not stream.eof:
        raise InputError(f"it does not end; {COPY_AGAIN}")
    return raw


def _by_opencv(compression: int) -> Callable[[bytes, int, int], bytes]:
    """LZW and PackBits, as the only strip of a grey TIFF.

    Its samples have 16 bits, as OpenCV ignores what libtiff says of a damaged strip of 8. An odd
    number of bytes comes from 8 bits; the rows before the last are checked by 16.
    """

    def decompress(piece: bytes, rows: int, row: int) -> bytes:
        if compression == _PACKBITS and bytes(_HOLE) in piece:
            raise InputError(f"there is a hole of zeros in it; {COPY_AGAIN}")
        if row % 2 == 0:
            return _strip(piece, compression, 16, rows, row // 2)
        if rows % 2 == 0:
            return _strip(piece, compression, 16, rows // 2, row)
        if rows > 1:
            _strip(piece, compression, 16, rows // 2, row)
        return _strip(piece, compression, 8, rows, row)

    return decompress


def _strip(piece: bytes, compression: int, bits: int, height: int, width: int) -> bytes:
    entries = [
        (256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, compression), (262, 3, 1),
        (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(piece)),
    ]  # fmt: skip
    fields = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    body = piece + b"\0" * (len(piece) % 2)
    header = b"II*\0" + struct.pack("<I", 8 + len(body)) + body
    whole = header + struct.pack("<H", len(entries)) + fields + struct.pack("<I", 0)
    return bytes(opencv_pixels(whole).tobytes())


_DECOMPRESS: dict[int, Callable[[bytes, int, int], bytes]] = {
    _NONE: lambda piece, rows, row: piece,
    _DEFLATE: _inflate,
    _ADOBE_DEFLATE: _inflate,
    _LZW: _by_opencv(_LZW),
    _PACKBITS: _by_opencv(_PACKBITS),
}


def _jpeg(
    piece: bytes, page: Directory, layout: Layout, shape: tuple[int, int, int]
) -> NDArray[Any]:
    """Samples of a JPEG whose tables may lie in the directory; colours come as RGB."""
    tables = bytes(page.numbers("jpeg_tables", []))
    stream = piece[:2] + tables[2:-2] + piece[2:]
    if page.number("photometric", 1) == 2:
        # A JPEG says by this segment alone that its colours are RGB.
        adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
        stream = stream[:2] + adobe + stream[2:]
    samples = jpeg.decode(stream).samples
    samples = samples[:, :, None] if samples.ndim == 2 else samples[:, :, ::-1]
    if samples.shape[2] != shape[2] or samples.shape[1] < shape[1] or samples.shape[0] < shape[0]:
        raise InputError(f"it holds {samples.shape}, expected {shape}; {COPY_AGAIN}")
    return samples[: shape[0], : shape[1]]

"""Writers of PNG, TIFF, BMP, PNM and EXIF, in every encoding that a reader may meet.

They take the samples that the file stores; what a reader has to make of them is the test's to say.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

ADAM7 = [
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
    (1, 0, 2, 1),
]  # fmt: skip
Chunks = Sequence[tuple[bytes, bytes]]


def packed(rows: np.ndarray, bits: int, order: str = ">") -> bytes:
    """Rows [H, N] of samples, bit beside bit, each row from a new byte on."""
    if bits in (8, 16):
        return rows.astype(f"{order}u{bits // 8}").tobytes()
    places = (rows[:, :, None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(places.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def chunk(kind: bytes, held: bytes) -> bytes:
    return struct.pack(">I", len(held)) + kind + held + struct.pack(">I", zlib.crc32(kind + held))


def png(
    samples: np.ndarray, bits: int, colours: int, extra: Chunks = (), *, interlaced: bool = False,
    pieces: int = 1,
) -> bytes:  # fmt: skip
    """``colours``: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    height, width = samples.shape[:2]
    steps = ADAM7 if interlaced else [(0, 0, 1, 1)]
    raw = b""
    for top, left, down, right in steps:
        part = samples[top::down, left::right]
        for row in part if part.size else ():
            raw += b"\0" + packed(row.reshape(1, -1), bits)
    stream = zlib.compress(raw)
    cut = [len(stream) * i // pieces for i in range(pieces + 1)]
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(chunk(kind, held) for kind, held in extra)
        + b"".join(chunk(b"IDAT", stream[a:b]) for a, b in pairwise(cut))
        + chunk(b"IEND", b"")
    )


def exif(orientation: int, order: str = "<") -> bytes:
    """A block with this tag alone."""
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, 1)
    return start + struct.pack(f"{order}HHIHHI", 274, 3, 1, orientation, 0, 0)


def jpeg_with(data: bytes, *segments: tuple[int, bytes]) -> bytes:
    """``data`` with segments (marker, content) at its beginning."""
    made = (struct.pack(">BBH", 0xFF, kind, len(held) + 2) + held for kind, held in segments)
    return data[:2] + b"".join(made) + data[2:]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP file of these chunks."""
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(held)) + held + b"\0" * (len(held) % 2)
        for kind, held in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_picture(data: bytes) -> tuple[bytes, bytes]:
    """Kind and content of the picture in a simple WebP file."""
    (length,) = struct.unpack_from("<I", data, 16)
    return data[12:16], data[20 : 20 + length]


def bmp(
    samples: np.ndarray, bits: int, palette: np.ndarray | None = None, *, down: bool = False
) -> bytes:
    """``samples``: [H, W] indices, or [H, W, 3 or 4] BGR(x); ``down``: the top row comes first."""
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1)
    lines = [packed(row.reshape(1, -1), min(bits, 8)) for row in (rows if down else rows[::-1])]
    raw = b"".join(line + b"\0" * (-len(line) % 4) for line in lines)
    table = b"" if palette is None else np.pad(palette, ((0, 0), (0, 1))).astype(np.uint8).tobytes()
    start = 54 + len(table)
    header = struct.pack("<2sIII", b"BM", start + len(raw), 0, start)
    used = 0 if palette is None else len(palette)
    size = (width, -height if down else height)
    about = struct.pack("<IiiHHIIiiII", 40, *size, 1, bits, 0, len(raw), 2835, 2835, used, 0)
    return header + about + table + raw


def pnm(samples: np.ndarray, kind: int, white: int = 1, comment: bytes = b"") -> bytes:
    """``kind``: 1 to 6 as in P1 to P6."""
    height, width = samples.shape[:2]
    top = b"P%d\n%s%d %d\n" % (kind, comment, width, height)
    top += b"" if kind in (1, 4) else b"%d\n" % white
    if kind <= 3:
        return (
            top + b"\n".join(b" ".join(b"%d" % v for v in row.ravel()) for row in samples) + b"\n"
        )
    bits = 1 if kind == 4 else 8 if white < 256 else 16
    return top + packed(samples.reshape(height, -1), bits)


@dataclass
class Tiff:
    """How a TIFF is written; ``tags``: more of them, each as (type, values)."""

    bits: int = 8
    photometric: int = 1
    order: str = "<"
    big: bool = False
    compression: int = 1
    predictor: int = 1
    planar: int = 1
    tile: tuple[int, int] | None = None
    rows: int | None = None
    reversed_bits: bool = False
    tags: dict[int, tuple[int, list[int]]] = field(default_factory=dict)

    def write(self, *pages: np.ndarray) -> bytes:
        """``pages``: [H, W] or [H, W, channels] of samples."""
        mark = {"<": b"II", ">": b"MM"}[self.order]
        out = bytearray(mark + struct.pack(self.order + "H", 43 if self.big else 42))
        out += struct.pack(
            self.order + ("HHQ" if self.big else "I"), *((8, 0, 0) if self.big else (0,))
        )
        link = len(out) - (8 if self.big else 4)
        for page in pages:
            link = self._page(out, page if page.ndim == 3 else page[:, :, None], link)
        return bytes(out)

    def _page(self, out: bytearray, page: np.ndarray, link: int) -> int:
        height, width, channels = page.shape
        planes = [page[:, :, i : i + 1] for i in range(channels)] if self.planar == 2 else [page]
        tall, wide = self.tile or (self.rows or height, width)
        where, sizes = [], []
        for plane in planes:
            for top in range(0, height, tall):
                for left in range(0, width, wide):
                    part = plane[top : top + tall, left : left + wide]
                    if self.tile:
                        missing = (tall - part.shape[0], wide - part.shape[1], 0)
                        part = np.pad(part, [(0, n) for n in missing])
                    piece = self._piece(part)
                    out += b"\0" * (len(out) % 2)
                    where.append(len(out))
                    sizes.append(len(piece))
                    out += piece
        tags: dict[int, tuple[int, list[int]]] = {
            256: (4, [width]), 257: (4, [height]), 258: (3, [self.bits] * channels),
            259: (3, [self.compression]), 262: (3, [self.photometric]), 277: (3, [channels]),
            284: (3, [self.planar]), 317: (3, [self.predictor]),
            266: (3, [2 if self.reversed_bits else 1]),
        }  # fmt: skip
        if self.tile:
            tags |= {322: (4, [wide]), 323: (4, [tall]), 324: (4, where), 325: (4, sizes)}
        else:
            tags |= {273: (4, where), 278: (4, [tall]), 279: (4, sizes)}
        return self._directory(out, tags | self.tags, link)

    def _piece(self, part: np.ndarray) -> bytes:
        if self.predictor == 2:
            part = np.diff(part.astype(np.int64), axis=1, prepend=0) % 2**self.bits
        raw = packed(part.reshape(part.shape[0], -1).astype(np.uint16), self.bits, self.order)
        deflate = zlib.compress
        by_number = {1: bytes, 5: lzw, 8: deflate, 32773: packbits, 32946: deflate}
        piece = by_number[self.compression](raw)
        return bytes(int(f"{b:08b}"[::-1], 2) for b in piece) if self.reversed_bits else piece

    def _directory(self, out: bytearray, tags: dict[int, tuple[int, list[int]]], link: int) -> int:
        o, field_format = self.order, "Q" if self.big else "I"
        room = struct.calcsize(o + field_format)
        entries = b""
        for tag, (kind, values) in sorted(tags.items()):
            held = struct.pack(
                f"{o}{len(values)}{ {1: 'B', 3: 'H', 4: 'I', 7: 'B'}[kind] }", *values
            )
            if len(held) > room:
                out += b"\0" * (len(out) % 2)
                at = len(out)
                out += held
                held = struct.pack(o + field_format, at)
            entries += struct.pack(f"{o}HH{field_format}", tag, kind, len(values))
            entries += held.ljust(room, b"\0")
        out += b"\0" * (len(out) % 2)
        struct.pack_into(o + field_format, out, link, len(out))
        out += struct.pack(o + ("Q" if self.big else "H"), len(tags)) + entries
        out += bytes(room)
        return len(out) - room


def packbits(raw: bytes) -> bytes:
    """Runs of equal bytes, and pieces of others."""
    out, position = b"", 0
    while position < len(raw):
        run = 1
        while run < 128 and raw[position : position + run + 1] == raw[position : position + 1] * (
            run + 1
        ):
            run += 1
        if run > 1:
            out += bytes([257 - run, raw[position]])
            position += run
            continue
        end = position + 1
        while end < len(raw) and end - position < 128 and raw[end] != raw[end - 1]:
            end += 1
        out += bytes([end - position - 1]) + raw[position:end]
        position = end
    return out


def lzw(raw: bytes) -> bytes:
    """Codes of 9 to 12 bits, the highest bit first."""
    bits: list[str] = []
    table: dict[bytes, int] = {}

    def put(code: int) -> None:
        bits.append(f"{code:0{width}b}")

    def fresh() -> None:
        table.clear()
        table.update({bytes([i]): i for i in range(256)})

    width = 9
    put(256)
    fresh()
    known, following = b"", 258
    for byte in raw:
        longer = known + bytes([byte])
        if longer in table:
            known = longer
            continue
        put(table[known])
        table[longer] = following
        following += 1
        width = 10 if following > 511 else 9
        width = 11 if following > 1023 else width
        width = 12 if following > 2047 else width
        if following > 4094:
            put(256)
            fresh()
            following, width = 258, 9
        known = bytes([byte])
    if known:
        put(table[known])
        following += 1
        width = 12 if following > 2047 else 11 if following > 1023 else 10 if following > 511 else 9
    put(257)
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")

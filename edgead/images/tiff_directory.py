"""The directories of a TIFF or BigTIFF: which values its tags have."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from edgead.errors import InputError
from edgead.images.decoded import COPY_AGAIN

_TAGS = {
    "subfile": 254, "width": 256, "height": 257, "bits": 258, "compression": 259,
    "photometric": 262, "fill_order": 266, "strip_offsets": 273, "orientation": 274,
    "channels": 277, "rows_per_strip": 278, "strip_bytes": 279, "max_sample": 281,
    "planar": 284, "predictor": 317, "color_map": 320, "tile_width": 322, "tile_height": 323,
    "tile_offsets": 324, "tile_bytes": 325, "extra_samples": 338, "sample_format": 339,
    "jpeg_tables": 347,
}  # fmt: skip
_NAMES = {number: name for name, number in _TAGS.items()}
_TYPES = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q", 18: "Q"}
_MOST_PAGES = 100_000


@dataclass(frozen=True)
class Directory:
    """``order``: of bytes, ``<`` or ``>``; ``values``: of the tags above that it has."""

    order: str
    values: dict[str, list[int]]

    def numbers(self, name: str, missing: list[int]) -> list[int]:
        """All values of a tag."""
        return self.values.get(name) or missing

    def number(self, name: str, missing: int | None = None) -> int:
        """The first value of a tag; InputError when it has none and ``missing`` is None."""
        found = self.values.get(name)
        if found:
            return found[0]
        if missing is None:
            raise InputError(f"is damaged: it does not say its {name}; {COPY_AGAIN}")
        return missing


def read_directories(data: bytes) -> list[Directory]:
    """Every directory of the chain, at least one.

    Raises:
        InputError: one lies beyond the end of the file; without the file's name.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack(f"{order}H", data[2:4])[0] == 43
    found: list[Directory] = []
    seen: set[int] = set()
    try:
        (position,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)
        while position and position not in seen and len(found) < _MOST_PAGES:
            seen.add(position)
            directory, position = _read_one(data, position, order, big)
            found.append(directory)
    except (struct.error, OverflowError) as error:
        raise InputError(f"is truncated: a directory lies beyond its end; {COPY_AGAIN}") from error
    if not found:
        raise InputError(f"is truncated: it has no directory; {COPY_AGAIN}")
    return found


def _read_one(data: bytes, position: int, order: str, big: bool) -> tuple[Directory, int]:
    """The directory at ``position``, and where the next one is (0: it is the last)."""
    count_format, entry, field = ("Q", 20, "Q") if big else ("H", 12, "I")
    (count,) = struct.unpack_from(order + count_format, data, position)
    start = position + struct.calcsize(order + count_format)
    (following,) = struct.unpack_from(order + field, data, start + entry * count)
    values = {}
    for at in range(start, start + entry * count, entry):
        tag, kind, length = struct.unpack_from(f"{order}HH{field}", data, at)
        if tag in _NAMES and kind in _TYPES:
            item = struct.calcsize(f"{order}{_TYPES[kind]}")
            inline = at + entry - struct.calcsize(order + field)
            if length * item > len(data):
                raise struct.error
            fits = length * item <= struct.calcsize(order + field)
            where = inline if fits else struct.unpack_from(order + field, data, inline)[0]
            values[_NAMES[tag]] = list(
                struct.unpack_from(f"{order}{length}{_TYPES[kind]}", data, where)
            )
    return Directory(order, values), int(following)

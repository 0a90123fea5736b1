"""Bundles that are broken in every way of a grid: C refuses what Python refuses, in its words."""

from __future__ import annotations

import io
import json
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from signal_bundles import write_with_signals  # type: ignore[import-not-found]

from edgead import Detector
from edgead.bundle.entries import HealthLimits, Tolerance
from edgead.bundle.ignore_mask import IgnoreMask
from edgead.bundle.storage import npy, open_bundle, write_bundle
from edgead.errors import EdgeadError
from edgead.images import encode_png

MASK = (70, 90)


@pytest.fixture(scope="module")
def whole(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with every file that there may be; not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    write_with_signals(tiny, folder / "signals.edgead", 0)
    opened = open_bundle(folder / "signals.edgead")
    files = {name: opened.read(name) for name in opened.manifest.files}
    files["ignore.png"] = encode_png(np.zeros(MASK, np.uint8))
    files["golden/health.png"] = encode_png(np.full((128, 128), 9, np.uint16))
    changed = replace(
        opened.manifest,
        ignore=IgnoreMask(MASK, (((0, 0), (40.5, 0), (0, 40)),), "ignore.png"),
        health=HealthLimits("golden/health.png", 3, 0.1, 0.1, 0.1, 0.1),
        golden=opened.manifest.golden[:1],
        tolerance={"float32": Tolerance(1e9, 1e9)},
    )
    kept = {name: data for name, data in files.items() if not name.startswith("golden/1")}
    write_bundle(folder / "whole.edgead", changed, kept)
    return folder / "whole.edgead"


@pytest.fixture
def broken(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be broken."""
    return Path(shutil.copytree(whole, tmp_path / "broken.edgead"))


def python_says(path: Path) -> str | None:
    """Why Python does not serve a bundle; None where it does."""
    try:
        Detector(path, device="cpu", threads=1).close()
    except EdgeadError as error:
        return str(error)
    return None


def c_says(library: Any, refused: type[Exception], path: Path) -> str | None:
    """The same of C."""
    try:
        library.c.edgead_detector_close(library.open(path))
    except refused as error:
        return str(error)
    return None


def put(path: Path, name: str, content: bytes) -> None:
    """Replace a file of a bundle, and its digest."""
    (path / name).write_bytes(content)
    text = (path / "manifest.json").read_text()
    manifest = json.loads(text)
    old = manifest["files"][name]
    (path / "manifest.json").write_text(text.replace(old, sha256(content).hexdigest()))


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_link(path: Path) -> None:
    kept = path.with_name("kept")
    path.rename(kept)
    path.symlink_to("kept")


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "missing": Path.unlink,
    "empty": lambda p: p.write_bytes(b""),
    "cut": lambda p: p.write_bytes(p.read_bytes()[:-1]),
    "extended": lambda p: p.write_bytes(p.read_bytes() + b"\n"),
    "altered": lambda p: p.write_bytes(bytes([p.read_bytes()[0] ^ 1]) + p.read_bytes()[1:]),
    "a folder": to_folder,
    "a link": to_link,
    "a pipe": lambda p: (p.unlink(), os.mkfifo(p)),
    "3 GiB": lambda p: os.truncate(p, 3 << 30),
    "with another beside it": lambda p: p.with_name(p.name + "~").write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_file_damaged(
    library: Any, refused: type[Exception], whole: Path, tmp_path: Path, damage: str
) -> None:
    names = [p.relative_to(whole).as_posix() for p in sorted(whole.rglob("*")) if p.is_file()]
    assert len(names) >= 20
    for i, name in enumerate(names):
        path = tmp_path / f"{i}.edgead"
        shutil.copytree(whole, path)
        DAMAGES[damage](path / name)
        expected = python_says(path)
        if expected is None:  # a blank line more or less
            assert name == "manifest.json" and damage in ("extended", "cut")
        assert c_says(library, refused, path) == expected, name


def saved(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


def with_value(array: np.ndarray, value: float) -> bytes:
    changed = array.copy()
    changed.flat[array.size // 2] = value
    return npy(changed)


def promised(array: np.ndarray, shape: tuple[int, ...]) -> bytes:
    """A header of another shape, with the values of the array."""
    stream = io.BytesIO()
    about = {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue() + array.tobytes()


def header(array: np.ndarray, old: str, new: str) -> bytes:
    """With other words in the header, as long as before."""
    data = npy(array)
    changed = data.replace(old.encode(), new.encode().ljust(len(old)))
    assert changed != data and len(changed) == len(data)
    return changed


ARRAYS: dict[str, Callable[[np.ndarray], bytes]] = {
    "text": lambda a: b"not an array",
    "nothing": lambda a: b"",
    "a magic alone": lambda a: npy(a)[:8],
    "a header alone": lambda a: npy(a)[:128],
    "cut by a byte": lambda a: npy(a)[:-1],
    "more than is said": lambda a: npy(a) + b"\0",
    "version 2": lambda a: saved(a, version=(2, 0)),
    "version 3": lambda a: saved(a, version=(3, 0)),
    "another version": lambda a: npy(a)[:6] + b"\x09" + npy(a)[7:],
    "a header longer than the file": lambda a: npy(a)[:8] + b"\xff\xff" + npy(a)[10:],
    "fortran": lambda a: npy(np.asfortranarray(a)),
    "one more": lambda a: npy(np.concatenate([a, a[:1]])),
    "one less": lambda a: npy(a[:-1]),
    "one less of the last axis": lambda a: npy(a[..., :-1]),
    "the first alone": lambda a: npy(a[:1]),
    "none": lambda a: npy(a[:0]),
    "flat": lambda a: npy(a.reshape(-1)),
    "a number": lambda a: npy(a.reshape(-1)[0]),
    "an axis more": lambda a: npy(a[None]),
    "turned": lambda a: npy(np.ascontiguousarray(a.T)),
    "NaN": lambda a: with_value(a, np.nan),
    "infinity": lambda a: with_value(a, np.inf),
    "negative": lambda a: with_value(a, -1),
    "object": lambda a: saved(a.astype(object), allow_pickle=True),
    "texts": lambda a: npy(a.astype("U4")),
    "structured": lambda a: npy(np.zeros(a.shape, [("a", np.float32)])),
    "complex": lambda a: npy(a.astype(np.complex64)),
    "dates": lambda a: npy(np.zeros(a.shape, "datetime64[s]")),
    "long double": lambda a: npy(a.astype(np.longdouble)),
    "big endian": lambda a: npy(a.astype(a.dtype.newbyteorder(">"))),
    **{
        f"in {kind}": lambda a, kind=kind: npy(a.astype(kind))  # type: ignore[misc]
        for kind in ("f2", "f8", "i1", "u2", "i4", "u8", "?")
    },
    "a type of no such size": lambda a: header(a, f"{a.dtype.str}", f"<{a.dtype.kind}3"),
    "more than memory has": lambda a: promised(a, (2**38,)),
    "more than can be counted": lambda a: promised(a, (2**62, 2**62)),
    "a side below 0": lambda a: promised(a, (-1,)),
}


def arrays_by_reader(path: Path) -> dict[str, list[str]]:
    """The arrays of a bundle, by what reads them: what they are of, or all that are of places."""
    manifest = json.loads((path / "manifest.json").read_text())
    found: dict[str, list[str]] = {"golden": [manifest["golden"][0]["map"]]}
    for entry in (*manifest["memories"], *manifest["whitenings"]):
        for key in ("file", "mean", "factors", "centre"):
            found.setdefault(key, []).extend([entry[key]] if entry.get(key) else [])
        of_places = [entry[key] for key in ("places", "shares", "scored") if entry.get(key)]
        found.setdefault("places", []).extend(of_places)
    return found


@pytest.mark.parametrize("kind", ARRAYS)
def test_every_array_of_another_kind(
    library: Any, refused: type[Exception], whole: Path, tmp_path: Path, kind: str
) -> None:
    """One array of each reader, another one for the next kind: opening a bundle takes long."""
    readers = arrays_by_reader(whole)
    assert set(readers) == {"golden", "file", "mean", "factors", "centre", "places"}
    turn, refusals = list(ARRAYS).index(kind), 0
    for i, name in enumerate(names[turn % len(names)] for names in readers.values()):
        path = tmp_path / f"{i}.edgead"
        shutil.copytree(whole, path)
        put(path, name, ARRAYS[kind](np.load(path / name)))
        expected = python_says(path)
        refusals += expected is not None
        assert c_says(library, refused, path) == expected, name
    fine = ("more than is said", "version 2", "version 3", "fortran")
    assert refusals == 0 if kind in fine else refusals > 0


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    at, found = 8, []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += length + 12
    return found


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    pieces = [
        len(content).to_bytes(4, "big") + kind + content
        + zlib.crc32(kind + content).to_bytes(4, "big")
        for kind, content in chunks
    ]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


IMAGES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda d: b"",
    "cut by a byte": lambda d: d[:-1],
    "cut in the middle": lambda d: d[: len(d) // 2],
    "the signature alone": lambda d: d[:8],
    "the header alone": lambda d: d[:33],
    "more than its end": lambda d: d + b"more",
    "an altered byte": lambda d: d[:50] + bytes([d[50] ^ 1]) + d[51:],
    "an altered header": lambda d: d[:20] + b"\1" + d[21:],
    "a chunk that is too long": lambda d: d[:33] + b"\xff" * 4 + d[37:],
    "no header": lambda d: png_of(png_chunks(d)[1:]),
    "no samples": lambda d: png_of([c for c in png_chunks(d) if c[0] != b"IDAT"]),
    "two headers": lambda d: png_of(png_chunks(d)[:1] + png_chunks(d)),
    "another size": lambda d: encode_png(np.zeros((MASK[0] + 1, MASK[1]), np.uint8)),
    "one pixel": lambda d: encode_png(np.zeros((1, 1), np.uint8)),
    "all ignored": lambda d: encode_png(np.full(MASK, 255, np.uint8)),
    "16 bits of colour": lambda d: encode_png(np.full((*MASK, 3), 9999, np.uint16)),
    "text": lambda d: b"not an image at all",
}
DECODED = {"no samples", "two headers", "an altered header"}
"""What only the decoders find, each in its own words."""


@pytest.mark.parametrize("kind", IMAGES)
def test_every_image_of_another_kind(
    library: Any, refused: type[Exception], whole: Path, tmp_path: Path, kind: str
) -> None:
    for i, name in enumerate(("ignore.png", "golden/0.png")):
        path = tmp_path / f"{i}.edgead"
        shutil.copytree(whole, path)
        put(path, name, IMAGES[kind]((path / name).read_bytes()))
        expected, found = python_says(path), c_says(library, refused, path)
        if kind in DECODED and expected is not None:
            assert found is not None and f"image {name} " in found and f"image {name} " in expected
            continue
        if kind == "text":  # a golden frame may be of every format that Python reads
            assert expected is not None
            expected = expected.replace("PNG, JPEG, BMP, TIFF, WebP, PBM, PGM or PPM", "PNG")
        assert found == expected, name


TEXTS: dict[str, Callable[[str], bytes]] = {
    "cut": lambda t: t[:-3].encode(),
    "cut in a key": lambda t: t[: t.index("method") + 2].encode(),
    "nothing": lambda t: b"",
    "blank": lambda t: b" \n",
    "a list": lambda t: b"[]",
    "a number": lambda t: b"17",
    "null": lambda t: b"null",
    "more than one": lambda t: (t + "{}").encode(),
    "a mark of its encoding": lambda t: b"\xef\xbb\xbf" + t.encode(),
    "UTF-16": lambda t: t.encode("utf-16"),
    "Latin-1": lambda t: t.replace('"method"', '"m\u00e9thod"').encode("latin-1", "replace"),
    "a comma too many": lambda t: t.replace('"method"', ', "method"').encode(),
    "a comment": lambda t: ("// mine\n" + t).encode(),
    "NaN": lambda t: t.replace('"weight": 0.', '"weight": NaN, "b": 0.', 1).encode(),
    "infinity": lambda t: t.replace('"size"', '"x": Infinity, "size"', 1).encode(),
    "beyond float64": lambda t: t.replace('"size"', '"x": 1e999, "size"', 1).encode(),
    "a whole number beyond float64": lambda t: t.replace(
        '"size"', f'"x": 1{"0" * 400}, "size"', 1
    ).encode(),
    "beyond 64 bits": lambda t: t.replace('"size"', f'"x": {10**30}, "size"', 1).encode(),
    "a key twice": lambda t: t.replace('"method"', '"method": "a", "method"').encode(),
    "a key twice, deep": lambda t: t.replace('"score"', '"score": 1, "score"', 1).encode(),
    "a key twice, escaped": lambda t: t.replace(
        '"method"', '"m\\u0065thod": "a", "method"'
    ).encode(),
    "101 deep": lambda t: t.replace('"size"', f'"x": {"[" * 101}{"]" * 101}, "size"', 1).encode(),
    "90 deep": lambda t: t.replace('"size"', f'"x": {"[" * 90}{"]" * 90}, "size"', 1).encode(),
    "very deep": lambda t: b"[" * 200000,
    "a control character": lambda t: t.replace('"method"', '"met\thod"').encode(),
    "half a character": lambda t: t.replace('"name"', '"\\ud800"', 1).encode(),
    "half a character in a name": lambda t: t.replace('"name": "', '"name": "\\udcfc', 1).encode(),
    "a whole character in halves": lambda t: t.replace(
        '"method": "', '"method": "\\ud83d\\ude00', 1
    ).encode(),
    "a key that is not seen": lambda t: t.replace('"method"', '"a\u202eb": 1, "method"').encode(),
    "a key with a quote": lambda t: t.replace('"method"', '"a\'b": 1, "method"').encode(),
    "zero bytes": lambda t: bytes(1000),
    "a newer schema": lambda t: t.replace('"schema_version": 2', '"schema_version": 3').encode(),
    "a much newer schema": lambda t: t.replace(
        '"schema_version": 2', f'"schema_version": {10**30}'
    ).encode(),
    "a schema of a fraction": lambda t: t.replace('version": 2', 'version": 2.5', 1).encode(),
    "a negative schema": lambda t: t.replace('version": 2', f'version": -{10**30}', 1).encode(),
    "a schema of a truth": lambda t: t.replace('version": 2', 'version": true', 1).encode(),
}
SERVED = {"a mark of its encoding", "half a character in a name", "a whole character in halves"}


@pytest.mark.parametrize("kind", TEXTS)
def test_manifests_that_are_other_texts(
    library: Any, refused: type[Exception], broken: Path, kind: str
) -> None:
    text = (broken / "manifest.json").read_text()
    changed = TEXTS[kind](text)
    assert changed != text.encode()
    (broken / "manifest.json").write_bytes(changed)
    expected = python_says(broken)
    assert (expected is None) == (kind in SERVED)
    if kind == "half a character":  # C has no halves: a mark stands in its place
        expected = expected.replace("\\ud800", "\ufffd") if expected else None
    assert c_says(library, refused, broken) == expected


def numbers(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of numbers in a manifest, of the lists the first."""
    if isinstance(value, dict):
        return [p for key in value for p in numbers(value[key], (*path, key))]
    if isinstance(value, list):
        return numbers(value[0], (*path, 0)) if value else []
    return [path] if isinstance(value, int | float) and not isinstance(value, bool) else []


LIMITS: tuple[Any, ...] = (2**31 - 1, 2**31, -(2**31), 2**53 + 1, 2**63, 2**64, 10**30, -(10**30))
LIMITS += (-0.0, 1e-320, 1e16, 1.5e300, -1e-7, 32767, 32768, 65536)


@pytest.mark.exhaustive
@pytest.mark.parametrize("limit", LIMITS)
def test_numbers_at_their_limits(
    library: Any, refused: type[Exception], broken: Path, limit: float
) -> None:
    original = json.loads((broken / "manifest.json").read_text())
    places = [p for p in numbers(original) if p[0] not in ("provenance", "files")]
    assert len(places) > 30
    for place in places:
        changed = json.loads(json.dumps(original))
        at = changed
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] = limit
        (broken / "manifest.json").write_text(json.dumps(changed))
        assert c_says(library, refused, broken) == python_says(broken), (place, limit)

"""Small whole bundles and what is in them, as the fuzzers begin with it: ``fuzz_seeds.py FOLDER``.

FOLDER/bundles has bundles whose graph is text for stub_engine.cpp; FOLDER/TARGET has the first
inputs of each target, of manifests also ../corpus; FOLDER/json.dict the words of manifests.
"""

from __future__ import annotations

import json
import shutil
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import cases  # type: ignore[import-not-found]

from edgead.bundle.storage import npy
from edgead.images import encode_png

SIZE, FRAME = (16, 12), (20, 24)  # of the map, of golden frames
LEVEL = (8, 6)
RNG = np.random.default_rng(1)


def floats(*shape: int) -> bytes:
    """Positive numbers as .npy; every other array in Fortran's order."""
    values = RNG.random(shape).astype(np.float32)
    return npy(values if values.size % 2 else np.asfortranarray(values))


def plain() -> tuple[dict[str, Any], dict[str, bytes]]:
    """A manifest of two pairs and its files."""
    frame = RNG.integers(0, 256, (*FRAME, 3), dtype=np.uint8)
    files = {
        "model.onnx": b"image 3 16 12\na 4 8 6\nb 4 8 6\nc 2 4 3\nd 2 4 3\n",
        "golden/0.png": encode_png(frame),
        "golden/1.png": encode_png(RNG.integers(0, 65536, FRAME, dtype=np.uint16)),
        "golden/0.npy": npy(np.zeros(SIZE, np.float32)),
    }
    pairs = [
        {"reference": x, "restored": y, "channels": n, "size": size, "weight": weight}
        for x, y, n, size, weight in (("a", "b", 4, [8, 6], 1.0), ("c", "d", 2, [4, 3], 0.5))
    ]
    loose = {"score": 1e9, "map": 1e9}
    golden = [{"image": f"golden/{i}.png", "map": "golden/0.npy", "score": 0.5} for i in range(2)]
    manifest = {
        **{"schema_version": 2, "edgead_version": "0.1.0", "name": "n", "method": "m"},
        "created": "2025-01-01T00:00:00Z",
        "input": {"name": "image", "size": SIZE, "mean": [0.4] * 3, "std": [0.2] * 3},
        "pairs": pairs,
        "map": {
            **{"size": SIZE, "distance": "l2", "fusion": "sum", "align_corners": False},
            **{"blur_sigma": 1.5, "pooling": "max", "top_k": 0.01},
        },
        "models": {"float32": "model.onnx"},
        "calibration": {"scores": [0.5] * 9, "peaks": [0.5] * 9, "false_reject_rate": 0.2},
        "tolerance": {"float32": loose},
        "golden": golden,
        "provenance": {"note": "№ 1", "deep": [[{"a": None}]]},
    }
    return manifest, files


def with_signals() -> tuple[dict[str, Any], dict[str, bytes]]:
    """A pair, memories and whitenings of several kinds, a mask of both kinds."""
    manifest, files = plain()
    mask = np.zeros(FRAME, np.uint8)
    mask[3:9, 2:8] = 255
    files |= {
        "rows.npy": npy(RNG.random((9, 4)).astype(np.float16)),
        "more.npy": floats(7, 4),
        "places.npy": floats(*LEVEL),
        "mean.npy": floats(2, *LEVEL),
        "factors.npy": floats(6, 2, 2),
        "centre.npy": floats(2),
        "mask.png": encode_png(mask),
        "golden/health.png": encode_png(np.full((128, 128), 9, np.uint16)),
    }
    about = {"features": "a", "channels": 4, "size": LEVEL}
    manifest["pairs"] = manifest["pairs"][1:]
    files["model.onnx"] = b"image 3 16 12\na 4 8 6\nc 2 4 3\nd 2 4 3\n"
    shared = {**about, "places": "places.npy", "weight": 0.5}
    manifest["memories"] = [
        {**shared, "file": "rows.npy", "neighbours": 3, "temperature": 0.5, "scored": "places.npy"},
        {**shared, "file": "more.npy", "neighbours": 2, "shares": "places.npy"},
    ]
    whitening = {**about, "first": 1, "count": 2, "mean": "mean.npy", "factors": "factors.npy"}
    manifest["whitenings"] = [
        {**whitening, "side": 3, "centre": "centre.npy", "places": "places.npy"},
        {**whitening, "side": 3, "scored": "places.npy"},
    ]
    manifest["own_levels"] = [0.25, 0.5]
    manifest["golden"][0]["scored"] = "golden/0.npy"
    manifest["map"] |= {"pooling": "top_k", "fusion": "product", "distance": "l1"}
    manifest["ignore"] = {
        **{"frame_size": FRAME, "image": "mask.png"},
        "polygons": [[[0, 0], [5.5, 0], [0, 7]], [[1, 1], [20, 3], [9, 18], [2, 9]]],
    }
    manifest["health"] = {
        **{"reference": "golden/health.png", "images": 3, "brightness": 0.1},
        **{"saturated": 0.1, "sharpness": 0.1, "shift": 0.1},
    }
    manifest["input"]["bit_depth"] = 16
    own = {"scores": [0.5] * 9, "peaks": [0.4] * 9, "ties": {"score": 1e-4, "map": 1e-4}}
    manifest["calibration"] |= {"own": {"float32": own}, "ties": {"score": 1e-4, "map": 1e-4}}
    return manifest, files


def with_memory() -> tuple[dict[str, Any], dict[str, bytes]]:
    """The same without whitenings, levels and mask, by the root of the mean square."""
    manifest, files = with_signals()
    for key in ("whitenings", "own_levels", "ignore", "health"):
        del manifest[key]
    for name in ("mean.npy", "factors.npy", "centre.npy", "mask.png", "golden/health.png"):
        del files[name]
    manifest["map"] |= {"distance": "l2", "align_corners": True}
    return manifest, files


def tiled() -> tuple[dict[str, Any], dict[str, bytes]]:
    """Two pairs in tiles, with a polygon that is ignored."""
    manifest, files = plain()
    manifest["tiling"] = {"size": [14, 12], "overlap": 4}
    manifest["map"] |= {"pooling": "mean"}
    manifest["ignore"] = {"frame_size": FRAME, "polygons": [[[0, 0], [9, 0], [0, 9]]]}
    from edgead.tiling import Tiling, plan_tiles

    size = plan_tiles(Tiling((14, 12), 4), FRAME, SIZE).map_size
    files["golden/0.npy"] = npy(np.zeros(size, np.float32))
    return manifest, files


def words(value: Any) -> set[str]:
    """The keys of a manifest and its short texts, as JSON."""
    if isinstance(value, dict):
        return {json.dumps(key) for key in value}.union(*map(words, value.values()))
    if isinstance(value, list):
        return set().union(*map(words, value))
    return {json.dumps(value)} if isinstance(value, str) and len(value) < 20 else set()


def write_bundles(root: Path) -> None:
    """The bundles, and the inputs of ``bundle``: each of their files after two bytes."""
    made = {
        **{"0-plain": plain(), "1-signals": with_signals(), "2-tiled": tiled()},
        "3-memory": with_memory(),
    }
    (root / "bundle").mkdir()
    (root / "manifest").mkdir()
    dictionary = set()
    for at, (name, (manifest, files)) in enumerate(made.items()):
        manifest["files"] = {n: sha256(data).hexdigest() for n, data in sorted(files.items())}
        files["manifest.json"] = text = json.dumps(manifest, ensure_ascii=False).encode()
        for file, content in files.items():
            path = root / "bundles" / f"{name}.edgead" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        names = ["manifest.json", *sorted(set(files) - {"manifest.json"})]
        for which, file in enumerate(names):
            first = bytes([at + len(made) * which, 0])
            (root / "bundle" / f"{at}-{which}").write_bytes(first + files[file])
        (root / "manifest" / str(at)).write_bytes(text)
        dictionary |= words(manifest)
    for at, (manifest, _) in enumerate(cases.manifests()):
        (root / "manifest" / f"corpus-{at}").write_text(json.dumps(manifest))
    dictionary |= {"null", "true", "1e300", "-1", "2147483648", "9223372036854775808", "NaN"}
    quoted = (word.encode("ascii", "backslashreplace").decode() for word in sorted(dictionary))
    lines = ['"' + w.replace("\\", "\\\\").replace('"', '\\"') + '"' for w in quoted]
    (root / "json.dict").write_text("\n".join(lines) + "\n")


def images() -> dict[str, bytes]:
    """PNG files of every kind that is read."""
    import io

    from PIL import Image

    found = {}
    noise = Image.fromarray(RNG.integers(0, 256, (9, 7, 4), dtype=np.uint8), "RGBA")
    for mode in ("L", "LA", "RGB", "RGBA", "1", "P"):
        image = noise.convert("RGB").quantize(5) if mode == "P" else noise.convert(mode)
        stream = io.BytesIO()
        image.save(stream, "PNG", **({"transparency": 1} if mode == "P" else {}))
        found[mode] = stream.getvalue()
    found["wide"] = encode_png(RNG.integers(0, 65536, (5, 6, 3), dtype=np.uint16))
    found["grey"] = encode_png(RNG.integers(0, 65536, (5, 6), dtype=np.uint16))
    exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    for name, chunk in {"turned": (b"eXIf", exif), "bits": (b"sBIT", b"\x0c" * 3)}.items():
        data = found["wide"]
        piece = len(chunk[1]).to_bytes(4, "big") + chunk[0] + chunk[1] + b"\0\0\0\0"
        found[name] = data[:33] + piece + data[33:]
    return found


def write(root: Path) -> None:
    """All seeds, in a folder that is made anew."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    write_bundles(root)
    arrays = [np.zeros((2, 3), np.float32), np.zeros(0, np.float16), np.zeros((), np.int64)]
    inputs = {
        "json": {"0": b'{"a": [1, -2.5e3, "\\u00e9\xc3\xa9", true, null, {}]}', "1": b"[]"},
        "npy": {
            **{str(i): npy(array) for i, array in enumerate(arrays)},
            "fortran": npy(np.asfortranarray(np.ones((3, 4)))),
        },
        "png": {name: b"\1" + data for name, data in images().items()},
        "ignore_mask": {str(n): RNG.bytes(n) for n in (40, 90, 200, 300)},
    }
    for target, files in inputs.items():
        (root / target).mkdir()
        for name, content in files.items():
            (root / target / name).write_bytes(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))

"""Formats that Python has not: NV12, beside OpenCV and the standards; grey of 10 and 12 bits."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from signal_bundles import MASK_SIZE, write_tiled  # type: ignore[import-not-found]

from edgead import Detector
from edgead.bundle.storage import open_bundle

CSRC = Path(__file__).resolve().parents[2] / "csrc"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``alone(source, *parts)``: a program of files of csrc, which runs under sanitizers."""

    def make(source: str, *parts: str) -> Path:
        program = tmp_path_factory.mktemp("alone") / Path(source).stem
        folders = [f"-I{CSRC / name}" for name in ("include", "runtime", "bundle", "kernels")]
        command = ["c++", "-std=c++17", "-O1", "-Wall", "-Wextra", *SANITIZERS, *folders]
        sources = [Path(__file__).parent / source, *(CSRC / part for part in parts)]
        subprocess.run([*command, *map(str, sources), "-o", str(program)], check=True)
        return program

    return make


def run(program: Path, given: bytes, *numbers: float) -> bytes:
    done = subprocess.run([program, *map(str, numbers)], input=given, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


# Of red, green and blue in light, and where black and the range of Y and of U and V are.
SPACES = {
    "BT601": ((0.299, 0.587, 0.114), 16, 219, 224),
    "BT601_FULL": ((0.299, 0.587, 0.114), 0, 255, 255),
    "BT709": ((0.2126, 0.7152, 0.0722), 16, 219, 224),
    "BT709_FULL": ((0.2126, 0.7152, 0.0722), 0, 255, 255),
}


def by_the_standard(space: str, y: Any, u: Any, v: Any) -> Any:
    """R, G, B in float64 from the definition: Y = kr R + kg G + kb B, U ~ B - Y, V ~ R - Y."""
    (kr, kg, kb), black, light, colour = SPACES[space]
    luma = (y.astype(np.float64) - black) / light
    blue = luma + 2 * (1 - kb) * (u.astype(np.float64) - 128) / colour
    red = luma + 2 * (1 - kr) * (v.astype(np.float64) - 128) / colour
    green = (luma - kr * red - kb * blue) / kg
    return np.clip(255 * np.stack([red, green, blue], -1), 0, 255)


def planes(rng: np.random.Generator, height: int, width: int, spare: int) -> tuple[Any, Any]:
    """Y and U V of noise, in rows with ``spare`` bytes between them."""
    return tuple(
        rng.integers(0, 256, (rows, width + spare), dtype=np.uint8)[:, :width]
        for rows in (height, height // 2)
    )


def rgb_of(program: Path, light: Any, chroma: Any, space: int) -> Any:
    height, width = light.shape

    def bytes_of(plane: Any) -> bytes:
        whole = np.lib.stride_tricks.as_strided(plane, (len(plane), plane.strides[0]))
        return bytes(whole[:-1].tobytes() + plane[-1].tobytes())

    given = bytes_of(light) + bytes_of(chroma)
    out = run(program, given, height, width, light.strides[0], chroma.strides[0], space)
    return np.frombuffer(out, np.uint8).reshape(height, width, 4)


@pytest.fixture(scope="session")
def nv12_pixels(alone: Any) -> Path:
    return alone("nv12_pixels.cpp", "runtime/nv12.cpp")


def test_nv12_is_opencvs(nv12_pixels: Path) -> None:
    rng = np.random.default_rng(1)
    for height, width, spare in [(2, 2, 0), (4, 6, 1), (64, 130, 13), (512, 512, 0)]:
        light, chroma = planes(rng, height, width, spare)
        found = rgb_of(nv12_pixels, light, chroma, 0)
        both = np.concatenate([light, chroma])
        expected = cv2.cvtColor(both, cv2.COLOR_YUV2RGB_NV12)
        gap = np.abs(found[:, :, :3].astype(int) - expected)
        # On other processors OpenCV has other arithmetic.
        assert gap.max() <= (0 if platform.machine() == "x86_64" else 1)


@pytest.mark.parametrize("space", SPACES)
def test_nv12_is_what_the_standards_say(nv12_pixels: Path, space: str) -> None:
    levels = np.r_[0:256:5, 254, 255].astype(np.uint8)  # of U and V; Y takes all in 8 x 8 blocks
    u, v = (grid.ravel() for grid in np.meshgrid(levels, levels))
    light = np.arange(256, dtype=np.uint8).reshape(2, 128)
    light = np.tile(light, (len(u), 1))  # 2 rows with all Y for each U V
    chroma = np.stack([np.repeat(u[:, None], 64, 1), np.repeat(v[:, None], 64, 1)], -1)
    found = rgb_of(nv12_pixels, light, chroma.reshape(len(u), 128), list(SPACES).index(space))
    wide = [np.repeat(one, 256).reshape(light.shape) for one in (u, v)]
    expected = by_the_standard(space, light, *wide)
    gap = np.abs(found[:, :, :3] - expected)
    if not space.endswith("FULL"):
        gap[light < 16] = 0  # blacker than black is black here, and not in the definition
    # Half a level of rounding, and factors of three digits.
    assert gap.max() < 0.5 + 0.25
    assert not found[:, :, 3].any()


def nv12_frame(as_c_frame: Any, light: Any, chroma: Any, space: int = 0) -> Any:
    frame = as_c_frame(light, "NV12")
    frame.chroma, frame.chroma_stride = chroma.ctypes.data, chroma.strides[0]
    frame.color_space = space
    return frame


@pytest.mark.parametrize("layout", ["apart", "one after the other", "bottom up", "U V upwards"])
def test_scores_of_nv12_are_pythons_of_opencvs_conversion(
    library: Any, bundle_dir: Path, as_c_frame: Any, layout: str
) -> None:
    rng = np.random.default_rng(3)
    with (
        library.serving(bundle_dir) as session,
        Detector(bundle_dir, device="cpu", threads=1) as detector,
    ):
        for height, width in [(2, 2), (64, 48), (90, 132)]:
            light, chroma = planes(rng, height, width, 10)
            if layout == "bottom up":
                light = light[::-1]
            if layout in ("bottom up", "U V upwards"):
                chroma = chroma[::-1]
            frame = nv12_frame(as_c_frame, light, chroma)
            if layout == "one after the other":
                both = np.concatenate([light, chroma])
                frame = as_c_frame(both, "NV12")
                frame.height = height
            bgr = cv2.cvtColor(np.concatenate([light, chroma]), cv2.COLOR_YUV2BGR_NV12)
            found, expected = session.score_frame(frame), detector.score(bgr)
            if platform.machine() == "x86_64":
                assert (found.score, found.p_value) == (expected.score, expected.p_value)
                assert np.array_equal(session.rows("map", expected.map.shape), expected.map)
            assert session.rows("heatmap", (height, width)).shape == bgr.shape[:2]


def test_color_spaces_differ(library: Any, bundle_dir: Path, as_c_frame: Any) -> None:
    light, chroma = planes(np.random.default_rng(5), 64, 48, 0)
    with library.serving(bundle_dir) as session:
        scores = [
            session.score_frame(nv12_frame(as_c_frame, light, chroma, space)).score
            for space in range(4)
        ]
    assert len(set(scores)) == 4


def test_nv12_in_tiles(library: Any, tiny: Any, tmp_path: Path, as_c_frame: Any) -> None:
    path, rng = write_tiled(tiny, tmp_path, 0), np.random.default_rng(6)
    manifest = open_bundle(path).manifest
    assert manifest.tiling is not None
    height, width = (2 * side + 10 - side % 2 * 2 for side in manifest.tiling.size)
    if manifest.ignore is not None:
        height, width = MASK_SIZE
    light, chroma = planes(rng, height - height % 2, width - width % 2, 4)
    with library.serving(path) as session, Detector(path, device="cpu", threads=1) as detector:
        bgr = cv2.cvtColor(np.concatenate([light, chroma]), cv2.COLOR_YUV2BGR_NV12)
        found = session.score_frame(nv12_frame(as_c_frame, light, chroma))
        assert platform.machine() != "x86_64" or found.score == detector.score(bgr).score


@pytest.mark.parametrize("bits", [10, 12])
def test_grey_of_the_names_that_cameras_use(library: Any, bundle_dir: Path, bits: int) -> None:
    array = np.random.default_rng(bits).integers(0, 1 << bits, (50, 61), dtype=np.uint16)
    with (
        library.serving(bundle_dir) as session,
        Detector(bundle_dir, device="cpu", threads=1, bit_depth=bits) as detector,
    ):
        expected = detector.score(array).score
        assert session.score(array, f"GRAY{bits}").score == expected
        assert session.score(array, f"GRAY{bits}", bits).score == expected
        assert session.score(array, "GRAY16", bits).score == expected


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an odd height": ({"height": 63}, "63 x 48 .* even numbers for NV12"),
    "an odd width": ({"width": 47}, "64 x 47 .* even numbers for NV12"),
    "no such colours": ({"color_space": 4}, "color_space is 4, expected .* 0 to 3"),
    "negative colours": ({"color_space": -1}, "color_space is -1"),
    "short rows of colour": ({"chroma_stride": 47}, "chroma_stride is 47 .* has 48"),
    "huge rows of colour": ({"chroma_stride": 2**62}, "chroma_stride .* at most 2"),
    "upwards to nowhere": ({"chroma": None, "stride": -48}, "its chroma NULL"),
    "colour of grey": ({"format": 1, "chroma_stride": 0}, "the format GRAY8: expected them 0"),
    "colours of BGR": (
        {"format": 3, "stride": 144, "chroma": None, "chroma_stride": 0, "color_space": 2},
        "the format BGR: expected them 0",
    ),
    "bits": ({"bit_depth": 10}, "NV12, which has 8 bits"),
    "bits of Y10": (
        {"format": 9, "stride": 96, "chroma": None, "chroma_stride": 0, "bit_depth": 12},
        "GRAY10, which has 10 bits",
    ),
    "one format more": ({"format": 12}, "format is 12, expected .* 1 to 11"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_frames_of_two_planes_that_are_none(
    library: Any, refused: type[Exception], bundle_dir: Path, as_c_frame: Any, kind: str
) -> None:
    changes, words = WRONG[kind]
    light, chroma = planes(np.random.default_rng(7), 64, 48, 0)
    with library.serving(bundle_dir) as session:
        frame = nv12_frame(as_c_frame, light, chroma)
        expected = session.score_frame(frame).score
        for name, value in changes.items():
            setattr(frame, name, value)
        with pytest.raises(refused, match=words) as caught:
            session.score_frame(frame)
        assert caught.value.status == "INPUT"
        assert session.score_frame(nv12_frame(as_c_frame, light, chroma)).score == expected


def regions_by_opencv(heat: Any, threshold: float) -> list[tuple[Any, ...]]:
    """x, y, width, height, area and peak, highest peak first, those in front seen first."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (heat > np.float32(threshold)).astype(np.uint8), connectivity=8
    )
    found = []
    for label in range(1, count):
        first = int(np.argmax(labels.ravel() == label))
        found.append(((-heat[labels == label].max(), first), tuple(map(int, stats[label]))))
    return [(*box, float(-key[0])) for key, box in sorted(found)]


def patterns() -> dict[str, Any]:
    rng = np.random.default_rng(9)
    rings = np.hypot(*np.mgrid[-20:20, -25:25]) % 6 < 3
    checks = np.indices((30, 31)).sum(0) % 2
    comb = np.ones((12, 41))
    comb[:-1, ::2] = 0
    dots = np.zeros((31, 33))
    dots[::2, ::2] = 1
    return {
        "noise": rng.random((40, 50)),
        "sparse": rng.random((64, 64)) * (rng.random((64, 64)) < 0.1),
        "equal peaks": np.round(rng.random((50, 40)) * 2) / 2,
        "rings": rings * 1.0,
        "checks": checks * 1.0,
        "comb": comb,
        "comb, upside down": comb[::-1],
        "dots": dots,
        "one row": rng.random((1, 60)),
        "one column": rng.random((60, 1)),
        "one pixel": np.ones((1, 1)),
        "nothing": np.zeros((9, 9)),
        "all": np.ones((20, 20)),
    }


@pytest.fixture(scope="session")
def regions_of(alone: Any) -> Path:
    return alone("regions_of.cpp", "runtime/regions.cpp", "runtime/heatmap.cpp")


@pytest.mark.parametrize("pattern", patterns())
def test_regions_are_opencvs_components(regions_of: Path, pattern: str) -> None:
    heat = patterns()[pattern].astype(np.float32)
    threshold = 0.45
    expected = regions_by_opencv(heat, threshold)
    for capacity in sorted({0, 1, 3, len(expected), len(expected) + 5}):
        out = run(regions_of, heat.tobytes(), *heat.shape, threshold, capacity).decode().split("\n")
        assert int(out[0]) == len(expected)
        found = [tuple(map(float, line.split())) for line in out[1:] if line]
        assert found == [(*map(float, region), 0.0) for region in expected[:capacity]]

"""C and Python say the same of every frame: scores, p-values, verdicts and maps, bit for bit."""

from __future__ import annotations

import io
import json
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beside_python import COLOURS, array_of, same  # type: ignore[import-not-found]

from edgead import Detector
from edgead.bundle.entries import Tolerance
from edgead.bundle.ignore_mask import IgnoreMask
from edgead.bundle.storage import write_bundle
from edgead.errors import InputError
from edgead.images import encode_png
from edgead.preprocess import PreprocessParams


@pytest.mark.parametrize("seed", range(6))
def test_frames_of_every_kind(library: Any, bundle_dir: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    with library.serving(bundle_dir) as session:
        for kind in ("GRAY8", "GRAY16", *COLOURS):
            bits = int(rng.integers(9, 17)) if kind.endswith("16") else 0
            colour = COLOURS.get(kind, "bgr")
            with Detector(
                bundle_dir, device="cpu", threads=1, color=colour, bit_depth=bits or None
            ) as detector:
                size = (int(rng.integers(1, 150)), int(rng.integers(1, 150)))
                same(session, detector, array_of(rng, kind, size, bits), kind, bits)


CHANGES = {
    "cosine": {"distance": "cosine"},
    "l1 mean": {"distance": "l1", "pooling": "mean"},
    "top_k": {"pooling": "top_k", "top_k": 0.01},
    "product": {"fusion": "product", "blur_sigma": 0.0},
    "corners": {"align_corners": True, "blur_sigma": 7.5},
}


@pytest.mark.parametrize("change", CHANGES)
def test_maps_of_every_kind(
    library: Any, tiny: Any, tmp_path: Path, change: str, loose: Any
) -> None:
    path = loose(tiny, tmp_path, map=replace(tiny.manifest.map, **CHANGES[change]))
    rng = np.random.default_rng(11)
    with library.serving(path) as session, Detector(path, device="cpu", threads=1) as detector:
        for _ in range(3):
            size = (int(rng.integers(20, 150)), int(rng.integers(20, 150)))
            same(session, detector, array_of(rng, "BGR", size, 8), "BGR", 0)


@pytest.fixture(scope="session")
def loose() -> Any:
    """``loose(tiny, folder, **changes)``: the tiny bundle, whose golden frames hold nothing."""

    def write(tiny: Any, folder: Path, **changes: Any) -> Path:
        path = folder / "changed.edgead"
        tiny.write(path, tolerance={"float32": Tolerance(1e9, 1e9)}, **changes)
        return path

    return write


def masks() -> dict[str, IgnoreMask]:
    inside = ((3.5, 2.0), (60.25, 10.0), (41.0, 66.0))
    star = ((0.0, 0.0), (90.0, 70.0), (90.0, 0.0), (0.0, 70.0))  # crosses itself: even-odd
    return {
        "polygon": IgnoreMask((70, 90), (inside,)),
        "two polygons": IgnoreMask((70, 90), (inside, star)),
        "image": IgnoreMask((70, 90), image="ignore.png"),
        "both": IgnoreMask((70, 90), (inside,), image="ignore.png"),
    }


@pytest.mark.parametrize("kind", masks())
def test_ignore_masks(
    library: Any, refused: type[Exception], tiny: Any, tmp_path: Path, kind: str
) -> None:
    mask = masks()[kind]
    rng = np.random.default_rng(3)
    ignored = (rng.random((70, 90)) < 0.5).astype(np.uint8) * 255
    ignored[:30] = 0
    files = dict(tiny.files)
    if mask.image:
        files["ignore.png"] = encode_png(ignored)
    manifest = replace(tiny.manifest, ignore=mask, tolerance={"float32": Tolerance(1e9, 1e9)})
    path = tmp_path / "masked.edgead"
    write_bundle(path, manifest, files)
    with library.serving(path) as session, Detector(path, device="cpu", threads=1) as detector:
        for _ in range(4):
            same(session, detector, array_of(rng, "BGR", (70, 90), 8), "BGR", 0)
        for_another = array_of(rng, "BGR", (90, 70), 8)
        with pytest.raises(InputError) as expected:
            detector.score(for_another)
        with pytest.raises(refused) as caught:
            session.score(for_another, "BGR")
        assert str(caught.value) == str(expected.value)


def test_regions_are_pythons(library: Any, bundle_dir: Path, make_frame: Any) -> None:
    rng, counts = np.random.default_rng(8), set()
    with (
        library.serving(bundle_dir) as session,
        Detector(bundle_dir, device="cpu", threads=1) as detector,
    ):
        for seed in range(8):
            frame = make_frame(seed, (190, 230, 3))
            for y, x in [(10, 10), (150, 180), (12, 170), (150, 20)][: seed % 5]:
                noise = 255 * rng.integers(0, 2, (5, 10, 1))
                frame[y : y + 20, x : x + 40] = noise.repeat(4, 0).repeat(4, 1)
            session.score(frame, "BGR")
            regions = detector.score(frame).regions
            expected = [(r.x, r.y, r.width, r.height, r.area) for r in regions]
            found = session.regions()
            assert sorted(r[:5] for r in found) == sorted(expected)
            assert [r[5] for r in found] == pytest.approx([r.peak for r in regions], rel=1e-6)
            counts.add(len(found))
    assert min(counts) == 0 and max(counts) >= 2, counts  # or it has shown nothing


def test_declared_bit_depth(library: Any, tiny: Any, tmp_path: Path, loose: Any) -> None:
    given = tiny.manifest.preprocess
    path = loose(
        tiny,
        tmp_path,
        preprocess=PreprocessParams(given.size, given.mean, given.std, 12),
        golden=tiny.manifest.golden[:2],
    )
    frame = np.random.default_rng(2).integers(0, 4096, (50, 60), dtype=np.uint16)
    with library.serving(path) as session, Detector(path, device="cpu", threads=1) as detector:
        same(session, detector, frame, "GRAY16", 0)


def test_rates(library: Any, bundle_dir: Path, frame: np.ndarray) -> None:
    with library.detector(bundle_dir) as handle, library.session(handle) as session:
        for rate in (1 / 40, 0.05, 0.3, 0.95):
            library.call("detector_set_false_reject_rate", handle, rate)
            with Detector(bundle_dir, device="cpu", threads=1, false_reject_rate=rate) as detector:
                same(session, detector, frame, "BGR", 0)


def test_sessions_of_four_threads_share_a_detector(library: Any, bundle_dir: Path) -> None:
    rng = np.random.default_rng(4)
    frames = [array_of(rng, "BGR", (40 + i, 50), 8) for i in range(8)]
    with library.serving(bundle_dir) as session:
        expected = [session.score(frame, "BGR").score for frame in frames]
    found: dict[int, list[float]] = {}

    def work(number: int, handle: Any) -> None:
        with library.session(handle) as session:
            found[number] = [session.score(frame, "BGR").score for frame in frames]

    with library.detector(bundle_dir) as handle:
        threads = [threading.Thread(target=work, args=(i, handle)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == dict.fromkeys(range(4), expected)


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_edgead_score_prints_what_the_command_prints(
    installed: Path,
    bundle_dir: Path,
    tmp_path: Path,
    capsys: Any,
    make_frame: Any,
    no_gpu: None,
    device: str,
) -> None:
    from edgead.cli.main import main

    names = ["good part.png", 'quote"\\Prüfling №.png', "grey.png", "wide.png"]
    shapes: list[tuple[Any, ...]] = [(70, 90, 3), (33, 57), (40, 31), (50, 60, 3)]
    kinds = [np.uint8, np.uint8, np.uint16, np.uint16]
    for i, (name, shape, kind) in enumerate(zip(names, shapes, kinds, strict=True)):
        made = make_frame(i, shape, kind)
        made[10:20, 10:25] = np.iinfo(kind).max if i % 2 else made[10:20, 10:25]
        (tmp_path / name).write_bytes(encode_png(made))
    (tmp_path / "cut.png").write_bytes((tmp_path / names[0]).read_bytes()[:-30])
    images = [str(tmp_path / name) for name in [*names, "cut.png"]]
    asked = [str(bundle_dir), *images, "--json", "--device", device, "--threads", "1"]
    done = subprocess.run([installed / "edgead-score", *asked], capture_output=True, text=True)
    assert done.returncode == main(["score", *asked]) == 1  # of the image that is cut
    found, expected = json.loads(done.stdout), json.loads(capsys.readouterr().out)
    assert found.pop("engine") == expected.pop("engine")
    assert found.pop("left_out") == expected.pop("left_out") == {}
    for ours, theirs in zip(found["frames"], expected["frames"], strict=True):
        assert list(ours) == list(theirs)
        if "error" in theirs:
            assert "cut.png is truncated" in ours["error"] and "cut.png" in theirs["error"]
            continue
        assert set(ours.pop("timings_ms")) == set(theirs.pop("timings_ms"))
        for key in ("path", "score", "p_value", "is_anomalous", "threshold"):
            assert ours[key] == theirs[key]
        assert [{**r, "peak": 0} for r in ours["regions"]] == [
            {**r, "peak": 0} for r in theirs["regions"]
        ]


WORDS: dict[str, tuple[int, str]] = {
    "--device cuda": (2, 'device "gpu": this libedgead was built without TensorRT'),
    "--device cuda:0": (2, 'device "gpu": this libedgead was built without TensorRT'),
    "--device cuda:1": (1, "--device is 'cuda:1', expected auto, cpu or cuda"),
    "--device gpu": (1, "--device is 'gpu', expected auto, cpu or cuda"),
    "--device": (1, "--device is '', expected auto, cpu or cuda"),
    "--precision": (1, "--precision is '', expected a word after it"),
    "--precision fp16": (1, "precision 'fp16': expected one of float32, float16"),
    "--threads 0": (1, "--threads is '0', expected a whole number from 1 to 1024"),
    "--threads 1.5": (1, "--threads is '1.5', expected a whole number from 1 to 1024"),
    "--threads": (1, "--threads is '', expected a whole number from 1 to 1024"),
    "--jsn": (1, "'--jsn' is not an option here; expected edgead-score BUNDLE IMAGE..."),
}


@pytest.mark.parametrize("words", WORDS)
def test_edgead_score_names_what_it_was_given(
    installed: Path, bundle_dir: Path, words: str
) -> None:
    asked = [bundle_dir, bundle_dir / "golden" / "0.png", "--json", *words.split()]
    done = subprocess.run(
        [installed / "edgead-score", *map(str, asked)], capture_output=True, text=True
    )
    code, said = WORDS[words]
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"edgead: {said}")


def test_info(library: Any, bundle_dir: Path) -> None:
    with (
        library.detector(bundle_dir) as handle,
        Detector(bundle_dir, device="cpu", threads=1) as detector,
    ):
        info, expected = library.info(handle), detector.info()
        for key in ("device", "precision", "kernels", "version", "bundle_sha256"):
            assert getattr(info, key).decode() == expected[key]
        assert (info.map_height, info.map_width) == detector.bundle.manifest.map.size
        assert info.calibration_images == len(detector.bundle.manifest.calibration.scores)


def test_golden_files_of_numpy_in_any_order(
    library: Any, bundle_copy: Path, edit: Any, frame: np.ndarray
) -> None:
    stored = np.load(bundle_copy / "golden/0.npy")
    stream = io.BytesIO()
    np.save(stream, np.asfortranarray(stored))
    edit(bundle_copy, None, {"golden/0.npy": stream.getvalue()})
    with library.serving(bundle_copy) as session:
        assert session.score(frame, "BGR").score > 0

"""C serves the precisions that Python serves, by the same rules and in the same words."""

from __future__ import annotations

import ctypes
import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beside_python import array_of, same  # type: ignore[import-not-found]
from signal_bundles import write_tiled, write_with_signals  # type: ignore[import-not-found]

from edgead import Detector
from edgead.cpu.engine import _cpu_core
from edgead.errors import EdgeadError

ROOT = Path(__file__).resolve().parents[2]
PRECISIONS = ("float32", "float16", "bfloat16", "int8")


def offered() -> set[str]:
    """By OpenVINO on this processor."""
    import openvino

    words = _cpu_core(openvino).get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    names = {"FP32": "float32", "FP16": "float16", "BF16": "bfloat16", "INT8": "int8"}
    return {names[word] for word in map(str, words) if word in names}


def state_float16(manifest: dict[str, Any]) -> None:
    """float16 by the float32 graph: OpenVINO rounds it by the hint."""
    manifest["models"]["float16"] = "model.onnx"
    manifest["tolerance"]["float16"] = {"score": 0.1, "map": 0.1}


@pytest.fixture
def every(bundle_copy: Path, add_int8: Callable[..., None], edit: Callable[..., None]) -> Path:
    """The tiny bundle with graphs and tolerances of all precisions."""
    add_int8(bundle_copy)
    edit(bundle_copy, state_float16)
    return bundle_copy


def refusal(open_it: Callable[[], Any]) -> str | None:
    """What is said by a door that stays shut."""
    try:
        open_it()
    except EdgeadError as error:
        return f"{type(error).__name__.removesuffix('Error').upper()}: {error}"
    return None


@contextmanager
def served_by_both(library: Any, path: Path, precision: str) -> Iterator[tuple[Any, Detector]]:
    with (
        library.serving(path, precision=precision) as session,
        Detector(path, device="cpu", threads=1, precision=precision) as detector,
    ):
        yield session, detector


def both_refuse(library: Any, refused: Any, path: Path, precision: str) -> str:
    said = refusal(lambda: Detector(path, device="cpu", threads=1, precision=precision))
    with pytest.raises(refused) as caught:
        library.c.edgead_detector_close(library.open(path, precision=precision))
    assert f"{caught.value.status}: {caught.value}" == said
    return str(caught.value)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_precision_is_pythons(
    library: Any, refused: Any, every: Path, frame: np.ndarray, precision: str
) -> None:
    if precision not in offered():
        words = f"precision {precision}: OpenVINO does not offer it on CPU"
        assert words in both_refuse(library, refused, every, precision)
        return
    rng = np.random.default_rng(PRECISIONS.index(precision))
    with served_by_both(library, every, precision) as (session, detector):
        assert detector.info()["precision"] == precision
        for size in ((90, 110), (33, 57), (64, 48)):
            same(session, detector, array_of(rng, "BGR", size, 8), "BGR", 0)
        coarse = session.score(frame, "BGR").score
    with library.detector(every, precision=precision) as handle:
        assert library.info(handle).precision.decode() == precision
    with library.serving(every) as session:  # float32, which is another score
        exact = session.score(frame, "BGR").score
    assert (coarse == exact) == (precision == "float32")


@pytest.mark.parametrize("kind", ["signals", "tiles"])
def test_int8_of_every_kind_of_bundle(
    library: Any, tiny: Any, tmp_path: Path, add_int8: Any, edit: Any, kind: str
) -> None:
    if "int8" not in offered():
        pytest.skip("OpenVINO has no int8 here")
    if kind == "tiles":
        path = write_tiled(tiny, tmp_path, 3)
    else:
        path = write_with_signals(tiny, tmp_path / "signals.edgead", 0)
    add_int8(path)
    wide = {"score": 1e9, "map": 1e9}
    edit(path, lambda manifest: manifest["tolerance"].update(int8=wide))
    rng = np.random.default_rng(5)
    size = (75, 131) if kind == "tiles" else (70, 90)  # that of the mask
    with served_by_both(library, path, "int8") as (session, detector):
        for _ in range(3):
            same(session, detector, array_of(rng, "BGR", size, 8), "BGR", 0)


def test_scores_are_judged_by_what_belongs_to_their_precision(
    library: Any, every: Path, edit: Any, frame: np.ndarray
) -> None:
    def add_own(manifest: dict[str, Any]) -> None:
        held = manifest["calibration"]
        held["ties"] = {"score": 0.125, "map": 0.25}
        scores = [value + 10 for value in held["scores"]]
        own = {"scores": scores, "peaks": held["peaks"], "ties": {"score": 0.25, "map": 0.5}}
        held["own"] = {"int8": own}

    for change in (lambda _: None, add_own):
        edit(every, change)
        limits = {}
        for precision in sorted(offered()):
            with served_by_both(library, every, precision) as (session, detector):
                same(session, detector, frame, "BGR", 0)
                limits[precision] = session.score(frame, "BGR").threshold
        assert len(set(limits.values())) == len({p for p in limits if p != "float16"})


def test_what_the_bundle_lacks(library: Any, refused: Any, bundle_dir: Path) -> None:
    for precision in ("int8", "float16"):
        words = f"bundle tiny has no graph in {precision}, only in float32"
        assert words in both_refuse(library, refused, bundle_dir, precision)
    if "bfloat16" in offered():
        said = both_refuse(library, refused, bundle_dir, "bfloat16")
        assert "states no tolerance for bfloat16, only for float32" in said


def test_what_is_no_precision(library: Any, refused: Any, bundle_dir: Path) -> None:
    for word in ("fp16", "FLOAT32", "auto", "", "it's\n"):
        said = refusal(lambda word=word: Detector(bundle_dir, device="cpu", precision=word))
        with pytest.raises(refused) as caught:
            library.open(bundle_dir, precision=word)
        assert f"{caught.value.status}: {caught.value}" == str(said).replace("None", "NULL")


def test_graphs_that_would_not_be_int8(
    library: Any, refused: Any, every: Path, edit: Any, add_int8: Any
) -> None:
    if "int8" not in offered():
        pytest.skip("OpenVINO has no int8 here")
    edit(every, files={"model.int8.onnx": (every / "model.onnx").read_bytes()})
    assert "no layer stored in int8" in both_refuse(library, refused, every, "int8")
    add_int8(every, wrong=0.25)
    assert "int8 has too few bits" in both_refuse(library, refused, every, "int8")


def test_callers_from_before_there_was_a_choice(library: Any, bundle_dir: Path) -> None:
    """Their struct ends where precision begins; what lies behind it is not read."""
    given = (ctypes.c_char * 40).from_buffer_copy(b"\xff" * 40)
    ctypes.c_size_t.from_buffer(given).value = 24
    ctypes.c_double.from_buffer(given, 8).value = 0.0
    ctypes.c_int32.from_buffer(given, 16).value = 1
    ctypes.c_int32.from_buffer(given, 20).value = 0
    handle = ctypes.c_void_p()
    library.call("detector_open", 1, str(bundle_dir).encode(), given, ctypes.byref(handle))
    assert library.info(handle).precision == b"float32"
    library.c.edgead_detector_close(handle)


def test_the_program_takes_a_precision(
    installed: Path, every: Path, tmp_path: Path, frame: np.ndarray, capsys: Any
) -> None:
    from edgead.cli.main import main
    from edgead.images import encode_png

    image = tmp_path / "part.png"
    image.write_bytes(encode_png(frame))
    for precision in sorted(offered()):
        given = [str(every), str(image), "--json", "--threads", "1", "--precision", precision]
        done = subprocess.run([installed / "edgead-score", *given], capture_output=True, text=True)
        assert done.returncode == main(["score", *given, "--device", "cpu"]) == 0
        found, expected = json.loads(done.stdout), json.loads(capsys.readouterr().out)
        assert found["engine"] == expected["engine"]
        assert found["engine"]["precision"] == precision
        assert found["frames"][0]["score"] == expected["frames"][0]["score"]


def with_trouble(model: bytes, trouble: str) -> bytes:
    """A graph that gives a NaN or an infinity for bright frames, and is as it was for others."""
    import onnx
    from onnx import helper, numpy_helper

    graph = onnx.load_model_from_string(model)
    constants = {"most": 2.3, "least": 0.0, "little": 1e-30}
    for name, value in constants.items():
        graph.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    last = graph.graph.node[-1]
    output, last.output[0] = last.output[0], "before"
    broken = ("Sqrt", ["left"]) if trouble == "nan" else ("Div", ["little", "room"])
    graph.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Sub", ["most", "mean"], ["left"]),
            helper.make_node("Max", ["left", "least"], ["room"]),
            helper.make_node(broken[0], broken[1], ["trouble"]),
            helper.make_node("Mul", ["trouble", "little"], ["slight"]),
            helper.make_node("Add", ["before", "slight"], [output]),
        ]
    )
    return bytes(graph.SerializeToString())


@pytest.mark.parametrize("trouble", ["nan", "inf"])
def test_an_engine_that_gives_what_is_no_number(
    library: Any, refused: Any, bundle_copy: Path, edit: Any, tiny: Any, trouble: str
) -> None:
    edit(bundle_copy, files={"model.onnx": with_trouble(tiny.files["model.onnx"], trouble)})
    white, good = np.full((60, 50, 3), 255, np.uint8), np.full((60, 50, 3), 90, np.uint8)
    with served_by_both(library, bundle_copy, "float32") as (session, detector):
        same(session, detector, good, "BGR", 0)
        said = refusal(lambda: detector.score(white))
        with pytest.raises(refused) as caught:
            session.score(white, "BGR")
        assert f"{caught.value.status}: {caught.value}" == said
        assert "features that are not finite (score" in str(said)
        with pytest.raises(refused, match="the last one failed"):
            session.rows("map", (64, 48))
        same(session, detector, good, "BGR", 0)  # and goes on


def test_an_engine_that_gives_none_on_golden_frames(
    library: Any, refused: Any, bundle_copy: Path, edit: Any, make_graph: Any
) -> None:
    edit(bundle_copy, files={"model.onnx": make_graph(gain=1e30)})
    assert "golden frame golden/0.png" in both_refuse(library, refused, bundle_copy, "float32")


def test_digests_of_every_length(compiled: Any) -> None:
    source = ROOT / "csrc" / "bundle"
    files = [str(source / f"{name}.cpp") for name in ("sha256", "sha256_native")]
    program = compiled("digests.cpp", f"-I{source}", "-std=c++17", *files)
    data = np.random.default_rng(0).bytes(100_003)
    done = subprocess.run([program], input=data, capture_output=True, check=True)
    found = done.stdout.decode().split()
    expected = [hashlib.sha256(data[:n]).hexdigest() for n in (len(data), *range(257))]
    implementations = len(found) // len(expected)
    assert implementations >= 1
    assert found == [digest for digest in expected for _ in range(implementations)]

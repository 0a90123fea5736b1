"""An engine computes in the precision that was asked for, or says that it does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgead import Detector
from edgead.bundle.entries import Tolerance
from edgead.bundle.storage import Bundle, open_bundle
from edgead.cpu.engine import _cpu_core
from edgead.cpu.precision import check_computed, check_offered, computed_in, layers_of
from edgead.errors import BundleError, DeviceError, InputError, QualificationError
from edgead.serving.open_engine import open_engine


def offered() -> list[str]:
    import openvino

    core = _cpu_core(openvino)
    return [str(word) for word in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")]


needs_int8 = pytest.mark.skipif("INT8" not in offered(), reason="OpenVINO has no int8 here")


def with_float16(bundle: Bundle, tolerance: float) -> Bundle:
    """``bundle`` that states a float16 graph (the float32 one) and its tolerance."""
    manifest = replace(
        bundle.manifest,
        models={**bundle.manifest.models, "float16": "model.onnx"},
        tolerance={**bundle.manifest.tolerance, "float16": Tolerance(tolerance, tolerance)},
    )
    return replace(bundle, manifest=manifest)


@needs_int8
def test_int8_serves_what_onnxruntime_computes_of_the_same_graph(
    bundle_copy: Path, add_int8: Callable[..., None], frame: np.ndarray, tiny: Any
) -> None:
    add_int8(bundle_copy)
    with Detector(bundle_copy, precision="int8", threads=1) as detector:
        assert detector.info()["precision"] == detector.engine.precision == "int8"
        found = detector.score(frame)
    exact = tiny.truth(frame)[1]
    truth = type(tiny.truth)(open_bundle(bundle_copy).read("model.int8.onnx"), tiny.manifest)
    # The same integers in another order; where one falls on the border of two codes, it may be the
    # next one, 1/127 of one of many features.
    assert found.score == pytest.approx(truth(frame)[1], rel=5e-3)
    assert found.score != pytest.approx(exact, rel=1e-6)  # and not float32 that was passed off


@needs_int8
def test_a_wrong_scale_is_refused(bundle_copy: Path, add_int8: Callable[..., None]) -> None:
    add_int8(bundle_copy, wrong=0.25)  # three quarters of the range are cut off
    with pytest.raises(QualificationError, match=r"int8\) does not.*int8 has too few bits"):
        Detector(bundle_copy, precision="int8")
    Detector(bundle_copy)  # float32 is not touched by it


@needs_int8
def test_the_compiled_graph_really_computes_in_int8(
    bundle_copy: Path, add_int8: Callable[..., None]
) -> None:
    add_int8(bundle_copy)
    engine: Any = open_engine(open_bundle(bundle_copy), precision="int8")
    assert computed_in(engine._compiled) == Counter(int8=4)
    plain: Any = open_engine(open_bundle(bundle_copy))
    assert computed_in(plain._compiled) == Counter(float32=4)


def test_layers_are_counted_by_what_is_stored(
    bundle_copy: Path, add_int8: Callable[..., None]
) -> None:
    import openvino

    add_int8(bundle_copy)
    core = _cpu_core(openvino)
    read = core.read_model
    assert layers_of(read((bundle_copy / "model.int8.onnx").read_bytes())) == Counter(int8=4)
    assert layers_of(read((bundle_copy / "model.onnx").read_bytes())) == Counter(float32=4)


def test_digests_say_which_precision_served(
    bundle_copy: Path, add_int8: Callable[..., None], frame: np.ndarray
) -> None:
    add_int8(bundle_copy)
    for precision in ("float32", *(["int8"] if "INT8" in offered() else [])):
        digests = Detector(bundle_copy, precision=precision, digests=True).score(frame).digests
        assert digests is not None and digests.served["precision"] == precision


def test_a_precision_that_the_bundle_lacks(bundle_dir: Path) -> None:
    for precision in ("int8", "float16"):
        with pytest.raises(BundleError, match=rf"no graph in {precision}, only in float32"):
            Detector(bundle_dir, precision=precision)


def test_a_word_that_is_no_precision(bundle_dir: Path) -> None:
    with pytest.raises(
        InputError, match="'fp16': expected one of float32, float16, bfloat16, int8"
    ):
        Detector(bundle_dir, precision="fp16")


def test_an_int8_graph_that_holds_float32(
    bundle_copy: Path, add_int8: Callable[..., None], edit: Callable[..., None]
) -> None:
    add_int8(bundle_copy)
    edit(bundle_copy, files={"model.int8.onnx": (bundle_copy / "model.onnx").read_bytes()})
    with pytest.raises((BundleError, DeviceError), match=r"no layer stored in int8|not offer"):
        Detector(bundle_copy, precision="int8")


def test_a_processor_without_it(bundle_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import edgead.cpu.engine as module

    bundle = with_float16(open_bundle(bundle_dir), 1.0)
    monkeypatch.setattr(module, "_processor", lambda core: ("CPU: old", ["FP32", "BIN"]))
    for precision in ("bfloat16", "float16"):
        with pytest.raises(DeviceError, match=rf"{precision}: .* on CPU: old.*one of: float32$"):
            open_engine(bundle, precision=precision)
    assert open_engine(bundle).precision == "float32"


@pytest.mark.skipif("FP16" in offered(), reason="this CPU has float16")
def test_a_hint_that_is_not_followed_is_found_out(
    bundle_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO takes the hint f16 here, says nothing, and computes in something else."""
    import edgead.cpu.engine as module

    bundle = with_float16(open_bundle(bundle_dir), 1.0)
    monkeypatch.setattr(module, "check_offered", lambda *_: None)
    with pytest.raises(DeviceError, match=r"float16 was asked for 4 layers.*computes 4 in"):
        open_engine(bundle, precision="float16")


@pytest.mark.skipif("BF16" not in offered(), reason="this CPU has no bfloat16")
def test_bfloat16_is_held_to_the_tolerance_of_float16(bundle_dir: Path) -> None:
    bundle = open_bundle(bundle_dir)
    with pytest.raises(BundleError, match="no tolerance for bfloat16"):
        Detector(bundle, precision="bfloat16")
    # Eight bits of a value around 1, squared: over 1e-4 and under 0.1, whatever the order of sums.
    with pytest.raises(QualificationError, match="bfloat16 has too few bits"):
        Detector(with_float16(bundle, 1e-4), precision="bfloat16")
    detector = Detector(with_float16(bundle, 0.1), precision="bfloat16")
    assert detector.info()["precision"] == "bfloat16"


def test_the_share_of_layers_that_must_follow() -> None:
    check_offered(["FP32", "INT8"], "int8", "a CPU")
    layers = Counter(int8=20, float32=5)
    check_computed(layers, Counter(int8=18, float32=7), "int8")  # nine tenths of 20
    with pytest.raises(DeviceError, match=r"asked for 20 layers.*8 in float32, 17 in int8"):
        check_computed(layers, Counter(int8=17, float32=8), "int8")
    with pytest.raises(DeviceError, match="asked for 0 layers, and OpenVINO computes none"):
        check_computed(Counter(), Counter(), "bfloat16")


def test_float32_and_float16_share_their_ties_and_so_their_limits(bundle_dir: Path) -> None:
    """A part has one verdict, on the CPU and on a GPU; what departs further has wider ties."""
    manifest = with_float16(open_bundle(bundle_dir), 0.5).manifest
    own = {p: manifest.calibration_of(p).ties for p in ("float32", "float16")}
    assert own == manifest.tolerance and own["float32"] != own["float16"]  # as older bundles
    ties = Tolerance(0.125, 0.25)
    manifest = replace(manifest, calibration=replace(manifest.calibration, ties=ties))
    held = {p: manifest.calibration_of(p) for p in ("float32", "float16", "bfloat16")}
    assert held["float32"] == held["float16"] and held["float16"].ties == ties
    assert held["bfloat16"].ties == manifest.tolerance["float16"]
    assert type(manifest).loads(manifest.dumps()) == manifest
    damaged = manifest.to_json()
    damaged["calibration"]["ties"]["score"] = -1
    with pytest.raises(BundleError, match="ties: negative"):
        type(manifest).from_json(damaged)


@needs_int8
def test_int8_is_judged_by_its_own_calibration(
    bundle_copy: Path, add_int8: Callable[..., None], edit: Callable[..., None], frame: np.ndarray
) -> None:
    """Own scores ten higher: in int8 every frame is good; float32 keeps its threshold."""
    add_int8(bundle_copy)
    before = Detector(bundle_copy).threshold

    def add(manifest: dict[str, Any]) -> None:
        held = manifest["calibration"]
        raised = [value + 10 for value in held["scores"]]
        ties = {"score": 0.25, "map": 0.5}
        held["own"] = {"int8": {"scores": raised, "peaks": held["peaks"], "ties": ties}}

    edit(bundle_copy, add)
    assert Detector(bundle_copy).threshold == before
    detector = Detector(bundle_copy, precision="int8")
    assert detector.threshold == pytest.approx(before - 1e-4 + 10 + 0.25)  # TOLERANCE; ties
    assert detector.score(frame).p_value == 1.0
    manifest = open_bundle(bundle_copy).manifest
    assert type(manifest).loads(manifest.dumps()) == manifest
    for change, sentence in (
        (lambda own: own["int8"]["scores"].pop(), "as many scores and peaks"),
        (lambda own: own.update(float16=own["int8"]), "of a precision without a model"),
        (lambda own: own["int8"]["ties"].update(map=-1), "ties: negative"),
    ):
        damaged = manifest.to_json()
        change(damaged["calibration"]["own"])
        with pytest.raises(BundleError, match=sentence):
            type(manifest).from_json(damaged)

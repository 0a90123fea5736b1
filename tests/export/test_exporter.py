"""From method to bundle: what is in it, what stops it."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from edgead_export import CalibrationFrame, ExportOptions, export_method, export_run, exporter
from edgead_export.calibration_frames import images_of
from edgead_export.onnx import to_onnx
from edgead_export.paths import without_paths
from edgead_training.data import Sample
from export_toy import SIZE, ToyMethod, frame, frames
from onnx import numpy_helper

from edgead import Detector
from edgead.bundle.card import CARD
from edgead.bundle.storage import open_bundle
from edgead.errors import (
    CalibrationError,
    EdgeadError,
    ExportError,
    QualificationError,
)
from edgead.images import decode_image

COUNT = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A bundle of the toy, and what its export said."""
    lines: list[str] = []
    out = tmp_path_factory.mktemp("made") / "toy.edgead"
    provenance = {"command": "edgead train toy /home/someone/parts --out /data/run", "seed": 7}
    export_method(ToyMethod(), frames(COUNT), out, provenance=provenance, log=lines.append)
    return out, lines


def test_bundle_is_whole_and_serves(made: tuple[Path, list[str]]) -> None:
    bundle = open_bundle(made[0])
    manifest = bundle.manifest
    assert manifest.method == manifest.name == "toy"
    assert set(manifest.files) == {
        CARD,
        "model.onnx",
        "model.fp16.onnx",
        "health/reference.png",
        *(f"golden/{i}.{ending}" for i in range(4) for ending in ("png", "npy")),
    }
    assert len(manifest.calibration.scores) == COUNT
    assert manifest.calibration.false_reject_rate == pytest.approx(1 / (COUNT + 1))
    assert manifest.calibration.peaks == manifest.calibration.scores  # pooling is max
    detector = Detector(bundle)
    for index in range(COUNT):
        # The engine that calibrated is the engine that serves: nothing may differ.
        assert detector.score(frame(index)).score == manifest.calibration.scores[index]


def test_scores_are_those_of_torch(made: tuple[Path, list[str]]) -> None:
    """From the frame on, with torch alone as truth: no code of export in between."""
    torch = pytest.importorskip("torch")
    ndimage = pytest.importorskip("scipy.ndimage")
    method = ToyMethod()
    scores = open_bundle(made[0]).manifest.calibration.scores
    for index in range(3):
        rgb = torch.from_numpy(frame(index)[:, :, ::-1].copy()).permute(2, 0, 1)[None].double()
        small = torch.nn.functional.interpolate(
            rgb, size=SIZE, mode="bilinear", antialias=True, align_corners=False
        )
        with torch.no_grad():
            pairs = method(((small / 255 - 0.5) / 0.25).float())
        total = torch.zeros(1, 1, *SIZE, dtype=torch.float64)
        for a, b in pairs:
            distance = 1 - torch.nn.functional.cosine_similarity(a.double(), b.double())[:, None]
            total += torch.nn.functional.interpolate(distance, size=SIZE, mode="bilinear")
        blurred = ndimage.gaussian_filter(total[0, 0].numpy(), 3.0, mode="nearest", truncate=4)
        # Fixed-point weights in preprocess (2^-14) are the largest difference.
        assert scores[index] == pytest.approx(blurred.max(), abs=2e-3 * blurred.max())


def test_golden_frames(made: tuple[Path, list[str]]) -> None:
    bundle = open_bundle(made[0])
    scores = np.array(bundle.manifest.calibration.scores)
    golden = bundle.manifest.golden
    assert golden[0].score == scores.min()
    assert golden[2].score == scores.max()
    shown = decode_image(bundle.read(golden[2].image), "golden")
    np.testing.assert_array_equal(shown, frame(int(scores.argmax())))
    middle = decode_image(bundle.read(golden[1].image), "golden")
    defect = decode_image(bundle.read(golden[3].image), "golden")
    assert (middle != defect).any()


def test_provenance_and_no_path_of_this_machine(made: tuple[Path, list[str]]) -> None:
    bundle = open_bundle(made[0])
    provenance = bundle.manifest.provenance
    assert provenance["command"] == "edgead train toy parts --out run"
    assert provenance["seed"] == 7
    census = provenance["export"]["census"]
    assert census["float16"]["weights"]["float16"] > 10 * census["float16"]["weights"]["float32"]
    assert {p["precision"] for p in provenance["export"]["comparison"]["paths"]} == {
        "float32",
        "float16",
    }
    text = (made[0] / "manifest.json").read_text()
    for home in (str(made[0].parent), os.getcwd(), str(Path.home()), sys.prefix, "/home/someone"):
        assert home not in text


def test_says_what_was_made_and_how_far_it_is(made: tuple[Path, list[str]]) -> None:
    text = "\n".join(made[1])
    assert re.search(r"made   model.onnx: opset 17, 0\.\d MB", text)
    assert re.search(r"model.fp16.onnx: .* 9\d\.\d% of the weights compute in float16", text)
    assert re.search(r"OpenVINO \S+, float32 +\d\.\de-\d\d", text)
    assert "half arithmetic, float16" in text
    assert re.search(r"wrote  .*toy\.edgead .*4 golden frames", text)


def test_same_model_bytes_at_the_second_export(made: tuple[Path, list[str]], tmp_path) -> None:
    again = export_method(ToyMethod(), frames(COUNT), tmp_path / "b.edgead", log=_quiet)
    first = open_bundle(made[0]).manifest
    files = {**again.manifest.files, CARD: first.files[CARD]}  # which has the date
    assert dict(first.files) == files
    assert first.calibration == again.manifest.calibration


@pytest.mark.parametrize("text", ["https://example.org/a/b", "runs/a/b", "../x", "1 / 2"])
def test_what_is_no_absolute_path_stays(text: str) -> None:
    assert without_paths({"a": [text]}) == {"a": [text]}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("edgead train --out=/data/x/run", "edgead train --out=run"),
        (r"C:\parts\bolts and ~/more/", "bolts and more/"),
        ("'/a/b'", "'b'"),
    ],
)
def test_absolute_paths_are_cut(text: str, kept: str) -> None:
    assert without_paths(text) == kept


# What stops an export ----------------------------------------------------------------------------


def _quiet(line: str) -> None:
    pass


def _alter(model: bytes, factor: float) -> bytes:
    """The largest convolution weight of ``model`` multiplied by ``factor``."""
    proto = onnx.load_model_from_string(model)
    weights = [t for t in proto.graph.initializer if len(t.dims) == 4 and t.dims[1] == 8]
    tensor = max(weights, key=lambda t: int(np.prod(t.dims)))
    values = numpy_helper.to_array(tensor) * np.float16(factor)
    dtype = numpy_helper.to_array(tensor).dtype
    tensor.CopyFrom(numpy_helper.from_array(values.astype(dtype), tensor.name))
    return proto.SerializeToString()


@pytest.mark.parametrize(
    ("precision", "sentence"),
    [
        ("float32", r"OpenVINO .*\(float32\) does not match"),
        ("float16", r"runtime .*\(float16\) does not match"),
    ],
)
def test_an_altered_weight_is_caught(
    precision: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def altered(method, opset):
        model = to_onnx(method, opset)
        is_half = method.stem.weight.dtype.itemsize == 2
        return _alter(model, 1.5) if is_half == (precision == "float16") else model

    monkeypatch.setattr(exporter, "to_onnx", altered)
    with pytest.raises(ExportError, match=sentence + ".*Nothing was written"):
        export_method(ToyMethod(), frames(4), tmp_path / "x.edgead", log=_quiet)
    assert list(tmp_path.iterdir()) == []


def test_float32_only_leaves_out_a_float16_graph_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_fails(method, opset):
        assert method.stem.weight.dtype.itemsize == 4, "the float16 graph was made"
        return to_onnx(method, opset)

    monkeypatch.setattr(exporter, "to_onnx", half_fails)
    lines: list[str] = []
    out = tmp_path / "x.edgead"
    options = ExportOptions(float16=False)
    manifest = export_method(ToyMethod(), frames(4), out, options, log=lines.append).manifest
    assert manifest.models == {"float32": "model.onnx"}
    assert set(manifest.tolerance) == {"float32"}
    assert "model.fp16.onnx" not in manifest.files
    made = manifest.provenance["export"]
    assert [path["precision"] for path in made["comparison"]["paths"]] == ["float32"]
    assert set(made["census"]) == {"float32"} and made["half_peak"] is None
    assert "float16" not in "\n".join(lines)
    assert Detector(out).score(frame(0)).score == manifest.calibration.scores[0]


def test_a_wrong_normalisation_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest says another mean than the model was trained with."""
    made = exporter._draft

    def wrong(method, out, models):
        draft = made(method, out, models)
        params = replace(draft.manifest.preprocess, mean=(0.485, 0.456, 0.406))
        return replace(draft, manifest=replace(draft.manifest, preprocess=params))

    monkeypatch.setattr(exporter, "_draft", wrong)
    with pytest.raises(ExportError, match="does not match the trained model"):
        export_method(ToyMethod(), frames(4), tmp_path / "x.edgead", log=_quiet)
    assert list(tmp_path.iterdir()) == []


class FrozenBatchToy(ToyMethod):
    """Takes the brightness of the first image for all: right at batch 1, wrong at batch 3."""

    def forward(self, image):
        brightness = image[:1].mean((1, 2, 3), keepdim=True)
        return [(a + brightness, b) for a, b in super().forward(image)]


class OverflowToy(ToyMethod):
    """An activation over 65504 behind a clip: only half arithmetic sees it."""

    def features(self, x):
        first, deep = super().features(x)
        return first, (deep * 300 * 300).clamp(max=6.0) * 0.1 + deep


class NanToy(ToyMethod):
    def features(self, x):
        first, deep = super().features(x)
        return first, deep / (deep.sum() * 0)


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (FrozenBatchToy, "other features for a batch of 3"),
        (OverflowToy, "in float16 an activation reaches .* allowed 32752"),
        (NanToy, "not finite"),
    ],
)
def test_a_method_that_would_fail_elsewhere(
    method: type[ToyMethod], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(EdgeadError, match=sentence):
        export_method(method(), frames(3), tmp_path / "x.edgead", log=_quiet)
    assert list(tmp_path.iterdir()) == []


def test_rate_that_the_images_cannot_promise(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"best possible is 0\.2; 0\.01 needs 99 images"):
        options = ExportOptions(false_reject_rate=0.01)
        export_method(ToyMethod(), frames(4), tmp_path / "x.edgead", options, log=_quiet)


def test_golden_frames_that_do_not_come_out_are_caught_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = exporter.golden_files

    def altered(embedded, shown):
        files, entries = made(embedded, shown)
        return files, (replace(entries[0], score=entries[0].score + 1), *entries[1:])

    monkeypatch.setattr(exporter, "golden_files", altered)
    with pytest.raises(QualificationError, match="does not reproduce 1 of 3 golden frames"):
        export_method(ToyMethod(), frames(2), tmp_path / "x.edgead", log=_quiet)
    assert list(tmp_path.iterdir()) == []


def test_no_calibration_image(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no calibration image"):
        export_method(ToyMethod(), [], tmp_path / "x.edgead", log=_quiet)


def test_one_calibration_image_is_enough_for_a_bundle(tmp_path: Path) -> None:
    bundle = export_method(ToyMethod(), frames(1), tmp_path / "x.edgead", log=_quiet)
    assert bundle.manifest.calibration.false_reject_rate == 0.5
    assert len(bundle.manifest.golden) == 2


def test_images_of_one_part_count_as_one(tmp_path: Path) -> None:
    """Three of each of four parts: 1/5 is the best that four can promise, which twelve do not."""
    given = [replace(each, part=f"part{i // 3}") for i, each in enumerate(frames(COUNT))]
    bundle = export_method(ToyMethod(), given, tmp_path / "x.edgead", log=_quiet)
    calibration = bundle.manifest.calibration
    assert calibration.parts == (0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3)
    assert calibration.false_reject_rate == pytest.approx(1 / 5)
    result = Detector(bundle).score(frame(0))
    above = np.array(calibration.scores) + calibration.ties.score >= calibration.scores[0]
    shares = above.reshape(4, 3).mean(1)  # of each part's images
    assert result.p_value == pytest.approx((1 + shares.sum()) / 5)


@pytest.mark.parametrize(("group", "shown"), [("(t[0-9])", ["t1", "t1", "t2"]), (None, [""] * 3)])
def test_images_of_a_run_have_the_part_that_its_group_says(group, shown) -> None:
    data = {} if group is None else {"group": group}
    run = SimpleNamespace(method=ToyMethod(), provenance={"data": data})
    samples = [Sample(Path(f"{name}.png"), name=f"{name}.png") for name in ("t1_a", "t1_b", "t2_a")]
    assert [image.part for image in images_of(run, samples)] == shown


def test_grey_and_16_bit_frames(tmp_path: Path) -> None:
    def deep(index: int) -> np.ndarray:
        return frame(index)[:, :, 0].astype(np.uint16) * 257

    given = [CalibrationFrame(f"{i}.png", lambda i=i: deep(i)) for i in range(3)]
    bundle = export_method(ToyMethod(), given, tmp_path / "x.edgead", log=_quiet)
    shown = decode_image(bundle.read("golden/0.png"), "golden")
    assert shown.dtype == np.uint16
    assert shown.ndim == 2


def test_missing_run_and_what_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for name in ("nothing", "empty", "file"):
        with pytest.raises(EdgeadError, match=name):
            export_run(tmp_path / name, tmp_path / "x.edgead", log=_quiet)
    assert not (tmp_path / "x.edgead").exists()


def test_data_says_where_the_images_of_a_run_are_now(tmp_path: Path, monkeypatch) -> None:
    class Asked(Exception):
        pass

    def load_run(*args):
        raise Asked(args)

    monkeypatch.setattr(exporter, "load_run", load_run)
    for data in (None, tmp_path / "moved"):
        with pytest.raises(Asked) as asked:
            export_run(tmp_path, tmp_path / "x.edgead", ExportOptions(data=data), log=_quiet)
        assert asked.value.args[0] == (tmp_path, data)


def test_a_rate_that_the_parts_to_calibrate_with_cannot_promise(tmp_path, monkeypatch) -> None:
    """Ten parts promise 1/11 at best, however many images they have."""
    provenance = {"data": {"parts": {"train": 40, "calibration": 10}}}
    run = SimpleNamespace(
        method=ToyMethod(), calibration=(None,) * 60, warnings=(), provenance=provenance
    )
    monkeypatch.setattr(exporter, "load_run", lambda *_: run)
    with pytest.raises(
        CalibrationError, match=r"0\.05 cannot be promised with 10 parts .* 0\.09091"
    ):
        export_run(tmp_path, tmp_path / "x.edgead", ExportOptions(false_reject_rate=0.05))
    assert not (tmp_path / "x.edgead").exists()

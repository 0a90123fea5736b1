"""The command ``edgead export``: what it prints, what it needs, what it imports."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from edgead_export import command, export_method, exporter
from export_toy import ToyMethod, frames

from edgead.cli.main import main
from edgead.errors import MissingExtraError
from edgead.installation import cure

LIGHT = """
import sys
from edgead_export import command
import argparse
command.add_arguments(argparse.ArgumentParser())
heavy = {"torch", "onnx", "onnxruntime", "onnxsim", "openvino", "cv2"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""


def test_import_brings_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_arguments() -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    args = parser.parse_args(["runs/a", "--out", "a.edgead"])
    assert (args.run, args.out, args.false_reject_rate, args.opset, args.json) == (
        "runs/a",
        "a.edgead",
        None,
        17,
        False,
    )


def test_missing_torch_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "edgead.installation.find_spec", lambda n: None if n == "torch" else find(n)
    )
    args = argparse.Namespace(run="r", out="a.edgead", false_reject_rate=None, opset=17, json=False)
    with pytest.raises(MissingExtraError, match="needs torch.*" + re.escape(cure("train"))):
        command.run(args)


@pytest.mark.parametrize("arguments", [["nothing", "--out", "a.edgead"], ["nothing", "--out", "a"]])
def test_a_mistake_is_one_sentence(arguments, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("edgead: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def toy_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """``export_run`` on the toy instead of a trained run; ``data`` names the layout it had."""

    def export_toy(run, out, options, *, log):
        provenance = {"data": {"layout": options.data or "mvtec"}}
        return export_method(ToyMethod(), frames(3), out, options, provenance=provenance, log=log)

    monkeypatch.setattr(exporter, "export_run", export_toy)


def test_prints_what_it_wrote_and_what_comes_next(toy_run, tmp_path: Path, capfd) -> None:
    out = tmp_path / "toy.edgead"
    assert main(["export", "run", "--out", str(out), "--false-reject-rate", "0.3"]) == 0
    text, errors = capfd.readouterr()
    assert errors == ""  # no chatter of torch, ONNX or the engines
    lines = text.splitlines()
    assert lines.pop(0).startswith("warning: The images are of 3 sizes")
    assert [line.split()[0] for line in lines[:2]] == ["made", "made"]
    assert "3 calibration scores, false-reject rate 30 %" in text
    assert lines[-1] == f"next   edgead evaluate {out} DATA"


def test_one_calibration_image_gives_one_score(tmp_path: Path, capfd, monkeypatch) -> None:
    def export_toy(run, out, options, *, log):
        return export_method(ToyMethod(), frames(1), out, options, log=log)

    monkeypatch.setattr(exporter, "export_run", export_toy)
    assert main(["export", "run", "--out", str(tmp_path / "toy.edgead"), "--float32-only"]) == 0
    assert "       1 calibration score, false-reject rate 50 %" in capfd.readouterr().out


def test_without_a_test_set_the_next_step_is_to_score(toy_run, tmp_path: Path, capfd) -> None:
    out = tmp_path / "toy.edgead"
    assert main(["export", "run", "--out", str(out), "--data", "folder", "--float32-only"]) == 0
    text = capfd.readouterr().out
    assert text.splitlines()[-1] == f"next   edgead score {out} IMAGE"
    assert "float16" not in text


def test_json_is_one_object_on_stdout(toy_run, tmp_path: Path, capfd) -> None:
    out = tmp_path / "toy.edgead"
    assert main(["export", "run", "--out", str(out), "--json"]) == 0
    text, errors = capfd.readouterr()
    found = json.loads(text)
    assert found["path"] == str(out)
    assert len(found["bundle_sha256"]) == 64
    assert found["calibration_images"] == 3
    assert {p["precision"] for p in found["comparison"]["paths"]} == {"float32", "float16"}
    assert "next   edgead evaluate" in errors

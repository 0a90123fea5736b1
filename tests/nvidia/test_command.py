"""edgead build: what it prints, for people and for programs, and how it is stopped."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgead.bundle.storage import Bundle
from edgead.cli import build as command
from edgead.cli.main import main
from edgead.errors import InputError
from edgead.nvidia.plans import library
from edgead.nvidia.plans.cache import PlanCache
from edgead.nvidia.plans.library import Library


@pytest.fixture
def run(capsys, rtx: Library):
    """``run(*words)`` -> (exit code, stdout, stderr) of edgead build."""

    def call(*words: object) -> tuple[int, str, str]:
        code = main(["build", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_json_is_what_programs_were_promised(
    run, plan_bundle: Bundle, rtx, cache_directory
) -> None:
    code, out, _ = run(plan_bundle.path, "--flavour", "rtx", "--json")
    found = json.loads(out)
    assert code == 0
    assert Path(found["plan"]).parent == cache_directory
    assert (found["flavour"], found["version"]) == ("rtx", rtx.version_text)
    assert found["seconds"] > 0
    assert found["census"] == {"float16": 9, "float32": 4}
    assert found["asked_precision"] == "float16"
    assert found["size"] == Path(found["plan"]).stat().st_size
    assert (found["cached"], found["device"], found["layers"]) == (False, "any", None)
    assert Path(found["log"]).exists()
    again = json.loads(run(plan_bundle.path, "--flavour", "rtx", "--json")[1])
    assert (again["cached"], again["plan"]) == (True, found["plan"])


def test_for_people(run, plan_bundle: Bundle, cache_directory: Path) -> None:
    code, out, err = run(plan_bundle.path, "--flavour", "rtx")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in lines if line[0] != " "] == [
        "read",
        "with",
        "asked",
        "got",
        "plan",
        "next",
    ]
    assert "model.fp16.onnx" in out
    assert "9 float16, 4 float32 tensors" in out
    assert "4 float16 convolutions and matrix products" in out
    assert "that needs a GPU" in out
    assert str(cache_directory) in out
    assert "built in" in out
    assert "\x1b" not in out
    assert "found, built before" in run(plan_bundle.path, "--flavour", "rtx")[1]
    assert "built in" in run(plan_bundle.path, "--flavour", "rtx", "--rebuild")[1]


def test_layers_that_were_looked_at_are_those_with_weights(
    run, plan_bundle: Bundle, capsys
) -> None:
    """On a GPU; here the plan's description says so."""
    run(plan_bundle.path, "--flavour", "rtx")
    entry = PlanCache().entries()[0]
    about = {**entry.about, "layers": {"float16": 5, "float32": 1}}
    PlanCache().store(entry.key, entry.path.read_bytes(), about)
    out = run(plan_bundle.path, "--flavour", "rtx")[1]
    assert "5 float16, 1 float32 layers with weights in the engine" in out


def test_a_copy_to_carry_away_is_plain(run, plan_bundle: Bundle, tmp_path: Path) -> None:
    out_path = tmp_path / "cell.plan"
    code, out, _ = run(plan_bundle.path, "--flavour", "rtx", "--out", out_path)
    assert code == 0
    assert out_path.read_bytes()[:4] == b"vtrt"
    assert "loading it requires trust_plan=True" in out


def test_a_copy_that_cannot_be_written_is_a_mistake(run, plan_bundle: Bundle, tmp_path) -> None:
    code, _, err = run(plan_bundle.path, "--flavour", "rtx", "--out", tmp_path / "no" / "x.plan")
    assert code == 1
    assert "does not exist" in err


def test_options_reach_the_plan(run, plan_bundle: Bundle) -> None:
    words = ("--flavour", "rtx", "--device", "sm_89,sm_86", "--batch", 1, 2, 4, "--workspace", 128)
    found = json.loads(run(plan_bundle.path, *words, "--json")[1])
    assert found["device"] == "sm_86 sm_89"
    assert found["options"] == {"batch": [1, 2, 4], "workspace_mb": 128, "dla": None}
    words = ("--flavour", "rtx", "--static-batch", 2, "--precision", "float32", "--json")
    found = json.loads(run(plan_bundle.path, *words)[1])
    assert found["options"]["batch"] == [2, 2, 2]
    assert found["asked_precision"] == "float32"
    assert set(found["census"]) == {"float32"}


def test_keep_log_keeps_every_line(run, plan_bundle: Bundle) -> None:
    found = json.loads(run(plan_bundle.path, "--flavour", "rtx", "--keep-log", "--json")[1])
    assert "[VERBOSE]" in Path(found["log"]).read_text()


def test_list_and_prune(run, plan_bundle: Bundle, cache_directory: Path) -> None:
    assert run("--list")[1] == f"0 plans in {cache_directory}\n"
    for precision in ("float16", "float32"):
        run(plan_bundle.path, "--flavour", "rtx", "--precision", precision)
    _, out, _ = run("--list")
    assert out.splitlines()[0].split() == [
        *("bundle", "precision", "library", "device", "size", "last", "used", "plan"),
    ]
    assert out.count("tiny ") == 2
    assert out.splitlines()[-1] == f"2 plans in {cache_directory}"
    found = json.loads(run("--list", "--json")[1])
    assert found["directory"] == str(cache_directory)
    assert {plan["precision"] for plan in found["plans"]} == {"float16", "float32"}
    assert "removed 1 plan\n" in run("--prune", 1)[1]
    assert [p.suffix for p in cache_directory.iterdir()].count(".plan") == 1
    assert len(json.loads(run("--prune", 0, "--json")[1])["removed"]) == 1
    assert list(cache_directory.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 1, "which bundle? Give NAME.edgead, or --list"),
        (("--prune", "-1"), 1, "--prune -1: expected how many plans to keep"),
        (("BUNDLE", "--precision", "fp16"), 1, "expected one of float32, float16, int8"),
        (("BUNDLE", "--precision", "int8"), 1, "has no int8 graph, only float32, float16"),
        (("BUNDLE", "--flavour", "trt"), 1, "flavour 'trt': expected one of tensorrt, rtx"),
        (("BUNDLE", "--batch", "4", "2", "8"), 1, "expected 1 <= least"),
        (("BUNDLE", "--static-batch", "0"), 1, "expected 1 <= least"),
        (("BUNDLE", "--flavour", "rtx", "--device", "gpu"), 1, "capabilities as in sm_86,sm_89"),
        (("BUNDLE", "--flavour", "rtx", "--device", "sm_87"), 1, "does not build for sm_87"),
        (
            ("BUNDLE", "--flavour", "rtx", "--batch", "1", "1", "8", "--dla", "0"),
            1,
            "leave --batch out, or fix it",
        ),
        (("BUNDLE", "--flavour", "rtx", "--dla", "0"), 2, "leave --dla out"),
    ],
)
def test_a_mistake_is_one_sentence(run, plan_bundle: Bundle, words, code: int, said: str) -> None:
    words = [plan_bundle.path if word == "BUNDLE" else word for word in words]
    found, out, err = run(*words)
    assert found == code
    assert err.startswith("edgead: ")
    assert err.count("\n") == 1
    assert said in err
    assert "next" not in out


def test_a_bundle_that_was_altered_comes_before_everything(run, plan_bundle_copy: Path) -> None:
    with (plan_bundle_copy / "model.fp16.onnx").open("ab") as stream:
        stream.write(b"x")
    code, _, err = run(plan_bundle_copy, "--flavour", "rtx")
    assert code == 1
    assert "model.fp16.onnx was truncated or altered" in err


def test_without_any_tensorrt_both_cures_are_said(monkeypatch, plan_bundle: Bundle, capsys) -> None:
    monkeypatch.setattr(library, "installed", lambda flavour: False)
    assert main(["build", str(plan_bundle.path)]) == 2
    err = capsys.readouterr().err
    assert 'pip install ".[nvidia-cu13]"' in err
    assert 'pip install ".[rtx]"' in err


def test_the_full_tensorrt_without_a_gpu_says_where_to_build(
    monkeypatch, plan_bundle, capsys
) -> None:
    """The module is simulated; that there is no driver here is real, or else simulated too."""
    monkeypatch.setattr(library, "_load", lambda flavour: Library("tensorrt", (10, 3, 0), object()))
    monkeypatch.setattr("edgead.nvidia.devices.load_driver", _no_driver)
    assert main(["build", str(plan_bundle.path), "--flavour", "tensorrt"]) == 2
    err = capsys.readouterr().err
    assert "there is no NVIDIA driver" in err
    assert "--flavour rtx" in err


def _no_driver() -> None:
    raise OSError("libcuda.so.1: cannot open shared object file")


def test_a_gpu_is_asked_for_by_its_number(monkeypatch) -> None:
    rtx, full = (Library(f, (10, 3, 0), object()) for f in ("rtx", "tensorrt"))  # type: ignore[arg-type]
    monkeypatch.setattr("edgead.nvidia.devices.find_device", lambda index=0: f"GPU{index} sm_86")
    for asked, found in (("cuda", 0), ("cuda:1", 1), (None, 0)):
        assert command._device(asked, full) == (f"GPU{found} sm_86", found)
    assert command._device("sm_89,sm_86", rtx) == ("sm_89 sm_86", None)
    with pytest.raises(InputError, match=r"wants cuda or cuda:N$"):
        command._device("sm_87", full)


STOP = """
import os, signal, sys
from edgead.cli.main import main
from edgead.cli import build

def show(self, phase, done, steps):
    if phase == "build / Optimizing graph" and done == 0:
        os.kill(os.getpid(), signal.SIGINT)  # what Ctrl-C does, in the middle of the library

build._Progress.show = show
sys.exit(main(["build", sys.argv[1], "--flavour", "rtx"]))
"""


def test_ctrl_c_ends_the_build_with_130_and_nothing_half_written(
    rtx, plan_bundle: Bundle, cache_directory: Path
) -> None:
    command = [sys.executable, "-c", STOP, str(plan_bundle.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 130, done.stderr
    assert done.stderr == "edgead: stopped; no plan was built\n"
    assert list(cache_directory.iterdir()) == []


def test_the_arguments_need_no_library() -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    args = parser.parse_args(["a.edgead"])
    assert (args.flavour, args.device, args.precision, args.batch) == (None, None, "float16", None)

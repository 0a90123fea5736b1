"""gpu_check.py: steps that fail, crash or hang; the file of a machine without a GPU."""

from __future__ import annotations

import json
import sys

import pytest

from edgead.cli.main import guard


@pytest.fixture
def check(script):
    return script("gpu_check")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_step_keeps_the_json_it_printed(check):
    step = check.run("one", python("print('{\"a\": 1}')"))
    assert (step.ok, step.found, step.said) == (True, {"a": 1}, "")
    step = check.run("lines", python('print(\'{"a": 1}\\n{"a": 2}\')'))
    assert step.found == [{"a": 1}, {"a": 2}]
    assert sys.executable not in step.command  # the file goes to others


def test_a_step_that_fails_says_the_end_of_what_it_printed(check):
    step = check.run("two", python("import sys; sys.exit('x' * 5000 + ' no driver')"))
    assert step.ok is False and step.found is None
    assert step.said.strip().endswith("no driver") and len(step.said) == check.MOST_TEXT


def test_a_crash_and_a_hang_are_lines_of_the_file(check):
    crash = check.run("crash", python("import os; os.abort()"))
    assert crash.ok is False and crash.said.startswith("killed by signal 6")
    hang = check.run("hang", python("import time; time.sleep(60)"), timeout=0.5)
    assert hang.ok is False and "stopped after" in hang.said


def test_without_a_gpu_every_step_is_tried_and_the_file_says_why(
    check, bundle_dir, tmp_path, monkeypatch, capsys
):
    try:
        from edgead.nvidia import _cuda
    except ImportError:
        pass
    else:
        if _cuda.available():
            pytest.skip("this machine has a GPU")
    target = tmp_path / "gpu-check.json"
    monkeypatch.setattr("sys.argv", ["gpu_check.py", str(bundle_dir), "--json", str(target)])
    assert guard(check.main) == 2
    report = json.loads(target.read_text())
    steps = {step["name"]: step for step in report["steps"]}
    assert steps["doctor"]["ok"] and steps["doctor"]["found"]["can_score"]
    assert steps["kernels"]["ok"] is False and steps["kernels"]["found"]["skipped"] > 0
    assert "no device to run on" in steps["kernels"]["said"]
    for name in ("qualify float32", "benchmark"):
        assert steps[name]["ok"] is False and "Traceback" not in steps[name]["said"]
    out = capsys.readouterr().out
    assert f"wrote  {target}: send this file back" in out and "failed: kernels" in out


def test_what_is_no_bundle_gets_a_sentence(check, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gpu_check.py", str(tmp_path)])
    assert guard(check.main) == 1
    assert "is not a bundle" in capsys.readouterr().err

"""gpu_check.py: steps that fail, crash or hang; the file of a machine without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import ClassVar

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


@pytest.fixture
def orin(check, monkeypatch):
    """A Jetson, as far as gpu_environment can tell; returns what it says."""
    found = dict.fromkeys(("driver", "cuda", "nvcc", "tensorrt", "device", "sm", "power_mode"), "")
    found |= {"device": "Orin", "sm": "8.7"}
    monkeypatch.setattr(check, "missing", lambda: None)
    monkeypatch.setattr(check, "environment", lambda: dict(found))
    return found


@pytest.fixture
def runs(check, monkeypatch):
    """Replaces what is run; ``runs.ok`` says which steps go well, ``runs.done`` which ran."""

    class Runs:
        ok: ClassVar[dict[str, bool]] = {}
        done: ClassVar[list[str]] = []

        def __call__(self, name, command, timeout=0.0, *, keep=False):
            self.done.append(name)
            found = {"plan": "/x.plan"} if name.startswith("build") else None
            return check.Step(name, "", self.ok.get(name, True), 1.0, found)

    runs = Runs()
    runs.ok.clear()
    runs.done.clear()
    monkeypatch.setattr(check, "run", runs)
    monkeypatch.setattr(check, "kernel_tests", lambda seconds: runs("kernels", []))
    monkeypatch.setattr(check.shutil, "which", lambda name: None)
    return runs


@pytest.fixture
def call(check, bundle_dir, tmp_path, monkeypatch):
    """Runs the script; the exit code and the file."""
    target = tmp_path / "gpu-check.json"

    def call(*words):
        words = ["gpu_check.py", str(bundle_dir), "--json", str(target), *words]
        monkeypatch.setattr("sys.argv", words)
        code = guard(check.main)
        return code, json.loads(target.read_text()) if target.exists() else None

    return call


def test_without_a_gpu_one_sentence_says_what_is_missing(check, call, monkeypatch, capsys):
    sentence = "there is no NVIDIA GPU to check here, no libcuda.so.1: install NVIDIA's driver"
    monkeypatch.setattr(check, "missing", lambda: sentence)
    assert call() == (2, None)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == f"edgead: {sentence}\n"


def test_steps_and_the_environment_are_in_the_file(orin, runs, call, capsys):
    runs.ok["benchmark"] = False
    code, report = call()
    assert code == 2 and report["environment"] == orin
    states = {step["name"]: step["ok"] for step in report["steps"]}
    assert states.pop("benchmark") is False and states.pop("trtexec float32") is None
    assert states.pop("traffic") is None
    assert set(states) == {"doctor", "kernels", "roofline", "build float32", "qualify float32"}
    assert all(states.values())
    out = capsys.readouterr().out
    assert "send this file back" in out and "failed: benchmark" in out


def test_it_goes_on_where_it_stopped(orin, runs, call):
    runs.ok["benchmark"] = False
    call()
    runs.done.clear()
    runs.ok.clear()
    code, report = call()
    assert (code, runs.done) == (0, ["benchmark"])
    assert [step["name"] for step in report["steps"]][:2] == ["doctor", "kernels"]
    runs.done.clear()
    assert call("--fresh")[0] == 0 and len(runs.done) == 6


@pytest.mark.parametrize("change", ["environment", "file"])
def test_another_machine_or_a_broken_file_keeps_nothing(orin, runs, call, change, tmp_path):
    call()
    runs.done.clear()
    if change == "environment":
        orin["driver"] = "570.1"
    else:
        (tmp_path / "gpu-check.json").write_text("{")
    call()
    assert len(runs.done) == 6


def test_an_interruption_loses_nothing_that_went_well(orin, runs, check, call, monkeypatch):
    runs.ok["kernels"] = False
    call()

    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "kernel_tests", interrupted)
    call()
    runs.ok.clear()
    runs.done.clear()
    monkeypatch.setattr(check, "kernel_tests", lambda seconds: runs("kernels", []))
    assert call()[0] == 0 and runs.done == ["kernels"]


def test_when_no_time_is_left_the_rest_is_for_the_next_call(orin, runs, call):
    code, report = call("--minutes", "0")
    assert code == 2 and runs.done == []
    assert all("call it again" in step["said"] for step in report["steps"])
    assert call()[0] == 0


SUMMARY = """\
[06/01/2026-12:00:00] [I] === Performance summary ===
[06/01/2026-12:00:00] [I] Throughput: 612.3 qps
[06/01/2026-12:00:00] [I] Latency: min = 1.6 ms, max = 2.1 ms, mean = 1.7 ms, median = 1.69 ms, \
percentile(90%) = 1.8 ms
[06/01/2026-12:00:00] [I] GPU Compute Time: min = 1.5 ms, max = 2 ms, median = 1.59 ms
"""


def test_trtexec_times_the_plan_that_was_built(check, orin, runs, monkeypatch):
    report = check.Report("", "", {}, {}, {})
    assert check.trtexec_step("float16", None, report, 9.0).ok is None
    assert "no plan" in check.trtexec_step("float16", "/t", report, 9.0).said
    report.steps.append(runs("build float16", []))
    commands = []

    def run(name, command, seconds, *, keep):
        commands.append(command)
        return check.Step(name, "", True, 1.0, said=SUMMARY)

    monkeypatch.setattr(check, "run", run)
    step = check.trtexec_step("float16", "/t", report, 9.0)
    assert step.ok and step.said == ""
    assert step.found["gpu_compute_ms"]["median"] == 1.59
    assert step.found["latency_ms"]["percentile(90%)"] == 1.8
    assert commands[0][:2] == ["/t", "--loadEngine=/x.plan"]
    assert "/x.plan" not in step.command  # the file goes to others
    monkeypatch.setitem(globals(), "SUMMARY", "nothing")
    assert check.trtexec_step("float16", "/t", report, 9.0).ok is False


def test_the_environment_of_a_jetson(script, monkeypatch):
    environment = script("gpu_environment")
    printed = {
        "cat": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic",
        "nvpmodel": "NV Power Mode: MAXN_SUPER\n2",
        "/usr/local/cuda/bin/nvcc": "Cuda compilation tools, release 12.6, V12.6.68\nBuild x",
        sys.executable: "tensorrt 10.3.0",
    }
    where = {"/usr/local/cuda/bin/nvcc"}
    monkeypatch.setattr(environment, "said", lambda command: printed.get(command[0], ""))
    monkeypatch.setattr(environment.shutil, "which", lambda name: name if name in where else None)
    monkeypatch.setattr(environment, "gpu_trouble", lambda: None)
    monkeypatch.setattr(environment, "nvidia_driver", lambda: "driver")
    monkeypatch.setattr(environment, "driver_cuda", lambda driver: (12, 6))
    monkeypatch.setattr(environment, "nvidia_devices", lambda driver: [("Orin", "8.7")])
    monkeypatch.delenv("CUDACXX", raising=False)
    assert environment.missing() is None
    assert environment.environment() == {
        "driver": "Jetson Linux 36.4.3",
        "cuda": "12.6",
        "nvcc": "12.6.68",
        "tensorrt": "tensorrt 10.3.0",
        "device": "Orin",
        "sm": "8.7",
        "power_mode": "MAXN_SUPER",
    }


def test_the_environment_of_a_desktop_and_of_a_machine_without_a_gpu(script, monkeypatch):
    environment = script("gpu_environment")
    printed = {"--query-gpu=driver_version": "580.65.06", "--query-gpu=power.limit": "200.00 W"}
    monkeypatch.setattr(environment, "said", lambda c: printed.get(c[1] if c[1:] else "", ""))
    found = environment.environment()
    assert (found["driver"], found["power_mode"]) == ("580.65.06", "200.00 W")
    monkeypatch.setattr(environment, "gpu_trouble", lambda: ("no libcuda.so.1", "install it"))
    assert environment.missing() == (
        "there is no NVIDIA GPU to check here, no libcuda.so.1: install it"
    )


def test_what_is_no_bundle_gets_a_sentence(check, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gpu_check.py", str(tmp_path)])
    assert guard(check.main) == 1
    assert "is not a bundle" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cuda", "jetson", "gpus", "expected"),
    [
        ((13, 0), False, ["8.9", "12.0", "8.9"], "120-real;89-real nvidia-cu13,test"),
        ((12, 6), False, ["9.0"], "90-real nvidia-cu12,test"),
        ((12, 6), True, ["8.7"], "87-real test"),
    ],
)
def test_edgead_is_built_for_the_gpus_and_installed_for_the_driver(
    script, monkeypatch, cuda, jetson, gpus, expected
):
    """Read by a shell, as in the Makefile; what is asked for there goes before."""
    environment = script("gpu_environment")
    monkeypatch.setattr(environment, "nvidia_driver", lambda: "driver")
    monkeypatch.setattr(environment, "driver_cuda", lambda driver: cuda)
    monkeypatch.setattr(environment, "nvidia_devices", lambda driver: [("GPU", sm) for sm in gpus])
    monkeypatch.setattr(environment, "on_jetson", lambda: jetson)
    asked = {"EDGEAD_CUDA_ARCHITECTURES": "75-real", "EXTRAS": "rtx"}
    for given, found in (({}, expected), (asked, "75-real rtx")):
        words = environment.for_shell() + '\necho "$EDGEAD_CUDA_ARCHITECTURES $EXTRAS"'
        done = subprocess.run(["sh", "-c", words], env=given, capture_output=True, text=True)
        assert done.stdout == found + "\n"


@pytest.mark.parametrize(
    ("release", "driver", "runs"), [("13.0", 12, False), ("12.8", 12, True), ("12.6", 13, True)]
)
def test_an_nvcc_that_is_newer_than_the_driver_is_told_at_once(
    script, monkeypatch, tmp_path, release, driver, runs
):
    """A driver runs what every minor version of its CUDA makes."""
    environment = script("gpu_environment")
    nvcc = tmp_path / "nvcc"
    nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {release}, V{release}.88'\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDACXX", f"{nvcc} -ccbin g++")
    monkeypatch.setattr(environment, "gpu_trouble", lambda: None)
    monkeypatch.setattr(environment, "nvidia_driver", lambda: "driver")
    monkeypatch.setattr(environment, "driver_cuda", lambda given: (driver, 6))
    said = environment.missing()
    assert (said is None) == runs
    assert runs or ("nvcc 13.0.88" in said and "CUDA up to 12.6" in said and "CUDACXX" in said)


def test_the_table_of_a_profiler_is_summed_by_kernel(check):
    text = (
        "==PROF== Connected to process 7\n"
        '"ID","Process ID","Kernel Name","Metric Name","Metric Unit","Metric Value"\n'
        '"0","7","preprocess","dram__bytes_read.sum","Kbyte","786.43"\n'
        '"0","7","preprocess","dram__bytes_write.sum","byte","1,024"\n'
        '"1","7","scan","dram__bytes_read.sum","Mbyte","2.5"\n'
        '"2","7","scan","dram__bytes_read.sum","Mbyte","0.5"\n'
        '"2","7","scan","sm__cycles.sum","cycle","9"\n'
    )
    assert check.moved_bytes(text) == pytest.approx({"preprocess": 787454.0, "scan": 3e6})
    assert check.moved_bytes("==ERROR== no permission\n") == {}

"""The door to plans: built once, found again, refused when it cannot be trusted."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgead.bundle.storage import Bundle, open_bundle
from edgead.errors import BundleError, CancelledError, DeviceError, InputError
from edgead.nvidia.plans.cache import PlanCache
from edgead.nvidia.plans.library import Library
from edgead.nvidia.plans.plan import BuildOptions, Plan
from edgead.nvidia.plans.store import foreign_plan, given_plan, own_plan, target_of


@pytest.fixture
def build(plan_bundle: Bundle, rtx: Library):
    """``build(**changes)``: the float16 plan of the tiny bundle."""

    def call(**changes):
        settings = {"device": "", "precision": "float16", **changes}
        return own_plan(settings.pop("bundle", plan_bundle), rtx, **settings)

    return call


def test_a_plan_is_built_once_and_found_again(build, cache_directory: Path, rtx: Library) -> None:
    first = build()
    second = build()
    assert (first.cached, second.cached) == (False, True)
    assert first.data == second.data == first.path.read_bytes()
    assert first.path.parent == cache_directory
    assert (first.flavour, first.version) == ("rtx", rtx.version_text)
    assert (first.precision, first.device, first.options) == ("float16", "any", BuildOptions())
    assert first.data[:4] == b"vtrt"  # plain: what trtexec and others read
    assert first.about["census"]["float16"] > 0
    assert oct(cache_directory.stat().st_mode & 0o777) == "0o700"
    log = first.path.with_suffix(".log").read_text()
    assert "[INFO]" in log
    assert "[VERBOSE]" not in log


def test_rebuilding_gives_another_plan_in_the_same_place(build) -> None:
    first = build()
    second = build(rebuild=True, verbose_log=True)
    assert second.path == first.path
    assert not second.cached
    assert "[VERBOSE]" in second.path.with_suffix(".log").read_text()


def test_another_graph_precision_device_or_option_is_another_plan(
    build, plan_bundle_copy: Path, edit
) -> None:
    from onnx import load_model_from_string

    altered = load_model_from_string((plan_bundle_copy / "model.fp16.onnx").read_bytes())
    altered.doc_string = "another"
    edit(plan_bundle_copy, files={"model.fp16.onnx": altered.SerializeToString()})
    plans = [
        build(),
        build(bundle=open_bundle(plan_bundle_copy)),
        build(precision="float32"),
        build(device="sm_86"),
        build(device="sm_89 sm_86"),
        build(options=BuildOptions((1, 1, 8))),
        build(options=BuildOptions(workspace_mb=256)),
    ]
    assert len({plan.path for plan in plans}) == len(plans)
    assert build(device="sm_86 sm_89").cached  # the order of capabilities does not matter


def test_a_bundle_of_another_name_with_the_same_graph_shares_its_plan(
    build, plan_bundle_copy: Path
) -> None:
    assert build(bundle=open_bundle(plan_bundle_copy)).path == build().path


def test_without_build_a_missing_plan_is_an_error_that_says_how(build) -> None:
    with pytest.raises(DeviceError, match=r"there is no TensorRT-RTX plan.*edgead build .* rtx"):
        build(build=False)
    build()
    assert build(build=False).cached


def test_a_bundle_without_the_graph(build, bundle_dir: Path) -> None:
    with pytest.raises(
        BundleError, match=r"has no float16 graph, only float32; export or learn it again"
    ):
        build(bundle=open_bundle(bundle_dir))


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_a_damaged_plan_is_refused_until_it_is_built_again(build, damage: str) -> None:
    path = build().path
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DeviceError, match=r"truncated or altered.*--rebuild"):
        build()
    assert not build(rebuild=True).cached
    assert build().cached


def test_a_plan_that_another_process_replaces_meanwhile_is_the_new_one(build, monkeypatch) -> None:
    first, find = build(), PlanCache.find
    other = first.data[:-1] + bytes([first.data[-1] ^ 1])

    def find_then(self: PlanCache, key: str):
        entry = find(self, key)
        if entry is not None and self.load(entry) != other:
            self.store(key, other, entry.about)
        return entry

    monkeypatch.setattr(PlanCache, "find", find_then)
    assert build().data == other


def test_a_plan_of_another_version_has_another_key(build, plan_bundle: Bundle, rtx) -> None:
    build()
    older = Library("rtx", (1, 6, 0, 1), rtx.module)
    with pytest.raises(DeviceError, match="there is no TensorRT-RTX plan"):
        own_plan(plan_bundle, older, device="", precision="float16", build=False)


def test_what_a_plan_is_built_for(rtx: Library) -> None:
    assert target_of(rtx, "") == "any"
    assert target_of(rtx, "NVIDIA GeForce RTX 4090 sm_89") == "any"
    assert target_of(rtx, "Quadro T1000 sm_75") == "sm_75"  # not among those of "any"
    assert target_of(rtx, "sm_89 sm_86 sm_89") == "sm_86 sm_89"
    full = Library("tensorrt", (10, 3, 0), rtx.module)
    assert target_of(full, "Orin sm_87") == "Orin sm_87"
    with pytest.raises(DeviceError, match=r"builds on the GPU.*--flavour rtx"):
        target_of(full, "")


def test_the_default_capabilities_leave_out_turing_only(build) -> None:
    """What ``target_of`` relies on, as this library's plans say it: bit 0 of byte 32 is sm_75."""
    assert build().data[32] & 1 == 0
    for bit, capability in enumerate((75, 80, 86, 89, 120)):
        assert build(device=f"sm_{capability}").data[32] == 1 << bit
        assert capability == 75 or build().data[32] & (1 << bit)


def test_a_foreign_plan_is_native_code_and_has_to_be_trusted(
    build, rtx: Library, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.plan"
    path.write_bytes(build().data)
    with pytest.raises(DeviceError, match=r"native code.*edgead build.*trust_plan=True"):
        foreign_plan(path, rtx, trust=False)
    plan = foreign_plan(path, rtx, trust=True)
    assert (plan.data, plan.path) == (path.read_bytes(), path)
    assert (plan.precision, plan.device, plan.options) == ("", "", None)


def test_a_foreign_plan_that_is_none(rtx: Library, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"cannot be read: No such file.*check the path"):
        foreign_plan(tmp_path / "nothing.plan", rtx, trust=True)
    (tmp_path / "text.plan").write_text("hello " * 20)
    with pytest.raises(DeviceError, match="is not a plan of TensorRT"):
        foreign_plan(tmp_path / "text.plan", rtx, trust=True)


@pytest.fixture
def batched_plan(build) -> Plan:
    """A plan in the cache that a Detector does not find by itself."""
    return build(options=BuildOptions((1, 1, 8)))


def test_a_plan_of_this_cache_needs_no_trust(
    batched_plan: Plan, plan_bundle: Bundle, rtx: Library, monkeypatch
) -> None:
    library, plan = given_plan(batched_plan.path, plan_bundle, "float16", trust=False)
    assert library == rtx
    assert plan == replace(batched_plan, cached=True, about=plan.about)
    assert plan.about["created"] == batched_plan.about["created"]
    monkeypatch.chdir(batched_plan.path.parent.parent)
    again = given_plan(f"plans/{batched_plan.path.name}", plan_bundle, "float16", trust=False)[1]
    assert again == plan


def test_a_copy_of_it_elsewhere_does(batched_plan: Plan, plan_bundle, tmp_path: Path) -> None:
    path = tmp_path / batched_plan.path.name
    path.write_bytes(batched_plan.data)
    with pytest.raises(DeviceError, match="trust_plan=True"):
        given_plan(path, plan_bundle, "float16", trust=False)
    assert given_plan(path, plan_bundle, "float16", trust=True)[1].options is None


def test_a_plan_beside_the_cache_s_own_is_foreign(batched_plan: Plan, plan_bundle: Bundle) -> None:
    """Nobody wrote down its digest."""
    path = batched_plan.path.with_name("theirs.plan")
    path.write_bytes(batched_plan.data)
    with pytest.raises(DeviceError, match="trust_plan=True"):
        given_plan(path, plan_bundle, "float16", trust=False)


def test_a_plan_of_this_cache_that_was_altered(batched_plan: Plan, plan_bundle: Bundle) -> None:
    batched_plan.path.write_bytes(batched_plan.data[:-1] + b"?")
    with pytest.raises(DeviceError, match=r"truncated or altered.*--rebuild"):
        given_plan(batched_plan.path, plan_bundle, "float16", trust=True)


@pytest.mark.parametrize("key", ["options", "precision", "device"])
def test_a_description_without_what_has_to_be_known(batched_plan: Plan, plan_bundle, key) -> None:
    path = batched_plan.path.with_suffix(".json")
    about = json.loads(path.read_text())
    del about[key]
    path.write_text(json.dumps(about))
    with pytest.raises(DeviceError, match=r"\.json was truncated or altered.*--rebuild"):
        given_plan(batched_plan.path, plan_bundle, "float16", trust=False)


def test_a_plan_of_this_cache_in_another_precision_or_of_another_graph(
    batched_plan: Plan, plan_bundle: Bundle, plan_bundle_copy: Path, edit
) -> None:
    with pytest.raises(InputError, match=r"computes in float16, and float32 .*precision=.float16"):
        given_plan(batched_plan.path, plan_bundle, "float32", trust=True)
    edit(plan_bundle_copy, files={"model.fp16.onnx": plan_bundle.read("model.onnx")})
    with pytest.raises(DeviceError, match=r"built from another graph .*edgead build"):
        given_plan(batched_plan.path, open_bundle(plan_bundle_copy), "float16", trust=True)


def test_a_stopped_build_leaves_nothing(build, cache_directory: Path) -> None:
    steps = 0

    def cancelled() -> bool:
        nonlocal steps
        steps += 1
        return steps > 50  # in the middle of the library's work

    with pytest.raises(CancelledError) as caught:
        build(cancelled=cancelled)
    assert caught.value.exit_code == 130
    assert steps > 50
    assert [path.name for path in cache_directory.iterdir()] == []
    assert not build().cached


def test_what_progress_raises_ends_the_build_and_comes_out(build, cache_directory: Path) -> None:
    def progress(phase: str, done: int, steps: int) -> None:
        if phase == "build / Optimizing graph":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(progress=progress)
    assert list(cache_directory.iterdir()) == []


def test_the_phases_have_names(build) -> None:
    seen: list[tuple[str, int, int]] = []
    build(progress=lambda *step: seen.append(step))
    phases = list(dict.fromkeys(phase for phase, _, _ in seen))
    assert [phase for phase in phases if "/" not in phase] == ["parse", "build", "inspect"]
    assert "build / Optimizing graph" in phases
    assert all(0 <= done <= steps for _, done, steps in seen)


BUILD = """
import json, sys
from edgead.bundle import open_bundle
from edgead.nvidia.plans.library import find_library
from edgead.nvidia.plans.store import own_plan
waited = []
plan = own_plan(open_bundle(sys.argv[1]), find_library("rtx"), device="", precision="float16",
                progress=lambda phase, done, steps: waited.append(phase))
print(json.dumps({"cached": plan.cached, "waited": "wait" in waited, "path": str(plan.path)}))
"""


def test_two_processes_build_the_same_plan_once(plan_bundle: Bundle, cache_directory: Path) -> None:
    command = [sys.executable, "-c", BUILD, str(plan_bundle.path)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert sorted(one["cached"] for one in found) == [False, True, True]
    assert len({one["path"] for one in found}) == 1
    assert {path.suffix for path in cache_directory.iterdir()} == {".plan", ".json", ".log"}

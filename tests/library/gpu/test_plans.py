"""The plans that C builds on a SIMULATED GPU are kept as Python keeps them, and read by both."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgead.bundle.storage import open_bundle
from edgead.nvidia.plans.cache import PlanCache, key_of
from edgead.nvidia.plans.plan import BuildOptions

DEVICE = "Simulated GPU sm_87 8 SM 7 GiB"


def about_of(path: Path, version: str = "10.3.0", **changes: Any) -> dict[str, Any]:
    """What Python keys a plan by (edgead/nvidia/plans/store.py)."""
    onnx = open_bundle(path).read("model.fp16.onnx")
    return {
        "flavour": "tensorrt",
        "version": version,
        "device": DEVICE,
        "recipe": 1,
        "onnx_sha256": hashlib.sha256(onnx).hexdigest(),
        "precision": "float16",
        "options": BuildOptions((1, 1, 1)).to_json(),
        **changes,
    }


def plans(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache" / "plans").iterdir())


def open_once(library: Any, path: Path, **options: Any) -> None:
    with library.detector(path, device="gpu", **options):
        pass


def test_python_finds_what_c_built(
    gpu_library: Any, machine: Any, half_path: Path, tmp_path: Path
) -> None:
    open_once(gpu_library, half_path)
    key = key_of(about_of(half_path))
    assert plans(tmp_path) == [f"{key}.json", f"{key}.plan"]
    found = PlanCache(tmp_path / "cache" / "plans").look(key)
    assert found is not None
    entry, data = found
    assert data.endswith(open_bundle(half_path).read("model.fp16.onnx"))
    assert {name: entry.about[name] for name in about_of(half_path)} == about_of(half_path)
    assert entry.about["products"] == {"float16": 4}


def test_a_plan_is_built_once(gpu_library: Any, machine: Any, half_path: Path) -> None:
    for _ in range(2):
        open_once(gpu_library, half_path)
    assert machine.calls("buildSerializedNetwork") == 1


@pytest.mark.parametrize("version", ["10.3.0", "10.3.0.26"])
def test_c_finds_what_python_built(
    gpu_library: Any, machine: Any, half_path: Path, tmp_path: Path, version: str
) -> None:
    open_once(gpu_library, half_path)
    cache = PlanCache(tmp_path / "cache" / "plans")
    found = cache.look(key_of(about_of(half_path)))
    assert found is not None
    for name in plans(tmp_path):
        (cache.directory / name).unlink()
    about = about_of(half_path, version)
    cache.store(key_of(about), found[1], about)
    open_once(gpu_library, half_path)
    assert machine.calls("buildSerializedNetwork") == 1


@pytest.mark.parametrize(
    "other",
    [
        {"version": "10.30.1"},
        {"device": "Simulated GPU sm_86"},
        {"precision": "int8"},
        {"options": BuildOptions((1, 1, 8)).to_json()},
        {"recipe": 2},
        {"onnx_sha256": "0" * 64},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_plan_of_something_else_is_not_taken(
    gpu_library: Any, machine: Any, half_path: Path, tmp_path: Path, other: dict[str, Any]
) -> None:
    about = about_of(half_path, **other)
    PlanCache(tmp_path / "cache" / "plans").store(key_of(about), b"something else", about)
    open_once(gpu_library, half_path)
    assert machine.calls("buildSerializedNetwork") == 1


def test_another_version_of_tensorrt_builds_its_own(
    gpu_library: Any, machine: Any, half_path: Path, tmp_path: Path
) -> None:
    open_once(gpu_library, half_path)
    machine.be(version="10.13.3")
    open_once(gpu_library, half_path)
    assert machine.calls("buildSerializedNetwork") == 2 and len(plans(tmp_path)) == 4


def test_a_plan_whose_header_is_of_another_version(
    gpu_library: Any, machine: Any, half_path: Path, tmp_path: Path, refused: Any
) -> None:
    machine.be(version="8.6.1")
    open_once(gpu_library, half_path)
    cache = PlanCache(tmp_path / "cache" / "plans")
    _, data = cache.look(key_of(about_of(half_path, "8.6.1"))) or pytest.fail("no plan")
    machine.be(version="10.3.0")
    cache.store(key_of(about_of(half_path)), data, about_of(half_path))
    sentence = r"does not load this plan .*version \(its header says TensorRT 8.6.1\); remove "
    with pytest.raises(refused, match=sentence):
        gpu_library.open(half_path, device="gpu")


def altered_plan(folder: Path) -> None:
    path = next(folder.glob("*.plan"))
    path.write_bytes(path.read_bytes()[:-1])


def altered_words(folder: Path) -> None:
    path = next(folder.glob("*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": None}))


def writable_plan(folder: Path) -> None:
    next(folder.glob("*.plan")).chmod(0o666)


def writable_folder(folder: Path) -> None:
    folder.chmod(0o777)


def linked_plan(folder: Path) -> None:
    path = next(folder.glob("*.plan"))
    path.rename(folder / "elsewhere")
    path.symlink_to(folder / "elsewhere")


def linked_folder(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


CACHES = {
    altered_plan: "was truncated or altered since it was built here; remove it",
    altered_words: "was truncated or altered since it was built here; remove it",
    writable_plan: "may be written by others .* native code",
    writable_folder: "may be written by others .* native code",
    linked_plan: "is a symbolic link",
    linked_folder: "is a symbolic link",
}


@pytest.mark.parametrize("spoil", CACHES, ids=lambda spoil: spoil.__name__)
def test_a_cache_that_cannot_be_trusted(
    gpu_library: Any, machine: Any, half_path: Path, tmp_path: Path, refused: Any, spoil: Any
) -> None:
    open_once(gpu_library, half_path)
    spoil(tmp_path / "cache" / "plans")
    with pytest.raises(refused, match=CACHES[spoil]) as raised:
        gpu_library.open(half_path, device="gpu")
    assert raised.value.status == "DEVICE"


def test_a_cache_that_cannot_be_made(
    gpu_library: Any,
    machine: Any,
    half_path: Path,
    tmp_path: Path,
    refused: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "file"))
    with pytest.raises(refused, match=r"plan cache: .*set EDGEAD_CACHE to a directory of your own"):
        gpu_library.open(half_path, device="gpu")


def test_a_cache_in_the_home_folder(
    gpu_library: Any,
    machine: Any,
    half_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgead.nvidia.plans.cache import plans_directory

    monkeypatch.delenv("EDGEAD_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    open_once(gpu_library, half_path)
    assert len(list(plans_directory().glob("*.plan"))) == 1
    assert plans_directory() == tmp_path / "home" / ".cache" / "edgead" / "plans"


def test_old_plans_are_removed(
    gpu_library: Any, machine: Any, half_path: Path, tmp_path: Path
) -> None:
    cache = PlanCache(tmp_path / "cache" / "plans")
    keys = []
    for number in range(24):
        about = about_of(half_path, device=f"number {number}")
        keys.append(cache.store(key_of(about), b"plan", about).key)
        os.utime(cache.directory / f"{keys[-1]}.json", (1e9 + number, 1e9 + number))
    open_once(gpu_library, half_path)
    left = {name.partition(".")[0] for name in plans(tmp_path)}
    assert left == {*keys[1:], key_of(about_of(half_path))}


def with_other_graph(half: Any, tmp_path: Path, name: str, other: str) -> Path:
    """``half`` on disk, where the file ``name`` is what ``other`` is."""
    path = tmp_path / "wrong.edgead"
    files = {**half.files, name: half.files[other]}
    type(half)(half.manifest, files, half.truth).write(path)
    return path


def test_a_graph_that_is_not_what_the_manifest_calls_it(
    gpu_library: Any, machine: Any, half: Any, tmp_path: Path, refused: Any
) -> None:
    path = with_other_graph(half, tmp_path, "model.fp16.onnx", "model.onnx")
    sentence = "float16 was asked for, and 0.0% of the weights compute in it.*expected 90%"
    with pytest.raises(refused, match=sentence):
        gpu_library.open(path, device="gpu")


def test_a_float32_graph_with_float16_in_it(
    gpu_library: Any, machine: Any, half: Any, tmp_path: Path, refused: Any
) -> None:
    path = with_other_graph(half, tmp_path, "model.onnx", "model.fp16.onnx")
    with pytest.raises(refused, match=r"float32 was asked for, and the network holds .* float16"):
        gpu_library.open(path, device="gpu", precision="float32")


def test_a_graph_with_other_outputs(
    gpu_library: Any,
    machine: Any,
    half: Any,
    make_graph: Any,
    tmp_path: Path,
    refused: Any,
    frame: np.ndarray,
) -> None:
    path = tmp_path / "wrong.edgead"
    files = {**half.files, "model.onnx": make_graph(channels=(8, 16))}
    type(half)(half.manifest, files, half.truth).write(path)
    with pytest.raises(refused, match=r"reads a graph with the outputs .*the manifest says"):
        gpu_library.open(path, device="gpu", precision="float32")

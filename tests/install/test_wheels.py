"""How wheels are built for another machine, and what the imitated Jetson installs."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def script(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


wheels, jetson = script("release/build_wheel.py"), script("tests/install/jetson_root.py")


def test_the_commands_are_those_of_the_page(tmp_path: Path) -> None:
    from_clone, from_wheel = jetson.commands(), jetson.commands(tmp_path / "edgead-9-py.whl")
    assert ".venv/bin/pip install ." in from_clone
    assert ".venv/bin/pip install edgead-9-py.whl" in [
        line.replace("./", "") for line in from_wheel
    ]
    for commands in (from_clone, from_wheel):
        assert "python3 -m venv --system-site-packages .venv" in commands
        assert commands[-1] == ".venv/bin/edgead doctor"
        assert all("apt-get install -y" in line for line in commands if "apt-get" in line)


def doctor(**others: str) -> dict[str, object]:
    """What the doctor says on a Jetson without nvcc."""
    there = {
        "numpy": "1.24.2", "opencv": "4.6.0, with GStreamer", "kernels cpu": "neon instructions",
        **others,
    }  # fmt: skip
    cuda = {"what": "kernels cuda", "cause": "not built: no nvcc in CUDACXX", "cure": "nvcc"}
    ok = [{"what": what, "detail": detail} for what, detail in there.items()]
    return {"can_score": True, "ok": ok, "missing": [cuda]}


def test_an_installation_that_is_none_of_a_jetson_is_noticed(tmp_path: Path) -> None:
    jetson.check(doctor())
    for others in (
        {"numpy": "2.1.0"},
        {"opencv": "4.10.0, without GStreamer"},
        {"kernels cpu": "baseline instructions"},
    ):
        with pytest.raises(AssertionError):
            jetson.check(doctor(**others))
    with pytest.raises(AssertionError):  # a wheel has no nvcc to look for
        jetson.check(doctor(), tmp_path / "edgead.whl")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux builds for another machine")
def test_a_wheel_for_another_machine_is_named_and_compiled_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("EDGEAD_CUDART", raising=False)
    given = wheels.cross("aarch64")
    tag = sys.implementation.cache_tag
    assert given["SETUPTOOLS_EXT_SUFFIX"] == f".{tag}-aarch64-linux-gnu.so"
    assert given["_PYTHON_HOST_PLATFORM"] == "linux-aarch64"
    assert Path(given["CMAKE_TOOLCHAIN_FILE"]).is_file()
    assert given["EDGEAD_CUDA"] == "OFF"


def test_cuda_for_another_machine_is_a_toolkit_of_this_one_with_its_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top, libraries = tmp_path / "cuda", tmp_path / "libraries"
    for path in ("bin/ptxas", "nvvm/bin/cicc", "include/cuda_runtime.h"):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).touch()
    nvcc = top / "bin/nvcc"
    nvcc.write_text(f'#!/bin/sh\necho "#$ TOP={top}/bin/.." >&2\n')
    nvcc.chmod(0o755)
    libraries.mkdir()
    (libraries / "libcudart.so.13").touch()
    monkeypatch.setenv("PATH", f"{nvcc.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(wheels, "ROOT", tmp_path / "clone")
    with pytest.raises(SystemExit, match=r"EDGEAD_CUDART=.*: no libcudart_static\.a there"):
        wheels.cross_toolkit("aarch64", libraries)
    (libraries / "libcudart_static.a").write_text("Arm")
    made = wheels.cross_toolkit("aarch64", libraries)
    assert made.read_text() == nvcc.read_text() and not made.is_symlink()
    there = made.parents[1]
    target = there / "targets/aarch64-linux"
    assert (target / "include/cuda_runtime.h").exists() and (target / "lib/libcudart.so").exists()
    assert (target / "lib/libcudart_static.a").read_text() == "Arm"
    assert (there / "bin/ptxas").exists() and (there / "nvvm/bin/cicc").exists()


def test_a_wheel_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "ROOT", tmp_path)
    path = tmp_path / "dist/edgead-0.1.0-cp310-cp310-linux_aarch64.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("edgead/_cpu.cpython-310-aarch64-linux-gnu.so", bytes(100_000))
        packed.writestr("edgead/__init__.py", "")
    found = wheels.described(path)
    assert found["file"] == "dist/edgead-0.1.0-cp310-cp310-linux_aarch64.whl"
    assert found["tag"] == "cp310-cp310-linux_aarch64"
    assert found["bytes"] == path.stat().st_size
    assert list(found["modules"]) == ["_cpu"] and found["modules"]["_cpu"] < 1000


@pytest.mark.parametrize("tag", ["cp39-cp39-linux_x86_64", "py3-none-musllinux_1_2_riscv64"])
def test_pip_says_what_the_page_says_of_a_wheel_for_another_machine(
    tag: str, tmp_path: Path
) -> None:
    path = tmp_path / f"edgead-1-{tag}.whl"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("edgead-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: edgead\n")
    install = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", path]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 1
    said = f"{path.name} is not a supported wheel on this platform"
    assert said in done.stderr
    page = (ROOT / "docs/wheels.md").read_text()
    assert said.removeprefix(path.name) in page


def test_an_installation_for_another_python_is_told_with_its_cure(tmp_path: Path) -> None:
    """As pip install --target of another Python leaves it, or a copied site-packages."""
    folder, other = tmp_path / "edgead", "_cpu.cpython-39-riscv64-linux-gnu.so"
    shutil.copytree(ROOT / "edgead", folder, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    (folder / other).touch()
    for start in ("edgead", "bench"):
        code = f"import sys; from edgead.cli.process import {start} as run; sys.exit(run())"
        done = subprocess.run(
            [sys.executable, "-S", "-c", code, "doctor"],  # -S: not the one that is installed
            env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path,
            capture_output=True, text=True,
        )  # fmt: skip
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{folder} has {other}, this Python needs _cpu{suffix}; install" in done.stderr
        assert done.stderr.endswith(f": {sys.executable} -m pip install --force-reinstall\n")
        assert done.stderr.count("\n") == 1  # no traceback


def test_another_machine_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["build_wheel.py", "riscv64"])
    with pytest.raises(SystemExit, match="'riscv64': expected aarch64, or nothing"):
        wheels.main()


def test_the_page_names_wheels_as_they_are_built() -> None:
    pages = ((ROOT / f"docs/{name}.md").read_text() for name in ("jetson", "wheels"))
    names = [name for page in pages for name in re.findall(r"edgead-[\w.-]+\.whl", page)]
    assert names and all(
        re.fullmatch(r"edgead-[\d.]+-cp\d+-cp\d+-linux_\w+\.whl", n) for n in names
    )

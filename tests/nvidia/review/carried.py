"""Each point of the review of the code for NVIDIA GPUs, as a test of the commit 1c96a08.

``on_1c96a08.py`` puts this file among that commit's tests and expects every one of them to fail: it
asks there for what the tests named in docs/notes/nvidia-review.md ask for today, in the words that
the code had then.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from edgead.nvidia.builder import BuildOptions
from edgead.nvidia.rtx import RtxConfig
from simulation import Device
from test_device_frames import OnDevice

import edgead
from edgead import Detector, InputError
from edgead.engine import tensorrt
from edgead.nvidia import plan_file
from edgead.nvidia.devices import device_word

ROOT = Path(__file__).resolve().parents[3]
PROJECT = (ROOT / "pyproject.toml").read_text()
BUILDER = (ROOT / "edgead/nvidia/builder.py").read_text()
SAYS = 'case "$*" in *--version*) echo "Cuda compilation tools, release 12.6, V12.6.99";; esac'
JETPACK = f"""
mount -t tmpfs none /usr/local && mkdir -p /usr/local/cuda/bin
printf '%s\\n' '#!/bin/sh' '{SAYS}' > /usr/local/cuda/bin/nvcc
chmod +x /usr/local/cuda/bin/nvcc
exec env PATH=/usr/bin:/bin "$@"
"""


def configure(folder: Path, *options: str, before: tuple[str, ...] = ()) -> Any:
    """What CMake says to csrc/."""
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}:/usr/bin")
    command = [*before, str(cmake), "-S", str(ROOT / "csrc"), "-B", str(folder), *options]
    command += [f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11()}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def pybind11() -> str:
    return str(__import__("pybind11").get_cmake_dir())


def extras() -> dict[str, str]:
    block = PROJECT.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    return dict(re.findall(r"^([\w-]+) = \[(.*?)\]", block, re.MULTILINE | re.DOTALL))


def test_1_jetpacks_nvcc_is_found(tmp_path: Path) -> None:
    script = tmp_path / "as_on_jetpack"
    script.write_text(JETPACK)
    found = configure(tmp_path / "build", before=("unshare", "-rm", "sh", str(script)))
    assert found.stdout, found.stderr
    assert "not built, no CUDA compiler" not in found.stdout


def test_2_a_cuda_build_that_fails_costs_no_cpu_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This nvcc knows no __grid_constant__, as that of JetPack 5."""
    nvcc = tmp_path / "nvcc"
    refuses = 'case "$*" in *_cuda.cu*) echo "error: __grid_constant__" >&2; exit 1;; esac'
    nvcc.write_text(f'#!/bin/sh\n{refuses}\nexec {shutil.which("nvcc")} "$@"\n')
    nvcc.chmod(0o755)
    for name in ("csrc", "setup.py", "pyproject.toml", "README.md", "LICENSE", "edgead"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / "copy" / name)  # type: ignore[operator]
    monkeypatch.setenv("CUDACXX", str(nvcc))
    monkeypatch.setenv("EDGEAD_CUDA_ARCHITECTURES", "87-real")
    command = [sys.executable, "setup.py", "build_ext", "--build-lib", "out"]
    done = subprocess.run(command, cwd=tmp_path / "copy", capture_output=True, text=True)
    assert "__grid_constant__" in done.stdout + done.stderr
    assert done.returncode == 0


def test_3_extras_resolve_beside_a_driver_alone() -> None:
    """TensorRT for one CUDA by name, and nothing that nvcc has to build."""
    of_tensorrt = {name: text for name, text in extras().items() if "tensorrt" in text}
    for name, text in of_tensorrt.items():
        if name != "test":
            assert re.search(r"cu1[23]", text) and "pycuda" not in text, (name, text)


@pytest.mark.parametrize("device", [{"integrated": True}], indirect=True)
def test_4_mapped_host_memory_is_taken(
    gpu: Detector,
    device: Device,
    make_frame: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What jetson-utils gives. ``device_of`` is -1 there, as that commit's run_graph.cpp says."""
    frame = make_frame(5, (60, 80, 3))
    there = OnDevice(device, frame)
    harness = (ROOT / "tests/nvidia/serving/cuda_runtime/run_graph.cpp").read_text()
    assert "at(cudaMemoryTypeHost) == -1" in harness
    monkeypatch.setattr(edgead._cuda, "device_of", lambda address: -1)
    assert gpu.score(there).score == gpu.score(frame).score


def test_5_samples_at_an_odd_address_are_refused(
    gpu: Detector, device: Device, make_frame: Callable[..., Any]
) -> None:
    frame = make_frame(5, (60, 80), np.uint16)
    there = OnDevice(device, np.zeros(frame.nbytes + 1, np.uint8))
    there.memory.bytes[1:] = frame.reshape(-1).view(np.uint8)
    there.__cuda_array_interface__ |= {
        "shape": frame.shape, "typestr": "<u2", "data": (there.memory.address + 1, False),
    }  # fmt: skip
    with pytest.raises(InputError):
        gpu.score(there)


def test_6_a_dla_refuses_int8() -> None:
    from test_builder_versions import NO_DRIVER, build, simulation_with_gpu

    simulation = simulation_with_gpu(8, dla_cores=1)
    simulation.layers[0].type.name = "DEQUANTIZE"
    simulation.behaviour |= {"inspector": None, "load_errors": [NO_DRIVER]}
    with pytest.raises(InputError, match="DLA"):
        build(simulation, "int8", options=BuildOptions((1, 1, 1), dla=0))


def test_6_the_graph_is_adjusted_for_a_dla() -> None:
    assert "ADJUST_FOR_DLA" in BUILDER


def test_7_plans_are_for_one_image() -> None:
    assert BuildOptions().batch == (1, 1, 1)


def test_8_cuda_is_built_without_python(tmp_path: Path) -> None:
    given = ("-DEDGEAD_PYTHON=OFF", "-DEDGEAD_CUDA=ON", "-DEDGEAD_ARCHITECTURES=87-real")
    done = configure(tmp_path, *given)
    assert done.returncode == 0, done.stderr
    names = ["cmake", "--build", str(tmp_path), "--target", "help"]
    assert "kernels_cuda" in subprocess.run(names, capture_output=True, text=True).stdout


def test_9_native_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """Or the names of the architectures hold no number, and ``max`` of none is asked for."""
    done = configure(tmp_path, "-DEDGEAD_ARCHITECTURES=all-major")
    assert "EDGEAD_CUDA_ARCHITECTURES holds" in done.stderr


@pytest.mark.parametrize(
    ("built", "capability", "fits"),
    [
        pytest.param("sm_native", (8, 7), False, id="9-native"),
        pytest.param("sm_87", (8, 9), False, id="9-code-of-87-on-89"),
        pytest.param("sm_87", (9, 0), False, id="9-code-without-PTX"),
        pytest.param("sm_86", (8, 7), False, id="f-code-of-86-on-87"),
    ],
)
def test_9_f_code_serves_where_nvidia_says(
    device: Device, monkeypatch: pytest.MonkeyPatch, built: str, capability: Any, fits: bool
) -> None:
    check = next(
        value
        for name, value in vars(tensorrt).items()
        if callable(value) and "kernels" in name and "capability" in str(value.__annotations__)
    )
    monkeypatch.setattr(edgead._cuda, "ARCHITECTURES", built)
    with pytest.raises(edgead.DeviceError, match="built for"):
        check(capability)


def test_9_a_flag_is_asked_for_and_not_its_truth() -> None:
    """A flag whose number is 0 is false."""
    assert not re.search(r"getattr\(flag, .*\) or ", BUILDER)


def test_10_pypi_has_no_edgead() -> None:
    files = [*ROOT.glob("edgead/**/*.py"), *ROOT.glob("docs/*.md"), ROOT / "README.md"]
    cures = r"pip install ([\w-]+ )*['\"]?edgead\b"
    assert [file.name for file in files if re.search(cures, file.read_text())] == []


def test_a_a_context_that_reports_an_earlier_error_is_left(
    gpu: Detector, device: Device, frame: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyCUDA throws what cuCtxPopCurrent says before it pops its own stack."""
    driver = sys.modules["pycuda.driver"]
    gpu.score(frame)

    def pop() -> None:
        raise driver.LaunchError("an earlier error (error 719)")  # type: ignore[attr-defined]

    with monkeypatch.context() as patch:
        patch.setattr(driver.Context, "pop", pop)  # type: ignore[attr-defined]
        with pytest.raises(edgead.DeviceError):
            gpu.score(frame)
    left, device.stack[:] = list(device.stack), []
    assert left == []


def test_b_jetpacks_opencv_is_kept() -> None:
    (opencv,) = re.findall(r'"(opencv[^"]*)"', PROJECT.partition("[project.optional")[0])
    assert "tegra" in opencv


def test_c_two_modules_of_one_name_have_two_plans() -> None:
    nano, agx = ((8, 8 << 30), (16, 64 << 30))
    assert device_word("Orin", (8, 7), *nano) != device_word("Orin", (8, 7), *agx)  # type: ignore[call-arg]


def test_d_a_runtime_cache_that_gives_nothing(tmp_path: Path) -> None:
    cache = SimpleNamespace(serialize=lambda: None, deserialize=lambda data: True)
    config = SimpleNamespace(
        create_runtime_cache=lambda: cache, set_runtime_cache=lambda given: None
    )
    module = SimpleNamespace(DynamicShapesKernelSpecializationStrategy=SimpleNamespace(EAGER=1))
    RtxConfig(module, config, tmp_path / "one.plan").keep()


def test_e_another_version_in_the_header_is_no_refusal() -> None:
    """TensorRT itself says whether it loads a plan."""
    header = bytearray(32)
    header[:4], header[24:27] = b"ftrt", bytes((10, 3, 0))
    library = SimpleNamespace(flavour="tensorrt", version=(10, 13, 0, 1))
    plan_file.check_header(bytes(header), library, "one.plan")  # type: ignore[arg-type]

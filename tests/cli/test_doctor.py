"""edgead doctor: finds what is there, names the cure for what is not, never fails for options."""

from __future__ import annotations

import importlib
import json
import platform
import re
import sys
import types
from pathlib import Path

import pytest

from edgead import installation
from edgead.cli import doctor
from edgead.cli.main import main
from edgead.installation import EXTRAS, extra_of, missing


def run_json(capsys) -> tuple[int, dict]:
    code = main(["doctor", "--json"])
    return code, json.loads(capsys.readouterr().out)


def by_name(report: dict) -> dict[str, dict]:
    """Each finding as ``doctor.Check`` has it."""
    assert set(report) == {"can_score", "ok", "missing"}
    found = {
        one["what"]: {"state": "ok", "detail": one["detail"], "cure": ""} for one in report["ok"]
    }
    for one in report["missing"]:
        state = "broken" if one["needed"] else "missing"
        assert set(one) == {"what", "cause", "cure", "needed"} and one["cause"]
        found[one["what"]] = {"state": state, "detail": one["cause"], "cure": one["cure"]}
    return found


def test_this_machine_can_score(capsys):
    code, report = run_json(capsys)
    assert code == 0
    assert report["can_score"] is True
    found = by_name(report)
    for name in ("edgead", "python", "processor", "numpy", "opencv", "openvino", "kernels cpu"):
        assert found[name]["state"] == "ok", found[name]
    for name in ("kernels cuda", "nvidia driver", "tensorrt", "cuda memory"):
        assert found[name]["state"] in ("ok", "missing"), found[name]
    assert "CPU" in found["openvino"]["detail"]


def test_for_people_each_finding_has_a_line(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for finding in doctor.checks():
        assert any(
            line.startswith(finding.state) and finding.name in line for line in out.splitlines()
        )
    assert out.splitlines()[-1].startswith("next   edgead ")
    assert "\x1b" not in out  # no colours in a pipe


def test_a_missing_option_names_its_cure_and_is_no_failure(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "missing", lambda extra: ["torch"] if extra == "train" else [])
    code, report = run_json(capsys)
    assert code == 0
    train = by_name(report)["extra train"]
    assert train["state"] == "missing"
    assert "torch" in train["detail"]
    assert train["cure"] == 'pip install ".[train]"  # in a clone of edgead'


@pytest.mark.parametrize(
    ("cuda", "state", "cure"),
    [
        ("not built", "missing", "EDGEAD_CUDA=ON pip install ."),
        ("not built: nvcc 11.4 at /x/nvcc is too old", "missing", "EDGEAD_CUDA=ON pip install ."),
        ("built for sm_87; unusable: no driver (error 35)", "missing", "NVIDIA's driver; the CPU"),
        ("built for sm_87; device: Orin", "ok", ""),
    ],
)
def test_the_cuda_kernels_are_an_option(monkeypatch, capsys, cuda, state, cure):
    monkeypatch.setattr("edgead.cli.doctor.built", lambda: {"cpu": "avx2", "cuda": cuda})
    code, report = run_json(capsys)
    assert code == 0
    found = by_name(report)["kernels cuda"]
    assert (found["state"], found["detail"]) == (state, cuda)
    assert cure in found["cure"]
    assert "avx2" in by_name(report)["kernels cpu"]["detail"]


def test_why_the_cuda_kernels_were_not_built_is_read_in_their_place(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "edgead.nvidia._cuda", None)
    monkeypatch.setattr("edgead.cli.doctor.NOT_BUILT", tmp_path / "_cuda.not_built.txt")
    assert by_name(run_json(capsys)[1])["kernels cuda"]["detail"] == "not built"
    (tmp_path / "_cuda.not_built.txt").write_text("nvcc 11.4 at /x/nvcc is too old\n")
    detail = by_name(run_json(capsys)[1])["kernels cuda"]["detail"]
    assert detail == "not built: nvcc 11.4 at /x/nvcc is too old"


def test_a_tensorrt_that_is_not_there_names_its_extra(monkeypatch, capsys):
    monkeypatch.setattr("edgead.nvidia.plans.library.installed", lambda flavour: False)
    code, report = run_json(capsys)
    assert code == 0
    found = by_name(report)
    for name, extra in (("tensorrt", "nvidia-cu13"), ("tensorrt_rtx", "rtx")):
        assert (found[name]["state"], "not installed" in found[name]["detail"]) == ("missing", True)
        assert found[name]["cure"].endswith(f'pip install ".[{extra}]"  # in a clone of edgead')


def test_a_tensorrt_that_does_not_load_is_told_with_its_cure(monkeypatch, capsys):
    load = importlib.import_module

    def broken(name):
        if name.startswith("tensorrt"):
            raise ImportError("libnvinfer.so.10: cannot open shared object file")
        return load(name)

    monkeypatch.setattr("edgead.nvidia.plans.library.installed", lambda flavour: True)
    monkeypatch.setattr(importlib, "import_module", broken)
    code, report = run_json(capsys)
    assert code == 0
    found = by_name(report)["tensorrt"]
    assert found["state"] == "missing"
    assert "libnvinfer.so.10" in found["detail"]
    assert "belong together" in found["cure"]


def test_the_plan_cache_is_looked_at_and_not_made(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    found = by_name(run_json(capsys)[1])["plan cache"]
    assert (found["state"], found["detail"]) == ("ok", f"{tmp_path}/cache/plans, not made yet")
    assert list(tmp_path.iterdir()) == []
    from edgead.nvidia.plans.cache import PlanCache

    PlanCache().store("0" * 32, bytes(1_000_000), {})
    found = by_name(run_json(capsys)[1])["plan cache"]
    assert found["detail"] == f"{tmp_path}/cache/plans: 1 plan, 1.0 MB"
    (tmp_path / "cache" / "plans").chmod(0o777)
    code, report = run_json(capsys)
    assert code == 0
    assert by_name(report)["plan cache"]["state"] == "missing"
    assert "may be written by others" in by_name(report)["plan cache"]["detail"]


def test_a_broken_need_is_a_finding_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "openvino", None)  # what Python does for a missing package
    code, report = run_json(capsys)
    assert code == 2
    assert report["can_score"] is False
    broken = by_name(report)["openvino"]
    assert broken["state"] == "broken"
    assert "openvino" in broken["detail"]
    assert "pip install" in broken["cure"]
    assert main(["doctor"]) == 2
    assert "cannot score" in capsys.readouterr().out


def test_the_processor_is_named_as_the_system_names_it(monkeypatch):
    text = "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nmodel name\t: Another\n"
    monkeypatch.setattr(doctor.Path, "read_text", lambda _, **_how: text)
    assert doctor.processor_name() == "Some CPU @ 3 GHz"


def test_extras_of_modules():
    assert extra_of("torch") == "train"
    assert extra_of("torch.nn.functional") == "train"
    assert extra_of("elpv_dataset") == "demo"
    assert extra_of("json") is None
    assert extra_of("torchish") is None


def test_missing_looks_and_does_not_import(monkeypatch):
    monkeypatch.setitem(EXTRAS, "train", ("json", "no_such_package_anywhere"))
    assert missing("train") == ["no_such_package_anywhere"]


def test_extras_agree_with_the_package_metadata():
    """Import names stand for the distributions that the package declares for its extras."""
    from importlib.metadata import packages_distributions, requires

    declared: dict[str, set[str]] = {}
    for line in requires("edgead") or []:
        requirement, _, marker = line.partition(";")
        if "python_version" in marker and sys.version_info >= (3, 11):
            continue  # of an older Python
        extra = re.search(r"""extra == ["']([\w-]+)""", marker)
        if extra is not None:
            name = requirement.strip()
            for character in "<>=!~[ ":
                name = name.partition(character)[0]
            declared.setdefault(extra[1], set()).add(_plain(name))
    distributions = packages_distributions()
    for extra, modules in EXTRAS.items():
        found = {_plain(d) for m in modules for d in distributions.get(m, [m])}
        assert {d.replace("scikit-learn", "sklearn") for d in declared[extra]} == {
            d.replace("scikit-learn", "sklearn") for d in found
        }


def _plain(name: str) -> str:
    """Without the CUDA that a distribution of TensorRT is for: the package is the same."""
    return re.sub(r"-cu1[23]$", "", name.lower().replace("_", "-"))


@pytest.fixture
def jetson(monkeypatch):
    """JetPack's kernel."""
    monkeypatch.setattr(platform, "release", lambda: "5.15.148-tegra")


def test_on_a_jetson_tensorrt_is_jetpacks(monkeypatch, jetson, capsys):
    monkeypatch.setattr("edgead.nvidia.plans.library.installed", lambda flavour: False)
    found = by_name(run_json(capsys)[1])
    assert "python3-libnvinfer" in found["tensorrt"]["cure"]
    assert "--system-site-packages" in found["tensorrt"]["cure"]
    assert "tensorrt_rtx" not in found  # there is none for it


@pytest.mark.parametrize(
    ("version", "extra"), [(12060, "nvidia-cu12"), (13000, "nvidia-cu13"), (None, "nvidia-cu13")]
)
def test_tensorrt_is_that_of_the_drivers_cuda(monkeypatch, version, extra):
    class Driver:
        def cuDriverGetVersion(self, to):
            to._obj.value = version

    monkeypatch.setattr(doctor, "nvidia_driver", lambda: None if version is None else Driver())
    assert f'".[{extra}]"' in doctor._tensorrt_cure("tensorrt")


def test_a_missing_opencv_on_a_jetson_is_jetpacks(monkeypatch, jetson):
    def load(name):
        raise ModuleNotFoundError("No module named 'cv2'")

    monkeypatch.setattr(installation, "import_module", load)
    reason, hint = installation.opencv_trouble() or ("", "")
    assert "No module named 'cv2'" in reason
    assert "libopencv-python" in hint and "--system-site-packages" in hint


@pytest.mark.parametrize(
    "said", ["numpy.core.multiarray failed to import", "AttributeError: _ARRAY_API not found"]
)
def test_an_opencv_built_for_numpy_1_says_so(monkeypatch, said):
    def load(name):
        raise ImportError(said)

    monkeypatch.setattr(installation, "import_module", load)
    assert installation.opencv_trouble() == (
        f"cv2 cannot be loaded ({said}): it was built for NumPy 1",
        'pip install "numpy<2"',
    )


def opencv_in(folder: Path) -> Path:
    (folder / "cv2").mkdir(parents=True)
    (folder / "cv2" / "__init__.py").touch()
    return folder


def test_an_opencv_that_pip_put_before_jetpacks_is_named(monkeypatch, tmp_path, jetson):
    own, system = (opencv_in(tmp_path / name) for name in ("site-packages", "dist-packages"))
    monkeypatch.setattr(sys, "path", [str(own), str(own), str(tmp_path), str(system)])
    assert installation.hidden_opencv() == str(system / "cv2")
    (check,) = doctor._gstreamer(False, own / "cv2", ["opencv-python-headless"])
    assert (check.name, check.state) == ("gstreamer", "missing")
    assert f"{own}/cv2 hides that in {system}/cv2" in check.detail
    assert check.cure.startswith("pip uninstall -y opencv-python-headless && ")
    assert list(doctor._gstreamer(True, own / "cv2", [])) == []
    monkeypatch.setattr(sys, "path", [str(own)])
    assert installation.hidden_opencv() is None
    (check,) = doctor._gstreamer(False, own / "cv2", [])
    assert "built without it" in check.detail and "libopencv-python" in check.cure


def test_without_a_jetson_no_gstreamer_is_no_finding(monkeypatch, tmp_path):
    monkeypatch.setattr(installation, "on_jetson", lambda: False)
    monkeypatch.setattr(sys, "path", [str(opencv_in(tmp_path))])
    monkeypatch.setattr(doctor, "on_jetson", lambda: False)
    assert list(doctor._gstreamer(False, tmp_path / "cv2", [])) == []


def test_what_pip_installs_on_a_jetson(monkeypatch):
    """JetPack's OpenCV is kept, which was built for NumPy 1."""
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    def installed(release: str) -> dict[str, str]:
        wanted = [Requirement(line) for line in requires("edgead") or []]
        return {
            str(one.specifier): one.name
            for one in wanted
            if one.marker is None or one.marker.evaluate({"platform_release": release, "extra": ""})
        }

    usual, jetson = installed("6.1.0-37-amd64"), installed("5.15.148-tegra")
    assert "opencv-python-headless" in usual.values() and "<2" not in usual
    assert "opencv-python-headless" not in jetson.values() and jetson["<2"] == "numpy"


class Driver:
    """NVIDIA's driver as far as it is asked: ``cuInit`` gives a code, then it has these GPUs."""

    def __init__(self, code: int, *gpus: tuple[bytes, int, int]) -> None:
        self.code, self.gpus = code, gpus

    def cuInit(self, flags):
        return self.code

    def cuDriverGetVersion(self, to):
        to._obj.value = 12060

    def cuDeviceGetCount(self, to):
        to._obj.value = len(self.gpus)

    def cuDeviceGet(self, to, index):
        to._obj.value = index

    def cuDeviceGetName(self, to, size, device):
        to.value = self.gpus[device.value][0]
        return 0

    def cuDeviceGetAttribute(self, to, attribute, device):
        to._obj.value = self.gpus[device.value][attribute - 74]


@pytest.mark.parametrize(
    ("driver", "state", "detail"),
    [
        (None, "missing", "no libcuda.so.1"),
        (Driver(999), "missing", "cuInit fails with error 999"),
        (Driver(0), "missing", "NVIDIA's driver finds no GPU"),
        (Driver(0, (b"Orin", 8, 7)), "ok", "CUDA up to 12.6: Orin, sm_87"),
        (Driver(0, (b"A", 8, 9), (b"B", 12, 0)), "ok", "CUDA up to 12.6: A, sm_89, B, sm_120"),
    ],
)
def test_the_driver_and_its_gpus(monkeypatch, driver, state, detail):
    for module in (doctor, installation):
        monkeypatch.setattr(module, "nvidia_driver", lambda: driver)
    (check,) = doctor._nvidia_driver()
    assert (check.state, check.detail) == (state, detail)
    assert bool(check.cure) == (state == "missing")


@pytest.mark.parametrize(
    ("code", "driver", "cause", "cure"),
    [
        (35, None, "driver is not installed (libcuda.so.1)", "install it, and see that nvidia"),
        (35, True, "built for sm_87, cannot be used: told (error 35)", "install a newer driver"),
        (100, True, "finds no GPU: told (error 100)", "see what nvidia-smi says; in a container"),
    ],
)
def test_the_memory_of_a_gpu_has_the_driver_s_cure(monkeypatch, code, driver, cause, cure):
    kernels = types.SimpleNamespace(status=lambda: (code, "told"), ARCHITECTURES="sm_87")
    monkeypatch.setattr("edgead.nvidia.own_backend.import_kernels", lambda: kernels)
    monkeypatch.setattr("edgead.nvidia.kernels.nvidia_driver", lambda: driver)
    (check,) = doctor._cuda_memory()
    assert check.state == "missing" and cause in check.detail and check.cure.startswith(cure)


def test_the_memory_of_a_gpu_comes_with_the_kernels(monkeypatch):
    monkeypatch.setitem(sys.modules, "edgead.nvidia._cuda", None)
    (check,) = doctor._cuda_memory()
    assert (check.state, check.cure) == ("missing", "that of kernels cuda")


def test_kernels_of_a_newer_cuda_than_the_driver_s(monkeypatch):
    """The CUDA runtime says the same of no driver."""
    said = {"cpu": "avx2", "cuda": "built for sm_87; unusable: insufficient (error 35)"}
    monkeypatch.setattr(doctor, "built", lambda: said)
    monkeypatch.setattr(doctor, "nvidia_driver", lambda: Driver(0))
    *_, check = doctor._kernels()
    assert check.cure.startswith("this driver knows CUDA up to 12.6: install a newer one, or")
    assert check.cure.endswith("an nvcc of CUDA 12")

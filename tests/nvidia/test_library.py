"""Which TensorRT is found, and the cure for each that is not usable."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from edgead.cli import doctor
from edgead.errors import DeviceError, InputError
from edgead.nvidia.plans import library
from edgead.nvidia.plans.library import Library, find_library, parse_version


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """``installed(tensorrt="10.3.0")``: simulate these modules, and that no other is there."""

    def install(**versions: str | Exception) -> None:
        monkeypatch.setattr(library, "installed", lambda f: library.MODULES[f] in versions)

        def load(name: str) -> ModuleType:
            version = versions[name]
            if isinstance(version, Exception):
                raise version
            module = ModuleType(name)
            module.__version__ = version  # type: ignore[attr-defined]
            return module

        monkeypatch.setattr(library.importlib, "import_module", load)

    return install


def test_the_real_one(rtx: Library) -> None:
    assert rtx.flavour == "rtx"
    assert rtx.version >= (1, 2)
    assert rtx.version_text == rtx.module.__version__
    assert str(rtx) == f"TensorRT-RTX {rtx.version_text}"


def test_the_full_tensorrt_comes_first(installed) -> None:
    installed(tensorrt="10.3.0.26", tensorrt_rtx="1.7.1.116")
    assert str(find_library()) == "TensorRT 10.3.0.26"
    assert str(find_library("rtx")) == "TensorRT-RTX 1.7.1.116"


@pytest.mark.parametrize("first", ["8.4.1.5", ImportError("libnvinfer.so.8: cannot open")])
def test_an_unusable_one_gives_way_to_the_other_where_none_was_asked_for(installed, first) -> None:
    installed(tensorrt=first, tensorrt_rtx="1.7.1")
    assert find_library().flavour == "rtx"
    with pytest.raises(DeviceError):
        find_library("tensorrt")


def test_not_installed(installed) -> None:
    installed()
    with pytest.raises(DeviceError, match=r'no module tensorrt\): pip install "\.\[nvidia-cu13\]"'):
        find_library("tensorrt")
    with pytest.raises(DeviceError, match=r'no module tensorrt_rtx\).*"\.\[rtx\]"'):
        find_library("rtx")
    with pytest.raises(DeviceError, match=r"TensorRT is not installed.*TensorRT-RTX is not inst"):
        find_library()


@pytest.mark.parametrize(
    ("flavour", "version", "needed"), [("tensorrt", "8.4.3.1", "8.5"), ("rtx", "0.9.0", "1.0")]
)
def test_too_old(installed, flavour: str, version: str, needed: str) -> None:
    installed(**{library.MODULES[flavour]: version})
    with pytest.raises(DeviceError, match=rf"{version} is too old; edgead needs {needed} or newer"):
        find_library(flavour)


@pytest.mark.parametrize("version", ["8.5.2.2", "8.6.1", "10.3.0.post12.dev1", "11.4.0.106"])
def test_new_enough(installed, version: str) -> None:
    installed(tensorrt=version)
    assert find_library().version == parse_version(version) >= (8, 5)


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libnvinfer.so.10: cannot open shared object file"),
        OSError("libcudart.so.12: wrong ELF class\nand more"),
        RuntimeError("bad \x1b[31mbytes"),
    ],
)
def test_a_library_that_does_not_load_says_why_in_one_line(installed, error: Exception) -> None:
    installed(tensorrt=error)
    with pytest.raises(DeviceError, match=r"is installed and does not load.*belong together") as e:
        find_library("tensorrt")
    assert str(error).split("\n")[0].split("\x1b")[0] in str(e.value)
    assert "\n" not in str(e.value)
    assert "\x1b" not in str(e.value)


def test_a_real_module_that_does_not_load(tmp_path: Path, monkeypatch) -> None:
    """Without simulation: a package whose native library is missing, as after a half update."""
    package = tmp_path / "tensorrt"
    package.mkdir()
    (package / "__init__.py").write_text("import ctypes\nctypes.CDLL('libnvinfer.so.99')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(DeviceError, match=r"does not load: OSError: libnvinfer\.so\.99"):
        find_library("tensorrt")


def test_another_word(installed) -> None:
    with pytest.raises(InputError, match=r"flavour 'trt': expected one of tensorrt, rtx"):
        find_library("trt")


def test_looking_for_it_does_not_import_it(monkeypatch) -> None:
    monkeypatch.setattr(library, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    assert library.installed("tensorrt")
    assert "tensorrt" not in sys.modules


def test_tensorrt_for_two_versions_of_cuda(
    installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are the package tensorrt; what pip lists is real here, the module is not."""
    error = ImportError("libcudart.so.12: cannot open shared object file")
    installed(tensorrt=error)
    monkeypatch.syspath_prepend(tmp_path)
    for cuda, said in (("cu12", "does not load"), ("cu13", "for CUDA 12 and for CUDA 13")):
        info = tmp_path / f"tensorrt_{cuda}-10.13.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tensorrt-{cuda}\n")
        with pytest.raises(DeviceError, match=rf"{said}.*libcudart\.so\.12"):
            find_library("tensorrt")
    with pytest.raises(DeviceError, match=r"uninstall -y tensorrt-cu12 .*-cu13-libs, then"):
        find_library("tensorrt")
    installed(tensorrt="10.13.0")
    (check, *_) = doctor._tensorrt()
    assert (check.name, check.state) == ("tensorrt", "missing") and "uninstall" in check.cure

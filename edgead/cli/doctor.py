"""Check this installation: what was built, what can serve, what is missing, and how to fix it.

Exit code 2 when frames cannot be scored here; a missing optional part is only reported.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from edgead.cli.console import Console, count, print_json
from edgead.cli.options import add
from edgead.cpu.engine import import_openvino
from edgead.cpu.processor import affinity, cores, cpu_quota, processor_name
from edgead.cpu.restrictions import code_refused
from edgead.errors import DeviceError
from edgead.installation import (
    EXTRAS,
    JETPACK_ENVIRONMENT,
    __version__,
    cure,
    driver_cuda,
    gpu_trouble,
    hidden_opencv,
    missing,
    nvidia_devices,
    nvidia_driver,
    on_jetson,
    opencv_distributions,
    opencv_trouble,
    two_tensorrts,
)

EXAMPLE = """\
  edgead doctor            for people
  edgead doctor --json     for programs"""

NOT_BUILT = Path(__file__).parents[1] / "nvidia/_cuda.not_built.txt"  # setup.py writes it
STYLES = {"ok": "green", "missing": "yellow", "broken": "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead doctor``."""
    add(parser, "--json", "one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Print the checks; 2 when something that is needed is broken."""
    found = checks()
    can_score = all(check.state != "broken" for check in found)
    if args.json:
        print_json({"can_score": can_score, **_sorted(found)})
        return 0 if can_score else 2
    console = Console()
    width = max(len(check.name) for check in found)
    for check in found:
        state = console.paint(f"{check.state:<7}", STYLES[check.state])
        console.say(f"{state}  {check.name:<{width}}  {check.detail}")
        if check.cure:
            console.say(f"{'':<9}{'':<{width}}  cure: {check.cure}")
    absent = sum(check.state == "missing" for check in found)
    console.say()
    if not can_score:
        console.say("This machine cannot score frames: cure what is broken above.")
        console.next("edgead doctor")
        return 2
    console.say(f"This machine can score frames; {count(absent, 'optional part')} not usable.")
    console.next("edgead verify NAME.edgead")
    return 0


def _sorted(found: Sequence[Check]) -> dict[str, list[dict[str, str | bool]]]:
    """What is there, and what is not with its cause and cure; ``needed``: scoring needs it."""
    return {
        "ok": [
            {"what": check.name, "detail": check.detail} for check in found if check.state == "ok"
        ],
        "missing": [
            {
                "what": check.name,
                "cause": check.detail,
                "cure": check.cure,
                "needed": check.state == "broken",
            }
            for check in found
            if check.state != "ok"
        ],
    }


@dataclass(frozen=True)
class Check:
    """One line of ``edgead doctor``.

    ``state``: "ok"; "missing" for something optional; "broken" for what scoring needs.
    ``cure``: what to type or do, "" where nothing is to be done.
    """

    name: str
    state: str
    detail: str
    cure: str = ""


def checks() -> list[Check]:
    """All checks, the needed ones first. Never raises: a probe that fails is a check."""
    found: list[Check] = []
    for probe in PROBES:
        try:
            found += probe()
        except Exception as error:  # a broken package may raise anything at import
            name, reason = probe.__name__.strip("_"), f"{type(error).__name__}: {error}"
            hint = "in a clone of edgead: pip install --force-reinstall ."
            found.append(Check(name.replace("_", " "), "broken", reason, hint))
    return found


def _python() -> Iterator[Check]:
    yield Check("edgead", "ok", f"{__version__} in {Path(__file__).parents[1]}")
    yield Check("python", "ok", f"{platform.python_version()}, {sys.executable}")
    quota = cpu_quota()
    limit = "no CPU quota" if quota is None else f"CPU quota of {quota:.3g} cores"
    used = f"{count(affinity(), 'core')} for this process, {limit}: {count(cores(), 'thread')}"
    yield Check("processor", "ok", f"{processor_name()}, {used}")


def _numpy() -> Iterator[Check]:
    yield Check("numpy", "ok", import_module("numpy").__version__)


def _opencv() -> Iterator[Check]:
    trouble = opencv_trouble()
    if trouble is not None:
        yield Check("opencv", "broken", *trouble)
        return
    from_pip = opencv_distributions()
    cv2 = import_module("cv2")
    gstreamer = re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()) is not None
    detail = f"{cv2.__version__}, {'with' if gstreamer else 'without'} GStreamer"
    if len(from_pip) > 1:
        detail += f"; {' and '.join(from_pip)} share one folder: removing one breaks the other"
    yield Check("opencv", "ok", detail)
    yield from _gstreamer(gstreamer, Path(cv2.__file__ or "").parent, from_pip)
    yield Check("simplejpeg", "ok", import_module("simplejpeg").__version__)


def _gstreamer(there: bool, folder: Path, from_pip: Sequence[str]) -> Iterator[Check]:
    """Cameras of a Jetson take it; elsewhere its absence is worth a line if another cv2 has it."""
    hidden = hidden_opencv()
    if there or (hidden is None and not on_jetson()):
        return
    if hidden is None:
        reason = f"the OpenCV in {folder} was built without it: no camera pipeline opens"
        hint = f"apt-get install libopencv-python, {JETPACK_ENVIRONMENT}"
    else:
        reason = f"the OpenCV in {folder} hides that in {hidden}, which may have it"
        hint = f'pip uninstall -y {" ".join(from_pip)} && pip install "numpy<2"'
    yield Check("gstreamer", "missing", reason, hint)


def _openvino() -> Iterator[Check]:
    try:
        openvino = import_openvino()
    except DeviceError as error:
        reason, _, hint = str(error).rpartition("; ")
        yield Check("openvino", "broken", reason, hint)
        return
    core = openvino.Core()
    devices = [f"{d} ({core.get_property(d, 'FULL_DEVICE_NAME')})" for d in core.available_devices]
    detail = f"{openvino.__version__.split('-')[0]}, devices: {', '.join(devices) or 'none'}"
    broken = not any(d.startswith("CPU") for d in core.available_devices)
    hint = "pip install --force-reinstall openvino" if broken else ""
    yield Check("openvino", "broken" if broken else "ok", detail, hint)


def _code() -> Iterator[Check]:
    refused = code_refused()
    if refused is None:
        yield Check("code in memory", "ok", "OpenVINO may compile its kernels")
        return
    reason, _, hint = refused.rpartition(": ")
    yield Check("code in memory", "broken", reason, hint)


def _kernels() -> Iterator[Check]:
    kinds = built()
    cuda = kinds["cuda"]
    yield Check("kernels cpu", "ok", f"{kinds['cpu']} instructions")
    if "device:" in cuda:
        yield Check("kernels cuda", "ok", cuda)
        return
    hint, driver = "install NVIDIA's driver; the CPU serves without it", nvidia_driver()
    if driver is not None and "(error 35)" in cuda:
        major, minor = driver_cuda(driver)
        hint = (
            f"this driver knows CUDA up to {major}.{minor}: install a newer one, or edgead built "
            f"with an nvcc of CUDA {major}"
        )
    if cuda.startswith("not built"):
        hint = (
            "with nvcc 11.7 or newer (of a driver for CUDA 13: pip install nvidia-cuda-nvcc), in a "
            "clone of edgead: EDGEAD_CUDA=ON pip install ."
        )
    yield Check("kernels cuda", "missing", cuda, hint)


def _nvidia_driver() -> Iterator[Check]:
    trouble, driver = gpu_trouble(), nvidia_driver()
    if trouble is not None or driver is None:
        yield Check("nvidia driver", "missing", *(trouble or ("", "")))
        return
    devices = ", ".join(f"{name}, sm_{sm.replace('.', '')}" for name, sm in nvidia_devices(driver))
    major, minor = driver_cuda(driver)
    yield Check("nvidia driver", "ok", f"CUDA up to {major}.{minor}: {devices}")


def _tensorrt() -> Iterator[Check]:
    from edgead.nvidia.plans.library import MODULES, find_library, installed

    for flavour, module in MODULES.items():
        if not installed(flavour):
            if flavour == "rtx" and on_jetson():  # which has none
                continue
            hint = f"to build and run plans on a GPU: {_tensorrt_cure(flavour)}"
            yield Check(module, "missing", "not installed; the CPU serves without it", hint)
            continue
        if flavour == "tensorrt" and (two := two_tensorrts()) is not None:
            yield Check(module, "missing", *two)
            continue
        try:
            yield Check(module, "ok", f"{find_library(flavour)} builds plans: edgead build")
        except DeviceError as error:
            reason, _, hint = str(error).rpartition("; ")
            yield Check(module, "missing", reason, hint)


def _tensorrt_cure(flavour: str) -> str:
    """By what the machine has: JetPack brings its own, a driver knows CUDA up to 12 or 13."""
    if flavour == "rtx":
        return cure("rtx")
    if on_jetson():
        return f"apt-get install python3-libnvinfer (pip's does not fit), {JETPACK_ENVIRONMENT}"
    driver = nvidia_driver()
    return cure("nvidia-cu12" if driver and driver_cuda(driver)[0] == 12 else "nvidia-cu13")


def _cuda_memory() -> Iterator[Check]:
    from edgead.nvidia.backend import CPU_SERVES
    from edgead.nvidia.memory import find_backend

    try:
        backend = find_backend()
        detail = f"{backend.name}, {count(backend.count(), 'device')}"
        yield Check("cuda memory", "ok", detail)
    except DeviceError as error:
        reason, _, hint = str(error).removesuffix(f"; {CPU_SERVES}").rpartition(": ")
        if "not built here" in reason:
            reason, hint = "edgead's CUDA kernels bring it", "that of kernels cuda"
        yield Check("cuda memory", "missing", reason, hint)


def _plan_cache() -> Iterator[Check]:
    from edgead.nvidia.plans.cache import PlanCache, plans_directory

    try:
        directory = plans_directory()
        if not os.path.lexists(directory):
            yield Check("plan cache", "ok", f"{directory}, not made yet")
            return
        entries = PlanCache(directory).entries()
    except DeviceError as error:
        yield Check("plan cache", "missing", str(error), "see docs/plans.md, the plan cache")
        return
    size = sum(entry.size for entry in entries)
    detail = f"{directory}: {count(len(entries), 'plan')}, {size / 1e6:.1f} MB"
    if os.access(directory, os.W_OK):
        yield Check("plan cache", "ok", detail)
    else:
        hint = "set EDGEAD_CACHE to a directory that you may write"
        yield Check("plan cache", "missing", f"{detail}, not writable", hint)


def _device_auto() -> Iterator[Check]:
    from edgead.serving.choice import choose

    choice = choose("auto")
    where = "the CPU" if choice.index is None else choice.device
    yield Check("device auto", "ok", f"{where} ({choice.reason})")


def _extras() -> Iterator[Check]:
    for extra, modules in EXTRAS.items():
        if extra in ("nvidia-cu12", "nvidia-cu13", "rtx", "pycuda", "jetson"):
            continue  # TensorRT and the memory of a device have lines of their own
        name, absent = f"extra {extra}", missing(extra)
        if absent:
            yield Check(name, "missing", f"not installed: {', '.join(absent)}", cure(extra))
        else:
            yield Check(name, "ok", ", ".join(modules))


def built() -> dict[str, str]:
    """Say which kernels this installation has.

    Returns:
        "cpu": the instruction set in use, "avx512" | "avx2" | "baseline" | "neon";
        "cuda": "not built" and why, or the architectures (sm_: code, compute_: PTX) and either the
        device or the reason why none can be used: "built for sm_87 sm_120 compute_120; unusable:
        ... (error 35)"
    """
    from edgead import _cpu  # here: a module that does not load is a line of the report

    if find_spec("edgead.nvidia._cuda") is None:
        reason = f": {NOT_BUILT.read_text().strip()}" if NOT_BUILT.exists() else ""
        return {"cpu": _cpu.simd_paths()[0], "cuda": f"not built{reason}"}
    from edgead.nvidia import _cuda as cuda

    code, text = cuda.status()
    state = f"device: {text}" if code == 0 else f"unusable: {text} (error {code})"
    return {"cpu": _cpu.simd_paths()[0], "cuda": f"built for {cuda.ARCHITECTURES}; {state}"}


PROBES: tuple[Callable[[], Iterator[Check]], ...] = (
    _python, _numpy, _opencv, _openvino, _code, _kernels, _nvidia_driver, _tensorrt, _cuda_memory,
    _plan_cache, _device_auto, _extras,
)  # fmt: skip

"""What an NVIDIA GPU is used with here, as JSON; without one, a sentence and exit code 2.

    python benchmarks/gpu_environment.py [--sh]

Needs Python alone: `make gpu-check` asks it before anything is installed. A fact that this machine
does not tell is "". ``--sh``: what edgead is built for and installed with here, for a shell: code
for these GPUs alone, and TensorRT for the driver's CUDA.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgead.installation import (
    driver_cuda,
    gpu_trouble,
    nvidia_devices,
    nvidia_driver,
    on_jetson,
)

JETPACK = Path("/etc/nv_tegra_release")  # "# R36 (release), REVISION: 4.3, ..."
NVCC_PLACES = ("nvcc", "/usr/local/cuda/bin/nvcc")
# The library that is imported decides, not what pip lists.
TENSORRT = (
    "import importlib.util as u\n"
    "for n in ('tensorrt', 'tensorrt_rtx'):\n"
    "    if u.find_spec(n): print(n, __import__(n).__version__)"
)


def missing() -> str | None:
    """In one sentence what is missing for a check of the GPU."""
    trouble = gpu_trouble()
    if trouble is not None:
        reason, cure = trouble
        return f"there is no NVIDIA GPU to check here, {reason}: {cure}"
    driver, nvcc = nvidia_driver(), _nvcc()
    known = (0, 0) if driver is None else driver_cuda(driver)
    if driver is not None and nvcc and int(nvcc.partition(".")[0]) > known[0]:
        return (
            f"nvcc {nvcc} makes kernels that this driver cannot run, which knows CUDA up to "
            "{}.{}: ".format(*known)
            + f"install a newer driver, or name an nvcc of CUDA {known[0]} in CUDACXX"
        )
    return None


def environment() -> dict[str, str]:
    """driver, cuda (of the driver), nvcc, tensorrt, device, sm and power_mode."""
    driver = nvidia_driver()
    names = nvidia_devices(driver) if driver is not None and gpu_trouble() is None else []
    device, sm = names[0] if names else ("", "")
    return {
        "driver": _driver_version(),
        "cuda": "" if driver is None else "{}.{}".format(*driver_cuda(driver)),
        "nvcc": _nvcc(),
        "tensorrt": ", ".join(said([sys.executable, "-c", TENSORRT]).splitlines()),
        "device": device,
        "sm": sm,
        "power_mode": _power_mode(),
    }


def said(command: Sequence[str]) -> str:
    """What a command prints, in ASCII; "" where it cannot be run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    return re.sub(r"[^\x20-\x7e\n]", "", done.stdout).strip() if done.returncode == 0 else ""


def _driver_version() -> str:
    found = said(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    if found:
        return found.splitlines()[0]
    release = re.search(r"R(\d+).*REVISION: ([\d.]+)", said(["cat", str(JETPACK)]))
    return f"Jetson Linux {release[1]}.{release[2]}" if release else ""


def _nvcc() -> str:
    named = os.environ.get("CUDACXX", "").split()[:1]
    nvcc = next(filter(None, map(shutil.which, named or NVCC_PLACES)), None)
    version = re.search(r"V([\d.]+)", said([nvcc, "--version"])) if nvcc else None
    return version[1] if version else ""


def _power_mode() -> str:
    """Of a Jetson the mode's name; of a desktop GPU the limit of its power."""
    mode = re.search(r"NV Power Mode: (.*)", said(["nvpmodel", "-q"]))
    if mode:
        return mode[1].strip()
    limit = said(["nvidia-smi", "--query-gpu=power.limit", "--format=csv,noheader"])
    return limit.splitlines()[0] if limit else ""


def for_shell() -> str:
    """Architectures of these GPUs, unless others are asked for, and the extras of pyproject.toml; a
    Jetson has its TensorRT from JetPack."""
    driver = nvidia_driver()
    numbers = {sm.replace(".", "") for _, sm in nvidia_devices(driver)} if driver else set()
    architectures = ";".join(f"{number}-real" for number in sorted(numbers))
    cuda = 12 if driver is not None and driver_cuda(driver)[0] <= 12 else 13
    extras = "test" if on_jetson() else f"nvidia-cu{cuda},test"
    return (
        f'export EDGEAD_CUDA_ARCHITECTURES="${{EDGEAD_CUDA_ARCHITECTURES:-{architectures}}}"\n'
        f'EXTRAS="${{EXTRAS:-{extras}}}"'
    )


def main() -> int:
    """Print the environment, or what is missing."""
    sentence = missing()
    if sentence is not None:
        print(f"gpu-check: {sentence}", file=sys.stderr)
        return 2
    if "--sh" in sys.argv[1:]:
        print(for_shell())
        return 0
    print(json.dumps(environment(), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What was built from csrc/, and what of it this machine can run."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from edgead import _cpu


def built() -> dict[str, str]:
    """Say which kernels this installation has.

    :returns: "cpu": the instruction set in use, "avx512" | "avx2" | "baseline" | "neon";
        "cuda": "not built" and why, or the architectures (sm_: code, compute_: PTX) and either the
        device or the reason why none can be used: "built for sm_87 sm_120 compute_120; unusable:
        ... (error 35)"
    """
    return {"cpu": _cpu.simd_paths()[0], "cuda": _cuda()}


def _cuda() -> str:
    if find_spec("edgead._cuda") is None:
        note = Path(_cpu.__file__).with_name("_cuda.not_built.txt")  # setup.py wrote it
        return f"not built: {note.read_text().strip()}" if note.exists() else "not built"
    from edgead import _cuda as cuda

    code, text = cuda.status()
    state = f"device: {text}" if code == 0 else f"unusable: {text} (error {code})"
    return f"built for {cuda.ARCHITECTURES}; {state}"

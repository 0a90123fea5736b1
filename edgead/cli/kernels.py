"""What was built from csrc/, and what of it this machine can run."""

from __future__ import annotations

from importlib.util import find_spec

from edgead import _cpu


def built() -> dict[str, str]:
    """Say which kernels this installation has.

    :returns: "cpu": the instruction set in use, "avx512" | "avx2" | "baseline" | "neon";
        "cuda": "not built", or the architectures and either the device or the reason why none can
        be used, for example "built for sm_87 sm_120; unusable: ... (error 35)"
    """
    return {"cpu": _cpu.simd_paths()[0], "cuda": _cuda()}


def _cuda() -> str:
    if find_spec("edgead._cuda") is None:
        return "not built"
    from edgead import _cuda as cuda

    code, text = cuda.status()
    state = f"device: {text}" if code == 0 else f"unusable: {text} (error {code})"
    return f"built for {cuda.ARCHITECTURES}; {state}"

"""Which devices the compiled kernels serve, on a SIMULATED one."""

from __future__ import annotations

import pytest
from simulation import Device

import edgead.nvidia
from edgead import DeviceError
from edgead.nvidia.kernels import load_kernels


@pytest.mark.parametrize(
    ("built", "capability", "fits"),
    [
        ("sm_87 sm_90", (8, 7), True),
        ("sm_75 compute_75", (8, 7), True),
        ("sm_86", (8, 7), False),  # a desktop's code does not run on a Jetson
        ("sm_90 compute_90", (8, 7), False),
        ("sm_75 sm_89", (8, 7), False),
        ("sm_75", (8, 7), False),
        ("sm_80", (8, 9), True),  # a later minor version
        ("sm_89", (8, 0), False),  # an earlier one
        ("sm_90", (10, 0), False),  # another major version
        ("compute_90", (12, 0), True),  # PTX is for all that is later
        ("compute_120", (9, 0), False),
        ("sm_87", (8, 9), False),  # a Jetson's code runs on no desktop
        ("sm_87", (9, 0), False),
        ("sm_110", (11, 0), True),
        ("sm_120", (12, 1), True),
    ],
)
def test_code_and_ptx_run_where_nvidia_says(
    device: Device,
    monkeypatch: pytest.MonkeyPatch,
    built: str,
    capability: tuple[int, int],
    fits: bool,
) -> None:
    """CUDA C++ Programming Guide, Binary Compatibility and PTX Compatibility."""
    monkeypatch.setattr(edgead.nvidia._cuda, "ARCHITECTURES", built)
    if fits:
        assert load_kernels(capability) is edgead.nvidia._cuda
    else:
        with pytest.raises(DeviceError, match=f"built for {built}, and this GPU is sm_"):
            load_kernels(capability)

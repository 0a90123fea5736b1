"""An int8 graph gives the same golden frames with VNNI and without it.

OpenVINO's kernels read ONEDNN_MAX_CPU_ISA, so that a processor can act as an older one. That it is
heeded is seen by graphs that only hold with VNNI: they are refused under the limit.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgead.bundle import open_bundle
from edgead.images import decode_image

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="AVX2 and VNNI are of x86"
)
KINDS = ("AVX2", "AVX512_CORE", "ALL")  # without VNNI, twice; all that this processor has


def verify(kind: str, path: Path) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "edgead", "verify", str(path), "--precision", "int8", "--json"],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": kind},
        capture_output=True,
        text=True,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def has_vnni() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return bool({"avx512_vnni", "avx_vnni"}.intersection(flags))


def test_the_golden_frames_hold_with_and_without_vnni(
    bundle_copy: Path, add_int8: Callable[..., None], tiny: Any
) -> None:
    """And the scores are those of onnxruntime, whatever the instructions."""
    add_int8(bundle_copy)
    truth = type(tiny.truth)(open_bundle(bundle_copy).read("model.int8.onnx"), tiny.manifest)
    golden = tiny.manifest.golden
    frames = [decode_image(tiny.files[one.image], one.image) for one in golden]
    off = [abs(truth(frame)[1] - one.score) for frame, one in zip(frames, golden, strict=True)]
    for kind in KINDS:
        code, report = verify(kind, bundle_copy)
        assert (code, report["qualified"]) == (0, True), kind
        found = [frame["score_difference"] for frame in report["checks"]]
        # Sums of integers are exact; the rest is float32.
        assert found == pytest.approx(off, abs=1e-5), kind


def test_weights_of_eight_bits_are_refused_without_vnni(
    bundle_copy: Path, add_int8: Callable[..., None]
) -> None:
    """They are closer to float32 where nothing saturates: this processor decides with VNNI."""
    add_int8(bundle_copy, largest=127)
    for kind in ("AVX2", "AVX512_CORE"):
        assert verify(kind, bundle_copy)[0] == 2, kind
    if has_vnni():
        assert verify("ALL", bundle_copy)[0] == 0

"""The header of a plan, of a real one and of damaged ones."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edgead.bundle.storage import Bundle
from edgead.errors import DeviceError
from edgead.nvidia.plans.header import check_header, read_header, said_by_header
from edgead.nvidia.plans.library import Library
from edgead.nvidia.plans.plan import Plan
from edgead.nvidia.plans.store import own_plan


def header(tag: bytes, version: tuple[int, int, int, int], size: int = 64) -> bytes:
    """64 bytes that begin like a plan."""
    return tag + bytes(12) + size.to_bytes(8, "little") + bytes(version) + bytes(36)


def library(flavour: str, *version: int) -> Library:
    return Library(flavour, version, SimpleNamespace())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def plan(plan_bundle: Bundle, rtx: Library, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    from edgead.nvidia.plans.cache import PlanCache

    cache = PlanCache(tmp_path_factory.mktemp("cache") / "plans")
    return own_plan(plan_bundle, rtx, device="", precision="float16", cache=cache)


def test_the_header_of_a_real_plan_says_which_library_wrote_it(plan: Plan, rtx: Library) -> None:
    found = read_header(plan.data, "plan")
    assert (found.flavour, found.version, found.size) == ("rtx", rtx.version[:3], len(plan.data))
    check_header(plan.data, rtx, "plan")


@pytest.mark.parametrize("kept", [0, 3, 31, 64, 5000])
def test_a_truncated_plan_is_known_by_its_header(plan: Plan, rtx: Library, kept: int) -> None:
    with pytest.raises(DeviceError, match=r"truncated.*edgead build NAME\.edgead"):
        check_header(plan.data[:kept], rtx, "cell.plan")


def test_a_plan_with_something_after_it_was_altered(plan: Plan, rtx: Library) -> None:
    with pytest.raises(DeviceError, match="truncated or altered"):
        check_header(plan.data + b"x", rtx, "cell.plan")


def test_a_plan_of_another_version_is_not_refused_and_said(plan: Plan, rtx: Library) -> None:
    """It may have been built to be compatible: TensorRT knows."""
    other = Library("rtx", (rtx.version[0], rtx.version[1] + 1, 0), rtx.module)
    check_header(plan.data, other, "cell.plan")
    said = said_by_header(plan.data, other)
    assert said == f" (its header says TensorRT-RTX {'.'.join(map(str, rtx.version[:3]))})"
    assert said_by_header(plan.data, rtx) == ""


def test_a_plan_of_the_other_flavour(plan: Plan) -> None:
    with pytest.raises(DeviceError, match=r"a plan of TensorRT-RTX, and here runs TensorRT 10\.3"):
        check_header(plan.data, library("tensorrt", 10, 3, 0), "cell.plan")
    full = header(b"ftrt", (10, 3, 0, 26))
    with pytest.raises(DeviceError, match=r"a plan of TensorRT, and here runs TensorRT-RTX"):
        check_header(full, library("rtx", 1, 7, 1), "cell.plan")


@pytest.mark.parametrize("version", [(8, 6, 1), (10, 3, 0), (11, 4, 0)])
def test_a_header_of_the_full_tensorrt_is_held_against_its_version(version) -> None:
    data = header(b"ftrt", (*version, 6))
    assert said_by_header(data, library("tensorrt", *version)) == ""
    text = f"its header says TensorRT {'.'.join(map(str, version))}"
    assert text in said_by_header(data, library("tensorrt", 10, 4, 0))
    other_layout = data[:4] + b"\1\0\0\0" + data[8:]
    assert said_by_header(other_layout, library("tensorrt", 10, 4, 0)) == ""


def test_bytes_that_are_no_version_are_left_to_tensorrt() -> None:
    """The place of the version is known from the guide only; a wrong one must refuse nothing."""
    data, ours = header(b"ftrt", (0, 0, 0, 0)), library("tensorrt", 10, 3, 0)
    check_header(data, ours, "cell.plan")
    assert said_by_header(data, ours) == ""


def test_what_is_no_plan() -> None:
    for data, said in (
        (b"\x89PNG" + bytes(100), "is not a plan of TensorRT;"),
        (b"\x10\0\0\0{}" + header(b"ftrt", (10, 3, 0, 26)), "after other data"),
    ):
        with pytest.raises(DeviceError, match=said):
            read_header(data, "cell.plan")

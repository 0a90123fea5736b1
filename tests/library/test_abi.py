"""What programs built with edgead.h rely on stays as csrc/abi.txt has it, or a test names it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_the_library_is_the_one_of_the_table(abi: Any, installed: Path) -> None:
    if struct.calcsize("P") != 8:
        pytest.skip("the table is of 64-bit pointers")
    found = abi.table(installed / "lib" / "libedgead.so")
    assert not (why := abi.difference(abi.TABLE.read_text(), found)), why


def test_every_function_is_exported_with_a_version(abi: Any) -> None:
    lines = abi.TABLE.read_text().splitlines()
    symbols = {x.split()[1].split("@")[0] for x in lines if x.startswith("symbol ")}
    functions = {x.split("(")[0].split()[-1].lstrip("*") for x in lines if x.startswith("function")}
    assert symbols == functions and len(symbols) >= 18
    assert all("@@EDGEAD_" in x for x in lines if x.startswith("symbol "))


BREAKS: dict[str, Callable[[str], str]] = {
    "fields that change places": lambda h: h.replace(
        "  double score; ", "  double p_value; "
    ).replace("  double p_value;       /* share", "  double score;       /* share"),
    "a field of another type": lambda h: h.replace(
        "int32_t bit_depth;             /* that", "int64_t bit_depth;             /* that"
    ),
    "a field that goes": lambda h: h.replace("  double p_value; ", "  //"),
    "a value that changes": lambda h: h.replace("EDGEAD_RGB16 = 8", "EDGEAD_RGB16 = 80"),
    "a value that goes": lambda h: h.replace("EDGEAD_GRAY16 = 2,", ""),
    "a longer struct without its size": lambda h: h.replace(
        "  int64_t area; ", "  int64_t area, weight; "
    ),
    "another argument": lambda h: h.replace("size_t capacity);", "int32_t capacity);", 1),
    "a function that goes": lambda h: h.replace("edgead_engine(", "edgead_motor("),
}
GROWS: dict[str, Callable[[str], str]] = {
    "a field at the end": lambda h: h.replace("total_ms;\n", "total_ms;\n  double map_ms;\n"),
    "another value": lambda h: h.replace("EDGEAD_RGB16 = 8", "EDGEAD_RGB16 = 8, EDGEAD_X = 99"),
    "another function": lambda h: h.replace(
        "EDGEAD_API uint32_t", "EDGEAD_API void edgead_rest(void);\nEDGEAD_API uint32_t"
    ),
    "a newer interface": lambda h: h.replace("API_VERSION 1", "API_VERSION 2"),
    "another struct": lambda h: h.replace(
        "typedef struct edgead_session edgead_session;",
        "typedef struct edgead_session edgead_session;\n"
        "typedef struct edgead_more { size_t struct_size; } edgead_more;",
    ),
}


def changed(abi: Any, folder: Path, change: Callable[[str], str]) -> str:
    """What is said of the header with a change."""
    header = abi.HEADER.read_text()
    other = folder / "edgead.h"
    other.write_text(change(header))
    assert other.read_text() != header
    before, after = abi.declared(abi.HEADER), abi.declared(other)
    return str(abi.difference("\n".join(before), "\n".join(after)))


@pytest.mark.parametrize("kind", BREAKS)
def test_what_breaks_programs_asks_for_a_new_soversion(abi: Any, tmp_path: Path, kind: str) -> None:
    assert "raise SOVERSION" in changed(abi, tmp_path, BREAKS[kind])


@pytest.mark.parametrize("kind", GROWS)
def test_what_is_added_asks_for_a_new_version_of_the_interface(
    abi: Any, tmp_path: Path, kind: str
) -> None:
    said = changed(abi, tmp_path, GROWS[kind])
    assert "raise EDGEAD_API_VERSION" in said and "make abi" in said


def test_comments_and_their_places_change_nothing(abi: Any, tmp_path: Path) -> None:
    assert changed(abi, tmp_path, lambda h: h.replace("/* ", "/* indeed ")) == ""

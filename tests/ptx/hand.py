"""Runs PTX that a test writes by hand."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from interpreter.machine import launch
from interpreter.memory import GAP, Memory, Place, Traffic
from interpreter.program import Program
from interpreter.text import SIZES, parse

REGISTERS = (
    ".reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<8>; .reg .f32 %f<8>; .reg .b64 %l<8>; "
    ".reg .f64 %d<8>;"
)
FIRST = 0x7F0000000000  # the address of the first buffer


def run(
    body: str,
    *,
    buffers: Mapping[str, np.ndarray],
    threads: int | tuple[int, int, int] = 1,
    blocks: int | tuple[int, int, int] = 1,
    shift: int = 0,
    traffic: Traffic | None = None,
) -> dict[str, np.ndarray]:
    """What the buffers hold in the end. ``%name`` is each one's address; see REGISTERS for others.

    Buffers lie one after another, each ``shift`` bytes off a multiple of 256.
    """
    parameters = ", ".join(f".param .u64 of_{name}" for name in buffers)
    loads = "".join(f".reg .b64 %{name}; ld.param.u64 %{name}, [of_{name}];\n" for name in buffers)
    program = Program(
        parse(f".visible .entry kernel({parameters}) {{ {REGISTERS}\n{loads}{body}\n}}")["kernel"]
    )
    places, at = [], shift
    for name, array in buffers.items():
        places.append(Place(name, FIRST + at, array.nbytes, at))
        at = (at + array.nbytes + GAP + 255) // 256 * 256 + shift
    memory = Memory("global", places, granule=program.granule("global"), traffic=traffic)
    for place in places:
        memory.fill(place, buffers[place.name].tobytes())
    arguments = [struct.pack("<Q", place.begin) for place in places]
    launch(program, dimensions(blocks), dimensions(threads), arguments, memory)
    return {
        place.name: memory.bytes[place.at : place.at + place.size].view(buffers[place.name].dtype)
        for place in places
    }


def dimensions(given: int | tuple[int, int, int]) -> tuple[int, int, int]:
    return (given, 1, 1) if isinstance(given, int) else given


def one_value(body: str, to: str, given: Mapping[str, Any]) -> int:
    """The bits of register ``to`` after ``body`` in one thread; ``given`` are registers' bits."""
    letters = {"h": "b16", "r": "b32", "f": "f32", "l": "b64", "d": "f64"}
    data = np.zeros(8 * (len(given) + 1), np.uint8)
    setup = ""
    for i, (register, bits) in enumerate(given.items()):
        kind = letters[register[1]]
        size = SIZES[kind]
        data[8 * i + 8 : 8 * i + 8 + size] = np.frombuffer(int(bits).to_bytes(size, "little"), "u1")
        setup += f"ld.global.{kind} {register}, [%data+{8 * i + 8}];\n"
    kind = letters[to[1]]
    body = f"{setup}{body}\nst.global.{kind} [%data], {to};\nret;"
    found = run(body, buffers={"data": data})["data"]
    return int.from_bytes(found[: SIZES[kind]].tobytes(), "little")

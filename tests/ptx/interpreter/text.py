"""Reads PTX text: kernels with their parameters, registers, variables and instructions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# Bytes of PTX's fundamental types.
SIZES = {
    **dict.fromkeys(("b8", "u8", "s8", "pred"), 1),
    **dict.fromkeys(("b16", "u16", "s16", "f16"), 2),
    **dict.fromkeys(("b32", "u32", "s32", "f32"), 4),
    **dict.fromkeys(("b64", "u64", "s64", "f64"), 8),
}


class PtxError(Exception):
    """What the interpreter finds wrong, or does not know."""


@dataclass(frozen=True)
class Address:
    """``[base + offset]``; the base is a register or a variable, or "" for none."""

    base: str
    offset: int


@dataclass(frozen=True)
class Instruction:
    """``@guard opcode operands``; a tuple among the operands is a vector ``{a, b}``."""

    opcode: tuple[str, ...]
    operands: tuple[str | Address | tuple[str, ...], ...]
    guard: str = ""  # the predicate; "!" before it: where it is false
    text: str = ""


@dataclass(frozen=True)
class Variable:
    """Of a parameter, shared or local memory."""

    name: str
    size: int
    alignment: int


@dataclass
class Kernel:
    """One ``.entry``."""

    name: str
    parameters: list[Variable] = field(default_factory=list)
    registers: dict[str, str] = field(default_factory=dict)  # name: type
    shared: list[Variable] = field(default_factory=list)
    local: list[Variable] = field(default_factory=list)
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)  # to the instruction after


VARIABLE = re.compile(
    r"(?:\.align\s+(?P<alignment>\d+)\s+)?\.(?P<type>[a-z]\w*)\s+"
    r"(?:\.ptr\s+(?:\.\w+\s+)?(?:\.align\s+\d+\s+)?)?"
    r"(?P<name>[\w$%]+)(?P<dimensions>(?:\[\d*\])*)\s*$"
)
REGISTERS = re.compile(r"\.(\w+)\s+(.*)$", re.DOTALL)
ENTRY = re.compile(r"\.entry\s+([\w$]+)\s*(\([^)]*\))?[^{;]*\{")


def parse(text: str) -> dict[str, Kernel]:
    """The kernels of a module, by name."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    kernels = {}
    module_shared: list[Variable] = []
    outside, at = "", 0
    for entry in ENTRY.finditer(text):
        outside += text[at : entry.start()]
        at = _closing(text, entry.end())
        kernel = Kernel(entry[1])
        for parameter in filter(str.strip, (entry[2] or "()")[1:-1].split(",")):
            kernel.parameters.append(_variable(parameter.strip().removeprefix(".param").strip()))
        _read_body(text[entry.end() : at - 1], kernel)
        kernels[kernel.name] = kernel
    for statement in (outside + text[at:]).split(";"):
        found = re.search(r"\.(shared|global|const|func)\b(.*)$", statement, re.DOTALL)
        if found is None:
            continue
        if found[1] != "shared":
            raise PtxError(f".{found[1]} outside a kernel is not known: {statement.strip()[:80]}")
        module_shared.append(_variable(found[2].strip()))
    for kernel in kernels.values():
        kernel.shared += module_shared
    return kernels


def _closing(text: str, at: int) -> int:
    """Just after the brace that closes the one before ``at``."""
    depth = 1
    for brace in re.compile(r"[{}]").finditer(text, at):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.end()
    raise PtxError("a brace is not closed")


def _variable(text: str) -> Variable:
    found = VARIABLE.match(text)
    if found is None or found["type"] not in SIZES:
        raise PtxError(f"not known as a variable: {text[:80]}")
    size = SIZES[found["type"]]
    alignment = int(found["alignment"] or size)
    for dimension in re.findall(r"\[(\d*)\]", found["dimensions"]):
        if dimension == "":
            raise PtxError(f"shared memory sized at the launch is not known: {text[:80]}")
        size *= int(dimension)
    return Variable(found["name"], size, alignment)


def _read_body(text: str, kernel: Kernel) -> None:
    for whole in text.split(";"):
        statement = whole.strip()
        # Inline assembly stands in braces of its own; its registers count as the kernel's.
        while found := re.match(r"[{}]\s*|([\w$]+):\s*", statement):
            if found[1]:
                kernel.labels[found[1]] = len(kernel.code)
            statement = statement[found.end() :]
        if not statement or statement.startswith(".pragma"):
            continue
        if statement.startswith(".reg"):
            _declare(statement.removeprefix(".reg").strip(), kernel)
        elif statement.startswith((".shared", ".local")):
            kind, rest = statement[1:].split(None, 1)
            getattr(kernel, kind).append(_variable(rest))
        elif statement.startswith("."):
            raise PtxError(f"not known: {statement[:80]}")
        else:
            kernel.code.append(_instruction(statement))


def _declare(text: str, kernel: Kernel) -> None:
    found = REGISTERS.match(text)
    if found is None or found[1] not in SIZES:
        raise PtxError(f"not known as registers: {text[:80]}")
    for name in (part.strip() for part in found[2].split(",")):
        several = re.match(r"(.*)<(\d+)>$", name)
        names = [f"{several[1]}{i}" for i in range(int(several[2]))] if several else [name]
        for one in names:
            if SIZES[kernel.registers.setdefault(one, found[1])] != SIZES[found[1]]:
                raise PtxError(f"register {one} is declared as {found[1]} and as another type")


def _instruction(text: str) -> Instruction:
    found = re.match(r"(?:@(!?[\w%$]+)\s+)?([a-z][\w.:]*)\s*(.*)$", text, re.DOTALL)
    if found is None:
        raise PtxError(f"not known: {text[:80]}")
    # Split at commas outside braces and brackets; of a shuffle the predicate after "|" too.
    operands = filter(str.strip, re.split(r"[,|](?![^{\[]*[}\]])", found[3]))
    return Instruction(
        tuple(found[2].split(".")),
        tuple(_operand(operand.strip()) for operand in operands),
        found[1] or "",
        " ".join(text.split()),
    )


def _operand(text: str) -> str | Address | tuple[str, ...]:
    if text.startswith("{"):
        return tuple(part.strip() for part in text[1:-1].split(","))
    if not text.startswith("["):
        return text
    found = re.match(r"\[\s*([%$\w]*)\s*(?:\+\s*(-?\d+))?\s*\]$", text)
    if found is None:
        raise PtxError(f"not known as an address: {text}")
    if found[1].isdigit():
        return Address("", int(found[1]) + int(found[2] or 0))
    return Address(found[1], int(found[2] or 0))

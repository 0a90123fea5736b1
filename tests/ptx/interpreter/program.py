"""A kernel's instructions as functions of the machine and the threads that execute them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import opcodes
from .text import Address, Instruction, Kernel, PtxError

if TYPE_CHECKING:
    from .machine import Machine

# Numbers of threads within the machine, in order; a whole slice is all of them.
Lanes = Any
Step = Callable[["Machine", Lanes], None]
MEMORIES = ("global", "shared", "local", "param")
SPECIAL = tuple(f"%{name}.{axis}" for name in ("tid", "ntid", "ctaid", "nctaid") for axis in "xyz")
SPECIAL += ("%laneid",)
JUMPS = ("bra", "ret", "exit")


def meets(instruction: Instruction) -> bool:
    """Whether threads wait there for each other."""
    return instruction.opcode[0] in ("bar", "barrier", "shfl", "mma", "vote", "activemask")


class Program:
    """A kernel's code in pieces, made ready once for all its launches."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.number = {name: i for i, name in enumerate(kernel.registers)}
        self.widths = [opcodes.DTYPES[kind] for kind in kernel.registers.values()]
        self.steps = [self._step(instruction) for instruction in kernel.code]
        starts = {0, *kernel.labels.values()}
        for i, instruction in enumerate(kernel.code):
            if instruction.opcode[0] in JUMPS:
                starts.add(i + 1)
            elif meets(instruction):
                starts |= {i, i + 1}
        self.starts = sorted(start for start in starts if start <= len(kernel.code))
        if self.starts[-1] != len(kernel.code):
            self.starts.append(len(kernel.code))
        self.piece_at = {start: piece for piece, start in enumerate(self.starts)}
        self.meeting = [meets(kernel.code[start]) for start in self.starts[:-1]]

    def granule(self, kind: str) -> int:
        """The size of the smallest access to shared or global memory."""
        accesses = (i.opcode for i in self.kernel.code if i.opcode[0] in ("ld", "st", "atom"))
        ours = (opcode for opcode in accesses if kind in opcode and "nc" not in opcode)
        return min([4, *(opcodes.DTYPES[opcode[-1]].itemsize for opcode in ours)])

    def _step(self, instruction: Instruction) -> Step:
        if instruction.opcode[0] in JUMPS or meets(instruction):
            return lambda machine, lanes: None  # the machine does these itself
        step = self._unguarded(instruction)
        if not instruction.guard:
            return step
        register, negated = self.predicate(instruction.guard)

        def guarded(machine: Machine, lanes: Lanes) -> None:
            chosen = machine.chosen(lanes, machine.registers[register][lanes] != negated)
            if len(chosen):
                step(machine, chosen)

        return guarded

    def predicate(self, text: str) -> tuple[int, bool]:
        return self.number[text.removeprefix("!")], text.startswith("!")

    def _unguarded(self, instruction: Instruction) -> Step:
        opcode, operands = instruction.opcode, instruction.operands
        try:
            if opcode[0] in ("ld", "st", "atom"):
                return self._access(opcode, operands)
            if opcode[0] == "cvta":  # the memories that the kernels name begin at address 0
                return self._apply(np.copy, opcode[-1], opcode[-1], operands)
            if opcode[0] == "mov" and tuple in map(type, operands):
                return self._move_vector(operands)
            return self._arithmetic(opcode, operands)
        except (KeyError, ValueError, StopIteration) as error:
            raise PtxError(f"not known: {instruction.text}") from error

    def _arithmetic(self, opcode: tuple[str, ...], operands: Sequence[Any]) -> Step:
        kind, name = opcode[-1], ".".join(opcode[:-1])
        if opcode[0] == "cvt":
            to = opcodes.DTYPES[opcode[-2]]
            modifiers = opcode[1:-2]
            opcodes.convert(modifiers, to, np.zeros(1, opcodes.DTYPES[kind]))  # known?
            convert = lambda a: opcodes.convert(modifiers, to, a)  # noqa: E731
            return self._apply(convert, opcode[-2], kind, operands)
        if opcode[0] == "setp":
            if len(opcode) != 3:
                raise KeyError(name)
            opcodes.compare(opcode[1], *np.zeros((2, 1), opcodes.DTYPES[kind]))  # known?
            return self._apply(
                lambda a, b: opcodes.compare(opcode[1], a, b), "pred", kind, operands
            )
        if opcode[0] == "selp":
            choose = lambda a, b, p: np.where(p, a, b)  # noqa: E731
            return self._apply(choose, kind, kind, operands, {2: "pred"})
        if name == "mul.wide":
            wide = f"{kind[0]}{2 * int(kind[1:])}"
            to = opcodes.DTYPES[wide]
            return self._apply(lambda a, b: a.astype(to) * b.astype(to), wide, kind, operands)
        if name in ("shl", "shr"):
            return self._apply(opcodes.ARITHMETIC[name], kind, kind, operands, {1: "u32"})
        function = opcodes.FUSED.get((name, kind)) or opcodes.ARITHMETIC[name]
        return self._apply(function, kind, kind, operands)

    def _apply(
        self,
        function: Callable[..., np.ndarray],
        to: str,
        kind: str,
        operands: Sequence[Any],
        others: dict[int, str] = {},  # noqa: B006
    ) -> Step:
        """operands[0] = function(the others), which are of type ``kind``."""
        write = self.write(operands[0], to)
        reads = [self.read(o, others.get(i, kind)) for i, o in enumerate(operands[1:])]

        def step(machine: Machine, lanes: Lanes) -> None:
            write(machine, lanes, function(*[read(machine, lanes) for read in reads]))

        return step

    def read(self, text: str, kind: str) -> Callable[[Machine, Lanes], np.ndarray]:
        dtype = opcodes.DTYPES[kind]
        if text.startswith("!"):
            inner = self.read(text[1:], kind)
            return lambda machine, lanes: ~inner(machine, lanes)
        if text in self.number:
            number, width = self.number[text], self.widths[self.number[text]]
            if width.itemsize == dtype.itemsize:
                return lambda machine, lanes: machine.registers[number][lanes].view(dtype)
            # A narrow type reads the low bits of a wider register.
            return lambda machine, lanes: (
                machine.registers[number][lanes].astype(f"u{dtype.itemsize}").view(dtype)
            )
        if text in SPECIAL:
            return lambda machine, lanes: machine.special(text)[lanes].astype(dtype)
        variable = self._variable(text)
        if variable is not None:
            return lambda machine, lanes: np.array(
                [machine.memories[variable].place(text).begin], dtype
            )
        constant = opcodes.immediate(text, dtype)  # one value stands for all
        return lambda machine, lanes: constant

    def _variable(self, name: str) -> str | None:
        kernel = self.kernel
        for kind, variables in (
            ("param", kernel.parameters),
            ("shared", kernel.shared),
            ("local", kernel.local),
        ):
            if any(variable.name == name for variable in variables):
                return kind
        return None

    def write(self, register: str, kind: str) -> Callable[[Machine, Lanes, np.ndarray], None]:
        number = self.number[register]
        width, dtype = self.widths[number], opcodes.DTYPES[kind]

        def write(machine: Machine, lanes: Lanes, value: np.ndarray) -> None:
            value = np.asarray(value, dtype)
            # A wider register takes the sign of a signed value.
            same = value.view(width) if dtype.itemsize == width.itemsize else value.astype(width)
            machine.registers[number][lanes] = same

        if dtype.itemsize > width.itemsize or (dtype.kind == "b") != (width.kind == "b"):
            raise PtxError(f"register {register} cannot hold a {kind}")
        return write

    def _move_vector(self, operands: Sequence[Any]) -> Step:
        """mov.b64 {low, high}, whole, or the other way."""
        pack = isinstance(operands[1], tuple)
        whole, parts = operands[:: -1 if not pack else 1]
        size = self.widths[self.number[whole]].itemsize // len(parts)
        read_parts = [self.read(part, f"b{8 * size}") for part in parts]
        write_parts = [self.write(part, f"b{8 * size}") for part in parts]
        read, write = (make(whole, f"b{8 * size * len(parts)}") for make in (self.read, self.write))

        def step(machine: Machine, lanes: Lanes) -> None:
            if pack:
                found = np.broadcast_arrays(*(part(machine, lanes) for part in read_parts))
                values = np.stack(found, axis=1)
                write(machine, lanes, values.view(f"u{size * len(parts)}")[:, 0])
                return
            values = (
                np.ascontiguousarray(read(machine, lanes)).view(f"u{size}").reshape(-1, len(parts))
            )
            for i, part in enumerate(write_parts):
                part(machine, lanes, values[:, i].copy())

        return step

    def _access(self, opcode: tuple[str, ...], operands: Sequence[Any]) -> Step:
        (kind,) = (part for part in opcode[1:] if part in MEMORIES)
        dtype = opcodes.DTYPES[opcode[-1]]
        allowed = {"v2", "v4", "nc", kind, opcode[-1], *(("add",) if opcode[0] == "atom" else ())}
        if not allowed.issuperset(opcode[1:]):
            raise KeyError(opcode)
        pointer = "u32" if kind in ("shared", "local") else "u64"
        first, second = operands[:2]
        address: Address = first if opcode[0] == "st" else second
        base = self.read(address.base, pointer) if address.base else None
        width = self.widths[self.number[address.base]] if address.base in self.number else None
        if width is not None and width.itemsize == 8:
            base = self.read(address.base, "u64")

        def addresses(machine: Machine, lanes: Lanes) -> np.ndarray:
            found = base(machine, lanes) if base else np.zeros(1, np.uint64)
            return np.broadcast_to(found.astype(np.int64) + address.offset, machine.size_of(lanes))

        if opcode[0] == "atom":
            if dtype.kind == "f":
                raise KeyError(opcode)
            read, write = self.read(operands[2], opcode[-1]), self.write(first, opcode[-1])

            def add(machine: Machine, lanes: Lanes) -> None:
                memory, copy, who = machine.seen_by(kind, lanes)
                at = addresses(machine, lanes)
                before = memory.add(at, np.broadcast_to(read(machine, lanes), at.shape), copy, who)
                write(machine, lanes, before)

            return add
        values = first if opcode[0] == "ld" else second
        values = values if isinstance(values, tuple) else (values,)
        if opcode[0] == "ld":
            writes = [self.write(value, opcode[-1]) for value in values]

            def load(machine: Machine, lanes: Lanes) -> None:
                memory, copy, who = machine.seen_by(kind, lanes)
                at = addresses(machine, lanes)
                found = memory.load(at, dtype, len(writes), copy, who, promised="nc" in opcode)
                for write, value in zip(writes, found, strict=True):
                    write(machine, lanes, value)

            return load
        reads = [self.read(value, opcode[-1]) for value in values]

        def store(machine: Machine, lanes: Lanes) -> None:
            memory, copy, who = machine.seen_by(kind, lanes)
            found = [read(machine, lanes) for read in reads]
            memory.store(addresses(machine, lanes), found, copy, who)

        return store

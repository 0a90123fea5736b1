"""Runs the threads of some blocks of one kernel side by side.

The code is cut into pieces that all threads which come to them run to their end. Of the pieces in
which threads stand the first is next, so that those which took another way wait where the ways
meet. ``bar.sync`` and ``shfl.sync`` are pieces of their own: the threads of a block, or of a mask,
go on together, and where that cannot happen any more the run ends with an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from . import products
from .memory import Memory, Who
from .program import JUMPS, Lanes, Program
from .text import Instruction, PtxError, Variable

WARP = 32
LANES = 16384  # of a machine: enough for NumPy, few enough for the caches
ALL = slice(None)


def launch(
    program: Program,
    grid: Sequence[int],
    block: Sequence[int],
    arguments: Sequence[bytes],
    memory: Memory,
) -> None:
    """Every block of a grid; ``arguments`` are the bytes of each parameter."""
    kernel = program.kernel
    parameters = Memory.of_variables("param", _padded(kernel.parameters))
    if len(arguments) != len(kernel.parameters):
        raise PtxError(f"{len(arguments)} arguments for {len(kernel.parameters)} parameters")
    for variable, data in zip(kernel.parameters, arguments, strict=True):
        parameters.fill(parameters.place(variable.name), data)
    threads = int(np.prod(block))
    if not 0 < threads <= 1024:
        raise PtxError(f"a block of {threads} threads")
    blocks = int(np.prod(grid))
    abreast = max(1, LANES // threads)
    with np.errstate(all="ignore"):
        for first in range(0, blocks, abreast):
            several = range(first, min(first + abreast, blocks))
            Machine(program, grid, block, several, parameters, memory).run()
    memory.check_promises()


def _padded(variables: Sequence[Variable]) -> list[Variable]:
    return [Variable(v.name, v.size, max(8, v.alignment)) for v in variables]


class Machine:
    """The threads of ``blocks``, consecutive blocks of the grid."""

    def __init__(
        self,
        program: Program,
        grid: Sequence[int],
        block: Sequence[int],
        blocks: range,
        parameters: Memory,
        memory: Memory,
    ) -> None:
        self.program = program
        self.threads = int(np.prod(block))
        self.size = self.threads * len(blocks)
        self.registers = [np.zeros(self.size, width) for width in program.widths]
        lanes = np.arange(self.size)
        self.block = lanes // self.threads  # of those in this machine
        self.numbers = lanes + blocks.start * self.threads  # of the grid
        self.grid_block = self.block + blocks.start
        self.warp = self.block * (-(-self.threads // WARP)) + lanes % self.threads // WARP
        self.lane = lanes % self.threads % WARP
        self.phase = np.zeros(self.size, np.int64)  # barriers that its block has passed
        self.none = np.zeros(self.size, np.int64)
        self._specials = self._special_registers(grid, block)
        kernel = program.kernel
        shared = Memory.of_variables(
            "shared", kernel.shared, copies=len(blocks), granule=program.granule("shared")
        )
        local = Memory.of_variables("local", kernel.local, copies=self.size if kernel.local else 1)
        self.memories: Mapping[str, Memory] = {
            "param": parameters,
            "global": memory,
            "shared": shared,
            "local": local,
        }
        self._copies = {"shared": self.block, "local": lanes, "global": self.none}
        self._copies["param"] = self.none
        self.traffic = memory.traffic
        self.end = len(program.starts) - 1
        self.piece = np.zeros(self.size, np.int32)  # in which a thread stands
        self.waits = np.zeros(self.size, np.bool_)

    def _special_registers(
        self, grid: Sequence[int], block: Sequence[int]
    ) -> dict[str, np.ndarray]:
        inside, found = np.arange(self.size) % self.threads, {}
        for name, number, shape in (("tid", inside, block), ("ctaid", self.grid_block, grid)):
            for axis, length in zip("xyz", shape, strict=True):
                found[f"%{name}.{axis}"] = (number % length).astype(np.uint32)
                found[f"%n{name}.{axis}"] = np.full(self.size, length, np.uint32)
                number = number // length
        found["%laneid"] = self.lane.astype(np.uint32)
        return found

    # What a program's steps ask for.

    def special(self, name: str) -> np.ndarray:
        return self._specials[name]

    def size_of(self, lanes: Lanes) -> int:
        return self.size if isinstance(lanes, slice) else len(lanes)

    def chosen(self, lanes: Lanes, which: np.ndarray) -> np.ndarray:
        return np.flatnonzero(which) if isinstance(lanes, slice) else lanes[which]

    def seen_by(self, kind: str, lanes: Lanes) -> tuple[Memory, np.ndarray, Who]:
        who = Who(self.numbers[lanes], self.grid_block[lanes], self.phase[lanes])
        return self.memories[kind], self._copies[kind][lanes], who

    # The order of the threads.

    def run(self) -> None:
        """Until all threads have returned."""
        code = self.program.kernel.code
        while True:
            standing = np.where(self.waits, self.end, self.piece)
            piece = int(standing.min())
            if piece == self.end:
                break
            lanes: Lanes = np.flatnonzero(self.piece == piece)
            if len(lanes) == self.size:
                lanes = ALL
            begin, end = self.program.starts[piece : piece + 2]
            if self.traffic is not None:
                self.traffic.instructions += (end - begin) * len(np.unique(self.warp[lanes]))
            last = code[end - 1]
            if self.program.meeting[piece]:
                self._meet(piece, last, np.arange(self.size)[lanes])
                continue
            for number in range(begin, end):
                try:
                    self.program.steps[number](self, lanes)
                except PtxError as error:
                    raise PtxError(f"{error}\n  at: {code[number].text}") from error
            self._go_on(piece, last, lanes)
        if self.waits.any():
            raise PtxError(self._stuck())

    def _go_on(self, piece: int, last: Instruction, lanes: Lanes) -> None:
        if last.opcode[0] not in JUMPS:
            self.piece[lanes] = piece + 1
            return
        to = self.end
        if last.opcode[0] == "bra":
            to = self.program.piece_at[self.program.kernel.labels[str(last.operands[0])]]
        if last.guard:
            register, negated = self.program.predicate(last.guard)
            self.piece[lanes] = np.where(self.registers[register][lanes] != negated, to, piece + 1)
        else:
            self.piece[lanes] = to

    def _meet(self, piece: int, instruction: Instruction, lanes: np.ndarray) -> None:
        """Threads stand at an instruction that waits for others."""
        if instruction.opcode[:2] == ("bar", "sync") and instruction.operands == ("0",):
            arrived = np.bincount(self.block[lanes], minlength=int(self.block[-1]) + 1)
            going = arrived[self.block[lanes]] == self.threads
            self.phase[lanes[going]] += 1
        elif instruction.opcode[:2] == ("shfl", "sync"):
            going = self._shuffle(instruction, lanes)
        elif ".".join(instruction.opcode) == products.OPCODE:
            going = self._multiply(instruction, lanes)
        else:
            raise PtxError(f"not known: {instruction.text}")
        self.waits[lanes] = ~going
        self.piece[lanes[going]] = piece + 1

    def _shuffle(self, instruction: Instruction, lanes: np.ndarray) -> np.ndarray:
        """Does it for the warps whose masks are complete; which of ``lanes`` those are."""
        *_, mode, _ = instruction.opcode
        outputs, (a, b, c, mask) = instruction.operands[:-4], instruction.operands[-4:]
        read = lambda text: np.broadcast_to(  # noqa: E731
            self.program.read(text, "u32")(self, lanes), len(lanes)
        ).astype(np.int64)
        masks, lane = read(mask), self.lane[lanes]
        outside = (masks >> lane & 1) == 0
        if outside.any():
            self._refuse(instruction, lanes[outside], "is not in its own mask")
        present = np.zeros(int(self.warp[-1]) + 1, np.int64)
        np.bitwise_or.at(present, self.warp[lanes], 1 << lane)
        gone = np.zeros_like(present)
        returned = np.flatnonzero(self.piece == self.end)
        np.bitwise_or.at(gone, self.warp[returned], 1 << self.lane[returned])
        if (masks & gone[self.warp[lanes]]).any():
            bad = (masks & gone[self.warp[lanes]]) != 0
            self._refuse(instruction, lanes[bad], "names in its mask a thread that has returned")
        going = (masks & ~present[self.warp[lanes]]) == 0
        number, clamp = read(b) & 31, read(c)
        segment, low = clamp >> 8 & 31, clamp & 31
        first, last = lane & segment, (lane & segment) | (low & ~segment)
        source, valid = {
            "up": (lane - number, lane - number >= last),
            "down": (lane + number, lane + number <= last),
            "bfly": (lane ^ number, (lane ^ number) <= last),
            "idx": (first | (number & ~segment), (first | (number & ~segment)) <= last),
        }[mode]
        source = np.where(valid, source, lane)
        if (going & ((masks >> source & 1) == 0)).any():
            bad = going & ((masks >> source & 1) == 0)
            self._refuse(instruction, lanes[bad], "reads a thread outside its mask")
        values = np.zeros((len(present), WARP), np.uint32)
        own_masks = np.zeros((len(present), WARP), np.int64)
        values[self.warp[lanes], lane], own_masks[self.warp[lanes], lane] = read(a), masks
        if (going & (own_masks[self.warp[lanes], source] != masks)).any():
            bad = going & (own_masks[self.warp[lanes], source] != masks)
            self._refuse(instruction, lanes[bad], "and another disagree on the mask")
        found = values[self.warp[lanes], source][going]
        self.program.write(str(outputs[0]), "u32")(self, lanes[going], found)
        if len(outputs) > 1:
            self.program.write(str(outputs[1]), "pred")(self, lanes[going], valid[going])
        return going

    def _multiply(self, instruction: Instruction, lanes: np.ndarray) -> np.ndarray:
        """As ``_shuffle``, of a product that all threads of a warp make."""
        counts = np.bincount(self.warp[lanes], minlength=int(self.warp[-1]) + 1)
        going = counts[self.warp[lanes]] == WARP
        ready = lanes[going]
        returned = np.isin(self.warp[lanes], self.warp[self.piece == self.end])
        if returned.any():
            self._refuse(instruction, lanes[returned], "is of a warp that has returned in part")
        d, *given = (
            operand if isinstance(operand, tuple) else (operand,)
            for operand in instruction.operands
        )
        a, b, c = (
            np.stack(
                [
                    np.broadcast_to(self.program.read(text, "u32")(self, ready), len(ready))
                    for text in several
                ],
                axis=1,
            ).reshape(-1, WARP, len(several))
            for several in given
        )
        found = products.multiply_bytes(a, b, c.view(np.int32)).reshape(-1, len(d))
        for i, text in enumerate(d):
            self.program.write(text, "s32")(self, ready, np.ascontiguousarray(found[:, i]))
        if self.traffic is not None:
            self.traffic.multiply_adds += products.MULTIPLY_ADDS * len(ready) // WARP
        return going

    def _refuse(self, instruction: Instruction, lanes: np.ndarray, what: str) -> None:
        raise PtxError(f"thread {self.numbers[lanes[0]]} {what}\n  at: {instruction.text}")

    def _stuck(self) -> str:
        lane = int(np.flatnonzero(self.waits)[0])
        same = self.block == self.block[lane]
        code, starts = self.program.kernel.code, self.program.starts
        where = []
        for piece in np.unique(self.piece[same]):
            count = int((self.piece[same] == piece).sum())
            at = "has returned" if piece == self.end else f"waits at: {code[starts[piece]].text}"
            where.append(f"{count} of them: {at}")
        return (
            f"the threads of block {self.grid_block[lane]} do not all reach a barrier or shuffle "
            f"({'; '.join(where)})"
        )

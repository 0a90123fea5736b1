"""What the interpreter finds in hand-written PTX: races, bounds, alignment, barriers not met."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hand import FIRST, run
from interpreter.memory import Traffic
from interpreter.text import PtxError, parse

# Thread t's word: %r0 is t, %l1 the address of word t of `to`, %r1 of `s`, %r2 of its neighbour.
WORDS = """
    .shared .align 4 .b8 s[256];
    mov.u32 %r0, %tid.x; mul.wide.u32 %l0, %r0, 4; add.s64 %l1, %to, %l0;
    mov.u32 %r3, s; shl.b32 %r4, %r0, 2; add.s32 %r1, %r3, %r4;
    xor.b32 %r5, %r4, 4; add.s32 %r2, %r3, %r5;
"""
TO = {"to": np.zeros(64, np.uint32)}


def finds(message: str, body: str, **how) -> None:
    how = {"threads": 64, "buffers": TO, **how}
    with pytest.raises(PtxError, match=message):
        run(WORDS + body, **how)


def gives(body: str, **how) -> np.ndarray:
    return run(WORDS + body, **{"threads": 64, "buffers": TO, **how})["to"]


def test_a_barrier_orders_a_write_and_a_read():
    body = "st.shared.u32 [%r1], %r0; {} ld.shared.u32 %r6, [%r2]; st.global.u32 [%l1], %r6; ret;"
    np.testing.assert_array_equal(gives(body.format("bar.sync 0;")), np.arange(64) ^ 1)
    finds("race: .*reads what another thread writes.*\n  at: ld.shared.u32", body.format(""))


def test_a_barrier_orders_a_read_and_a_write():
    body = """
        st.shared.u32 [%r1], %r0; bar.sync 0; ld.shared.u32 %r6, [%r2]; {}
        st.shared.u32 [%r1], 7; st.global.u32 [%l1], %r6; ret;
    """
    np.testing.assert_array_equal(gives(body.format("bar.sync 0;")), np.arange(64) ^ 1)
    finds("race: .*writes what another thread reads", body.format(""))


@pytest.mark.parametrize("value", ["%r0", "5"])
def test_two_threads_that_write_one_word(value):
    finds("race: .*writes in the same step", f"st.shared.u32 [s], {value}; ret;")
    finds("race: .*writes in the same step", f"st.global.u32 [%to], {value}; ret;")
    finds("race: .*writes", "st.shared.u32 [%r1], 1; st.shared.u32 [%r2], 1; ret;")


def test_several_readers_of_a_word_are_all_remembered():
    body = """
        setp.eq.s32 %p0, %r0, 0; @%p0 st.shared.u32 [s], 1; bar.sync 0; ld.shared.u32 %r6, [s];
        setp.eq.s32 %p1, %r0, {}; {} @%p1 st.shared.u32 [s], 2; ret;
    """
    for thread in (0, 63):
        gives(body.format(thread, "bar.sync 0;"))
        finds("race: .*writes what another thread reads", body.format(thread, ""))


def test_halves_of_a_word_are_places_of_their_own():
    body = """
        cvt.u16.u32 %h0, %r0; shl.b32 %r4, %r0, 1; add.s32 %r1, %r3, %r4;
        st.shared.u16 [%r1], %h0; {} setp.lt.u32 %p0, %r0, 32;
        @%p0 shl.b32 %r4, %r0, 2; @%p0 add.s32 %r1, %r3, %r4; @%p0 ld.shared.u32 %r6, [%r1];
        @%p0 st.global.u32 [%l1], %r6; ret;
    """
    found = gives(body.format("bar.sync 0;"))
    np.testing.assert_array_equal(found.view(np.uint16)[:64], np.arange(64))
    finds("race", body.format(""))


def test_atomics_race_with_plain_accesses_only():
    zero = "setp.eq.s32 %p0, %r0, 0; @%p0 st.shared.u32 [s], 0;"
    add = "atom.shared.add.u32 %r6, [s], 2;"
    sum_ = "ld.shared.u32 %r6, [s]; st.global.u32 [%l1], %r6; ret;"
    found = gives(f"{zero} bar.sync 0; {add} {add} bar.sync 0; {sum_}")
    np.testing.assert_array_equal(found, np.full(64, 256))
    finds("race", f"{zero} {add} bar.sync 0; {sum_}")
    finds("race", f"{zero} bar.sync 0; {add} {sum_}")
    each = gives(f"{zero} bar.sync 0; {add} st.global.u32 [%l1], %r6; ret;")
    np.testing.assert_array_equal(np.sort(each), 2 * np.arange(64))  # as if one after the other


def test_blocks_are_not_ordered_by_barriers():
    body = """
        mov.u32 %r6, %ctaid.x; setp.eq.s32 %p0, %r6, {}; setp.eq.s32 %p1, %r0, 0;
        and.pred %p0, %p0, %p1; @%p0 {} [%to], 1; bar.sync 0; {} ret;
    """
    read = "@%p1 ld.global.u32 %r7, [%to];"
    for writer in (0, 1):
        finds("race", body.format(writer, "st.global.u32", read), blocks=2)
        gives(body.format(writer, "st.global.u32", ""), blocks=2)
    write = "bar.sync 0; @%p1 st.global.u32 [%to+4], 1;"
    finds("race", body.format(7, "st.global.u32", write), blocks=2)
    # Of blocks that do not run side by side too: 32 of 1024 threads are more than a machine has.
    last = "mov.u32 %r6, %ctaid.x; setp.eq.s32 %p0, %r6, {}; @%p0 st.global.u32 [%l1], 1; ret;"
    big = {"threads": 1024, "blocks": 32, "buffers": {"to": np.zeros(1024, np.uint32)}}
    gives(last.format(31), **big)
    every = "ld.global.u32 %r7, [%l1];" + last.format(31)
    finds("race", every, **big)


def test_a_promise_that_nobody_writes():
    gives("ld.global.nc.u32 %r6, [%l1]; ret;")
    finds("global.nc of what the kernel writes",
          "ld.global.nc.u32 %r6, [%l1]; st.global.u32 [%l1], %r6; ret;")  # fmt: skip


@pytest.mark.parametrize("access", ["ld.global.u32 %r6, [{}];", "st.global.u32 [{}], %r0;"])
def test_global_bounds(access):
    gives(access.format("%l1") + "ret;")
    finds("out of bounds of global memory.*to \\+ 256", access.format("%l1+4") + "ret;")
    finds("out of bounds of global memory", access.format("%l1+-4") + "ret;")
    finds("out of bounds", "mov.u64 %l1, 0; " + access.format("%l1") + "ret;")
    finds("out of bounds", access.format("%l1+252") + "ret;")
    # 16 bytes of which the first 8 are inside.
    wide = "ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%to+240]; ret;"
    gives(wide)
    finds("16 bytes out of bounds", wide, buffers={"to": np.zeros(62, np.uint32)})


def test_shared_local_and_parameter_bounds():
    store = "st.shared.u32 [%r1+{}], 1; ret;"
    gives(store.format(0))
    finds("out of bounds of shared memory", store.format(4))
    finds("out of bounds of shared memory", store.format(-4))
    # Of a variable, not only of all of them: the next one begins elsewhere.
    two = ".shared .align 4 .b8 t[256];"
    finds(r"out of bounds of shared memory.*s \+ 256", two + store.format(4))
    local = ".local .align 4 .b8 d[16]; mov.u64 %l2, d; {} ret;"
    gives(local.format("st.local.u32 [%l2+12], 1; ld.local.u32 %r6, [%l2+12];"))
    finds("out of bounds of local", local.format("st.local.u32 [%l2+16], 1;"))
    finds("out of bounds of param", "ld.param.u64 %l2, [of_to+8]; ret;")


@pytest.mark.parametrize(
    ("shift", "load"),
    [
        (1, "ld.global.u16 %h0, [%to];"),
        (2, "ld.global.u32 %r6, [%to];"),
        (4, "ld.global.f64 %d0, [%to];"),
        (8, "ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%to];"),
        (2, "ld.global.v4.u8 {%h1, %h2, %h3, %h4}, [%to];"),
    ],
)
def test_alignment(shift, load):
    gives(load + "ret;", shift=2 * shift)
    finds("misaligned in global memory", load + "ret;", shift=shift)


def test_what_was_never_written():
    finds("reads what was never written in shared memory", "ld.shared.u32 %r6, [%r1]; ret;")
    finds("never written", "atom.shared.add.u32 %r6, [s], 1; ret;")
    finds("never written in local", ".local .u32 d; ld.local.u32 %r6, [d]; ret;")


def test_ways_part_and_meet():
    """Each thread goes round its own number of times; all meet at the barrier."""
    body = """
        mov.u32 %r6, 0; mov.u32 %r7, 0;
      again:
        setp.ge.u32 %p0, %r6, %r0; @%p0 bra done;
        add.s32 %r7, %r7, %r6; add.s32 %r6, %r6, 1; bra.uni again;
      done:
        st.shared.u32 [%r1], %r7; bar.sync 0; ld.shared.u32 %r7, [%r2];
        st.global.u32 [%l1], %r7; ret;
    """
    t = np.arange(64) ^ 1
    np.testing.assert_array_equal(gives(body), t * (t - 1) // 2)


def test_numbers_of_threads_and_blocks():
    body = """
        mov.u32 %r0, %tid.x; mov.u32 %r1, %tid.y; mov.u32 %r2, %tid.z; mov.u32 %r3, %ntid.x;
        mov.u32 %r4, %ntid.y; mad.lo.s32 %r5, %r2, %r4, %r1; mad.lo.s32 %r5, %r5, %r3, %r0;
        mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ctaid.y; mov.u32 %r2, %ctaid.z;
        mov.u32 %r3, %nctaid.x; mov.u32 %r4, %nctaid.y;
        mad.lo.s32 %r6, %r2, %r4, %r1; mad.lo.s32 %r6, %r6, %r3, %r0;
        mad.lo.s32 %r7, %r6, 24, %r5; mul.wide.u32 %l0, %r7, 4; add.s64 %l1, %to, %l0;
        st.global.u32 [%l1], %r7; ret;
    """
    to = np.zeros(24 * 30, np.uint32)
    found = run(body, threads=(2, 3, 4), blocks=(5, 3, 2), buffers={"to": to})["to"]
    np.testing.assert_array_equal(found, np.arange(24 * 30))


def test_barriers_that_not_all_reach():
    half = "setp.lt.u32 %p0, %r0, 32; @%p0 bra out; bar.sync 0; out: {} ret;"
    finds("do not all reach.*32 of them: waits at: bar.sync 0.*32 of them: has returned",
          half.format(""))  # fmt: skip
    finds("do not all reach", half.format("add.s32 %r6, %r6, 1; bar.sync 0; add.s32 %r6, %r6, 1;"))
    shuffle = "shfl.sync.bfly.b32 %r6|%p1, %r0, 1, 31, {};"
    finds("not in its own mask", shuffle.format(1) + "ret;")
    finds("names in its mask a thread that has returned",
          "and.b32 %r5, %r0, 1; setp.eq.s32 %p0, %r5, 0; @%p0 ret; " + shuffle.format(-1)
          + "ret;")  # fmt: skip
    finds("reads a thread outside its mask",
          "and.b32 %r5, %r0, 1; setp.eq.s32 %p0, %r5, 0; @%p0 ret; "
          + shuffle.format(0xAAAAAAAA) + "ret;")  # fmt: skip
    finds("disagree on the mask", "setp.eq.s32 %p0, %r0, 1; "
          "selp.b32 %r7, 0x7FFFFFFF, -1, %p0; " + shuffle.format("%r7") + "ret;")  # fmt: skip
    finds("not known: bar.sync 1", "bar.sync 1; ret;")


def test_sectors_of_a_warp():
    """32 words in a row are 4 sectors; with a stride of two 8; all at one word: 1."""
    wide = {"to": np.zeros(256, np.uint32)}
    for body, sectors in (
        ("ld.global.u32 %r6, [%l1];", 4),
        ("mul.wide.u32 %l0, %r0, 8; add.s64 %l1, %to, %l0; ld.global.u32 %r6, [%l1];", 8),
        ("ld.global.u32 %r6, [%to];", 1),
        ("ld.global.u32 %r6, [%l1]; ld.global.u32 %r6, [%l1];", 8),
        ("setp.lt.u32 %p0, %r0, 9; @%p0 ld.global.u32 %r6, [%l1];", 2),
        ("mul.wide.u32 %l0, %r0, 16; add.s64 %l1, %to, %l0; "
         "ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%l1];", 16),
    ):  # fmt: skip
        traffic = Traffic()
        gives(body + "ret;", threads=32, buffers=wide, traffic=traffic)
        assert traffic.sectors == {"to": sectors}
    gives("ld.global.u32 %r6, [%l1]; ret;", threads=64, traffic=(two := Traffic()))
    assert two.sectors == {"to": 8} and two.bytes == {"to": 256}


def test_what_cannot_be_read_is_refused():
    for text, complaint in (
        (".const .align 4 .b8 t[8]; .entry k() { ret; }", "const outside a kernel"),
        (".entry k() { .reg .b99 %r<2>; ret; }", "not known as registers"),
        (".entry k() { .shared .align 4 .b8 s[]; ret; }", "sized at the launch"),
        (".entry k() { .reg .b32 %a; .reg .b64 %a; ret; }", "declared as b64 and as"),
        (".entry k() { ret; ", "a brace is not closed"),
        (".entry k() { .section x; ret; }", "not known: .section"),
    ):
        with pytest.raises(PtxError, match=re.escape(complaint)):
            parse(text)
    with pytest.raises(PtxError, match="cannot hold"):
        run("add.s64 %r0, %l0, 1; ret;", buffers=TO)
    assert FIRST % 256 == 0

"""Every opcode that nvcc makes of the kernels, on values whose results are computed by hand."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from compiled_kernels import KERNELS
from hand import one_value, run
from interpreter.program import JUMPS, meets
from interpreter.text import PtxError, parse


def f(value: float) -> int:
    """The bits of a float32."""
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


def d(value: float) -> int:
    """The bits of a float64."""
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


NAN, INF = 0x7FC00000, 0x7F800000
ONE_UP = f(1.0) + 1  # 1 + 2^-23
# (2^-12 (1 + 2^-23)) (2^-12 (1 - 2^-23)) = 2^-24 - 2^-70, added to 1 + 2^-23: just below a tie.
# Rounded to float64 first it is the tie, and would become 1 + 2^-22.
BELOW_A_TIE = {"%f0": f(2.0**-12) + 1, "%f1": f(2.0**-12 * (1 - 2.0**-23)), "%f2": ONE_UP}
M1 = 0xFFFFFFFF  # -1


def flag(compare: str) -> str:
    """1 where a comparison holds."""
    return f"{compare}; selp.u32 %r7, 1, 0, %p0;"


# (instructions, the register with the result, registers given, bits expected)
CASES = [
    ("add.s32 %r7, %r0, %r1;", "%r7", {"%r0": 0x7FFFFFFF, "%r1": 1}, 0x80000000),
    ("add.s64 %l7, %l0, -4;", "%l7", {"%l0": 1}, 2**64 - 3),
    ("sub.s32 %r7, %r0, 3;", "%r7", {"%r0": 1}, 2**32 - 2),
    ("mul.lo.s32 %r7, %r0, %r1;", "%r7", {"%r0": 0x10001, "%r1": 0x10001}, 0x20001),
    ("mul.lo.s64 %l7, %l0, %l1;", "%l7", {"%l0": 2**32 + 1, "%l1": 2**32 + 1}, 2**33 + 1),
    ("mul.hi.s32 %r7, %r0, %r1;", "%r7", {"%r0": M1, "%r1": 2}, M1),
    ("mul.hi.u32 %r7, %r0, %r1;", "%r7", {"%r0": M1, "%r1": 2}, 1),
    ("mul.wide.s32 %l7, %r0, %r1;", "%l7", {"%r0": M1, "%r1": 5}, 2**64 - 5),
    ("mul.wide.u32 %l7, %r0, 4;", "%l7", {"%r0": M1}, 4 * M1),
    ("mad.lo.s32 %r7, %r0, %r1, -2;", "%r7", {"%r0": 3, "%r1": M1}, 2**32 - 5),
    ("div.s32 %r7, %r0, 2;", "%r7", {"%r0": 2**32 - 7}, 2**32 - 3),  # -7 / 2 is -3
    ("div.u32 %r7, %r0, 2;", "%r7", {"%r0": 2**32 - 7}, (2**32 - 7) // 2),
    ("rem.s32 %r7, %r0, 3;", "%r7", {"%r0": 2**32 - 7}, M1),
    ("min.s32 %r7, %r0, 5;", "%r7", {"%r0": M1}, M1),
    ("min.u32 %r7, %r0, 5;", "%r7", {"%r0": M1}, 5),
    ("max.s32 %r7, %r0, 5;", "%r7", {"%r0": M1}, 5),
    ("max.u32 %r7, %r0, 5;", "%r7", {"%r0": M1}, M1),
    ("and.b32 %r7, %r0, 0xF0;", "%r7", {"%r0": 0xABC}, 0xB0),
    ("and.b16 %h7, %h0, 255;", "%h7", {"%h0": 0xABCD}, 0xCD),
    ("or.b32 %r7, %r0, 6;", "%r7", {"%r0": 9}, 15),
    ("or.b64 %l7, %l0, %l1;", "%l7", {"%l0": 2**40, "%l1": 1}, 2**40 + 1),
    ("xor.b32 %r7, %r0, 5;", "%r7", {"%r0": 6}, 3),
    ("not.b32 %r7, %r0;", "%r7", {"%r0": 1}, M1 - 1),
    ("shl.b32 %r7, %r0, 4;", "%r7", {"%r0": 0xF0000001}, 0x10),
    ("shl.b32 %r7, %r0, 32;", "%r7", {"%r0": 1}, 0),  # not modulo 32
    ("shl.b64 %l7, %l0, 33;", "%l7", {"%l0": 3}, 3 << 33),
    ("shr.s32 %r7, %r0, 1;", "%r7", {"%r0": 0x80000000}, 0xC0000000),
    ("shr.s32 %r7, %r0, 40;", "%r7", {"%r0": 0x80000000}, M1),
    ("shr.u32 %r7, %r0, 1;", "%r7", {"%r0": 0x80000000}, 0x40000000),
    ("shr.u32 %r7, %r0, 32;", "%r7", {"%r0": M1}, 0),
    ("bfi.b32 %r7, %r0, %r1, 8, 4;", "%r7", {"%r0": 0xABCDEF, "%r1": 0x11111111}, 0x11111F11),
    ("bfi.b32 %r7, %r0, %r1, 0, 32;", "%r7", {"%r0": 7, "%r1": M1}, 7),
    ("bfi.b64 %l7, %l0, %l1, 32, 32;", "%l7", {"%l0": 2**33 + 5, "%l1": 2**40 + 6}, (5 << 32) + 6),
    ("and.b64 %l7, %l0, 31;", "%l7", {"%l0": 2**40 + 37}, 5),
    ("shr.s64 %l7, %l0, 63;", "%l7", {"%l0": 2**63}, 2**64 - 1),
    ("shr.u64 %l7, %l0, 63;", "%l7", {"%l0": 2**63}, 1),
    ("neg.s32 %r7, %r0;", "%r7", {"%r0": 1}, M1),
    # 2 - 3 * -1 + 127 * 127 + -128 * 1 + 0 * 5
    ("dp4a.s32.s32 %r7, %r0, %r1, %r2;", "%r7", {"%r0": 0x00807FFD, "%r1": 0x05017FFF, "%r2": 2},
     2 + 3 + 127 * 127 - 128),
    ("setp.gt.s32 %p0, %r0, 0; selp.b32 %r7, %r0, 9, %p0;", "%r7", {"%r0": 4}, 4),
    ("setp.gt.s32 %p0, %r0, 0; selp.b64 %l7, 1, %l0, %p0;", "%l7", {"%r0": 0, "%l0": 8}, 8),
    ("setp.gt.s32 %p0, %r0, 0; selp.u16 %h7, 3, 4, %p0;", "%h7", {"%r0": 1}, 3),
    ("setp.gt.s32 %p0, %r0, 0; selp.f32 %f7, %f0, 0f3F800000, %p0;", "%f7",
     {"%r0": 0, "%f0": 0}, f(1)),
    ("setp.gt.s32 %p0, %r0, 0; selp.f64 %d7, %d0, 0d0000000000000000, %p0;", "%d7",
     {"%r0": 1, "%d0": d(2)}, d(2)),
    # Predicates.
    (flag("setp.eq.b32 %p0, %r0, -1"), "%r7", {"%r0": M1}, 1),
    (flag("setp.lt.s64 %p0, %l0, 1"), "%r7", {"%l0": 2**64 - 1}, 1),
    (flag("setp.eq.f32 %p0, %f0, 0f00000000"), "%r7", {"%f0": 0x80000000}, 1),
    (flag("setp.gt.f32 %p0, %f0, 0f3F800000"), "%r7", {"%f0": 0x40000000}, 1),
    (flag("setp.gt.f32 %p0, %f0, 0f3F800000"), "%r7", {"%f0": 0x7FC00000}, 0),
    (flag("setp.ge.f32 %p0, %f0, %f0"), "%r7", {"%f0": NAN}, 0),
    (flag("setp.eq.b32 %p0, %r0, 1; setp.eq.b32 %p1, %r0, 1; xor.pred %p0, %p0, %p1"), "%r7",
     {"%r0": 1}, 0),
    (flag("setp.eq.s32 %p0, %r0, -1"), "%r7", {"%r0": M1}, 1),
    (flag("setp.eq.s16 %p0, %h0, 0"), "%r7", {"%h0": 0}, 1),
    (flag("setp.eq.s64 %p0, %l0, 0"), "%r7", {"%l0": 2**32}, 0),
    (flag("setp.ne.s32 %p0, %r0, 1"), "%r7", {"%r0": 1}, 0),
    (flag("setp.ne.s16 %p0, %h0, 1"), "%r7", {"%h0": 2}, 1),
    (flag("setp.lt.s32 %p0, %r0, 0"), "%r7", {"%r0": M1}, 1),
    (flag("setp.lt.u32 %p0, %r0, 1"), "%r7", {"%r0": M1}, 0),
    (flag("setp.le.s32 %p0, %r0, -1"), "%r7", {"%r0": M1}, 1),
    (flag("setp.gt.s32 %p0, %r0, -1"), "%r7", {"%r0": M1}, 0),
    (flag("setp.gt.u32 %p0, %r0, 1"), "%r7", {"%r0": M1}, 1),
    (flag("setp.ge.s32 %p0, %r0, 0"), "%r7", {"%r0": M1}, 0),
    (flag("setp.lt.f32 %p0, %f0, %f1"), "%r7", {"%f0": f(1), "%f1": f(2)}, 1),
    (flag("setp.lt.f32 %p0, %f0, %f1"), "%r7", {"%f0": NAN, "%f1": f(2)}, 0),
    (flag("setp.ne.f32 %p0, %f0, %f1"), "%r7", {"%f0": NAN, "%f1": f(2)}, 0),  # ordered
    (flag("setp.leu.f32 %p0, %f0, %f1"), "%r7", {"%f0": NAN, "%f1": f(2)}, 1),
    (flag("setp.leu.f32 %p0, %f0, %f1"), "%r7", {"%f0": f(3), "%f1": f(2)}, 0),
    (flag("setp.geu.f32 %p0, %f0, %f1"), "%r7", {"%f0": NAN, "%f1": f(2)}, 1),
    (flag("setp.nan.f32 %p0, %f0, %f0"), "%r7", {"%f0": NAN}, 1),
    (flag("setp.nan.f32 %p0, %f0, %f0"), "%r7", {"%f0": INF}, 0),
    (flag("setp.lt.f64 %p0, %d0, 0d3FF0000000000000"), "%r7", {"%d0": d(0.5)}, 1),
    (flag("mov.pred %p0, -1"), "%r7", {}, 1),
    (flag("mov.pred %p1, 0; not.pred %p0, %p1"), "%r7", {}, 1),
    (flag("mov.pred %p1, -1; mov.pred %p2, 0; and.pred %p0, %p1, %p2"), "%r7", {}, 0),
    (flag("mov.pred %p1, -1; mov.pred %p2, 0; or.pred %p0, %p1, %p2"), "%r7", {}, 1),
    ("mov.pred %p0, 0; mov.u32 %r7, 1; @%p0 mov.u32 %r7, 2; @!%p0 add.s32 %r7, %r7, 4;", "%r7",
     {}, 5),
    # Moves.
    ("mov.u16 %h7, 7;", "%h7", {}, 7),
    ("mov.u32 %r7, %r0;", "%r7", {"%r0": 7}, 7),
    ("mov.u64 %l7, -1;", "%l7", {}, 2**64 - 1),
    ("mov.f32 %f7, 0f3FC00000;", "%f7", {}, f(1.5)),
    ("mov.f64 %d7, 0d3FF8000000000000;", "%d7", {}, d(1.5)),
    ("mov.b32 %r7, %f0;", "%r7", {"%f0": NAN + 5}, NAN + 5),
    ("mov.b64 %d7, {%r0, %r1};", "%d7", {"%r0": 0, "%r1": 0x3FF00000}, d(1)),
    ("mov.b64 {%r0, %r7}, %d0;", "%r7", {"%d0": d(1)}, 0x3FF00000),
    ("mov.b64 {%r7, %r0}, %d0;", "%r7", {"%d0": d(1) + 9}, 9),
    # Conversions.
    ("cvt.s64.s32 %l7, %r0;", "%l7", {"%r0": M1}, 2**64 - 1),
    ("cvt.u64.u32 %l7, %r0;", "%l7", {"%r0": M1}, M1),
    ("cvt.u32.u64 %r7, %l0;", "%r7", {"%l0": 2**33 + 3}, 3),
    ("cvt.u32.u16 %r7, %h0;", "%r7", {"%h0": 0xFFFF}, 0xFFFF),
    ("cvt.u16.u32 %h7, %r0;", "%h7", {"%r0": 0x12345}, 0x2345),
    ("cvt.s16.s8 %h7, %h0;", "%h7", {"%h0": 0x80}, 0xFF80),
    ("cvt.f64.f32 %d7, %f0;", "%d7", {"%f0": f(0.1)}, 0x3FB99999A0000000),
    ("cvt.rn.f32.f64 %f7, %d0;", "%f7", {"%d0": d(1 + 2.0**-24)}, f(1)),  # a tie, to even
    ("cvt.rn.f32.f64 %f7, %d0;", "%f7", {"%d0": d(1e300)}, INF),
    ("cvt.rn.f32.s32 %f7, %r0;", "%f7", {"%r0": 2**32 - 16777217}, f(-16777216)),
    ("cvt.rn.f32.u32 %f7, %r0;", "%f7", {"%r0": M1}, f(2.0**32)),
    ("cvt.rn.f32.s16 %f7, %h0;", "%f7", {"%h0": 0xFFFF}, f(-1)),
    ("cvt.rn.f64.s32 %d7, %r0;", "%d7", {"%r0": M1}, d(-1)),
    ("cvt.sat.f32.f32 %f7, %f0;", "%f7", {"%f0": f(1.5)}, f(1)),
    ("cvt.sat.f32.f32 %f7, %f0;", "%f7", {"%f0": NAN}, 0),
    ("cvt.f32.f16 %f7, %h0;", "%f7", {"%h0": 0x3C01}, f(1 + 2.0**-10)),
    ("cvt.f32.f16 %f7, %h0;", "%f7", {"%h0": 0x0001}, f(2.0**-24)),
    ("cvt.rn.f16.f32 %h7, %f0;", "%h7", {"%f0": f(1 + 2.0**-11)}, 0x3C00),
    ("cvt.rzi.s32.f32 %r7, %f0;", "%r7", {"%f0": f(-1.75)}, M1),
    # Floats.
    ("add.f32 %f7, %f0, %f1;", "%f7", {"%f0": f(2.0**24), "%f1": f(1)}, f(2.0**24)),
    ("add.rn.f32 %f7, %f0, %f1;", "%f7", {"%f0": f(1), "%f1": f(0.5)}, f(1.5)),
    ("add.f64 %d7, %d0, %d1;", "%d7", {"%d0": d(2.0**24), "%d1": d(1)}, d(2.0**24 + 1)),
    ("sub.f32 %f7, %f0, %f1;", "%f7", {"%f0": f(1), "%f1": f(3)}, f(-2)),
    ("sub.f64 %d7, %d0, %d1;", "%d7", {"%d0": d(1), "%d1": d(3)}, d(-2)),
    ("mul.f32 %f7, %f0, %f1;", "%f7", {"%f0": ONE_UP, "%f1": ONE_UP}, f(1 + 2.0**-22)),
    ("mul.rn.f32 %f7, %f0, %f1;", "%f7", {"%f0": f(2.0**127), "%f1": f(2)}, INF),
    ("mul.f64 %d7, %d0, %d1;", "%d7", {"%d0": d(3), "%d1": d(-0.5)}, d(-1.5)),
    ("div.rn.f32 %f7, %f0, %f1;", "%f7", {"%f0": f(1), "%f1": f(3)}, 0x3EAAAAAB),
    ("div.rn.f64 %d7, %d0, %d1;", "%d7", {"%d0": d(1), "%d1": d(3)}, 0x3FD5555555555555),
    ("sqrt.rn.f32 %f7, %f0;", "%f7", {"%f0": f(2)}, 0x3FB504F3),
    ("sqrt.rn.f64 %d7, %d0;", "%d7", {"%d0": d(2)}, 0x3FF6A09E667F3BCD),
    ("abs.f32 %f7, %f0;", "%f7", {"%f0": f(-2)}, f(2)),
    ("neg.f32 %f7, %f0;", "%f7", {"%f0": 0}, 0x80000000),
    ("rcp.rn.f32 %f7, %f0;", "%f7", {"%f0": f(3)}, 0x3EAAAAAB),
    ("min.f32 %f7, %f0, %f1;", "%f7", {"%f0": NAN, "%f1": f(2)}, f(2)),
    ("max.f32 %f7, %f0, %f1;", "%f7", {"%f0": f(-1), "%f1": NAN}, f(-1)),
    ("cvt.rni.s32.f32 %r7, %f0;", "%r7", {"%f0": f(-2.5)}, M1 - 1),
    ("ex2.approx.ftz.f32 %f7, %f0;", "%f7", {"%f0": f(-3)}, f(0.125)),
    ("ex2.approx.ftz.f32 %f7, %f0;", "%f7", {"%f0": f(-130)}, 0),  # subnormal: flushed
    ("fma.rn.f32 %f7, %f0, %f1, %f2;", "%f7", BELOW_A_TIE, ONE_UP),
    ("fma.rn.f32 %f7, %f0, %f1, %f2;", "%f7",
     {"%f0": ONE_UP, "%f1": ONE_UP, "%f2": f(-1 - 2.0**-22)}, f(2.0**-46)),
    ("fma.rn.f32 %f7, %f0, %f1, %f2;", "%f7", {"%f0": INF, "%f1": f(1), "%f2": f(1)}, INF),
    ("fma.rm.f32 %f7, %f0, %f1, %f2;", "%f7",
     {"%f0": f(1), "%f1": f(1), "%f2": f(-(2.0**-60))}, f(1) - 1),
    ("fma.rm.f32 %f7, %f0, %f1, %f2;", "%f7",
     {"%f0": f(1), "%f1": f(1), "%f2": f(2.0**-60)}, f(1)),
    # (1 + 2^-52)^2 - (1 + 2^-51) = 2^-104
    ("fma.rn.f64 %d7, %d0, %d0, %d1;", "%d7",
     {"%d0": d(1) + 1, "%d1": d(-1 - 2.0**-51)}, d(2.0**-104)),
    # Memory, with what it does to wider registers.
    ("st.global.u8 [%data+4], 200; ld.global.u8 %h7, [%data+4];", "%h7", {}, 200),
    ("st.global.u8 [%data+4], 200; ld.global.s8 %h7, [%data+4];", "%h7", {}, 0xFFC8),
    ("st.global.u16 [%data+4], %h0; ld.global.u16 %h7, [%data+4];", "%h7", {"%h0": 77}, 77),
    ("st.global.u32 [%data+4], 9; ld.global.u32 %r7, [%data+4];", "%r7", {}, 9),
    ("st.global.f64 [%data], %d0; ld.global.f64 %d7, [%data];", "%d7", {"%d0": 77}, 77),
    ("st.global.v2.u32 [%data], {%r0, 6}; ld.global.v2.u32 {%r1, %r7}, [%data];", "%r7",
     {"%r0": 5}, 6),
    ("ld.global.nc.s32 %r7, [%data+8];", "%r7", {"%r0": 5}, 5),
    ("ld.global.nc.u8 %h7, [%data+9];", "%h7", {"%r0": 0x500}, 5),
    ("ld.global.nc.s8 %h7, [%data+8];", "%h7", {"%r0": 0x85}, 0xFF85),
    ("ld.global.nc.u16 %h7, [%data+10];", "%h7", {"%r0": 0x50000}, 5),
    ("ld.global.nc.f32 %f7, [%data+8];", "%f7", {"%r0": f(2)}, f(2)),
    ("ld.global.f32 %f7, [%data+8];", "%f7", {"%r0": f(2)}, f(2)),
    ("ld.global.nc.v4.f32 {%f1, %f7, %f2, %f3}, [%data+16];", "%f7",
     {"%l0": 0, "%l1": 6 << 32, "%l2": 0}, 6),
    ("st.global.f32 [%data], %f0; ld.global.f32 %f7, [%data];", "%f7", {"%f0": 6}, 6),
    ("ld.global.nc.v4.u32 {%r1, %r2, %r7, %r3}, [%data+16];", "%r7",
     {"%l0": 0, "%l1": 0, "%l2": 6}, 6),
    ("ld.global.nc.v2.u32 {%r1, %r7}, [%data+8];", "%r7", {"%l0": 6 << 32}, 6),
    ("ld.global.nc.v4.u8 {%h1, %h2, %h3, %h7}, [%data+8];", "%h7", {"%r0": 0x87654321}, 0x87),
    ("ld.global.nc.v4.u16 {%h1, %h2, %h7, %h3}, [%data+8];", "%h7", {"%l0": 8 << 32}, 8),
    (".shared .align 8 .b8 s[16]; mov.u32 %r1, s; st.shared.f64 [%r1+8], %d0; "
     "ld.shared.f64 %d7, [s+8];", "%d7", {"%d0": d(3)}, d(3)),
    (".shared .u32 s; st.shared.u32 [s], 5; ld.shared.u32 %r7, [s];", "%r7", {}, 5),
    (".shared .u32 s; st.shared.u32 [s], 5; ld.shared.s32 %r7, [s];", "%r7", {}, 5),
    (".shared .f32 s; st.shared.f32 [s], %f0; ld.shared.f32 %f7, [s];", "%f7", {"%f0": 5}, 5),
    (".shared .u16 s; st.shared.u16 [s], 5; ld.shared.u16 %h7, [s];", "%h7", {}, 5),
    (".local .align 4 .b8 s[8]; mov.u64 %l1, s; st.local.u32 [%l1+4], 5; "
     "ld.local.u32 %r7, [%l1+4];", "%r7", {}, 5),
    (".shared .u32 s; st.shared.u32 [s], 5; atom.shared.add.u32 %r1, [s], 3; "
     "ld.shared.u32 %r7, [s];", "%r7", {}, 8),
    (".shared .u32 s; st.shared.u32 [s], 5; atom.shared.add.u32 %r7, [s], 3;", "%r7", {}, 5),
    ("cvta.to.global.u64 %l7, %l0;", "%l7", {"%l0": 12}, 12),
    ("bra.uni L; mov.u32 %r7, 1; L: add.s32 %r7, %r0, 1;", "%r7", {"%r0": 6}, 7),
    ("mov.b64 %l1, of_data; ld.param.u64 %l7, [%l1]; sub.s64 %l7, %l7, %data;", "%l7", {}, 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "to", "given", "expected"), [pytest.param(*case, id=case[0][:60]) for case in CASES]
)
def test_result_by_hand(code, to, given, expected):
    assert hex(one_value(code, to, given)) == hex(expected)


# Of parameters: as of other memory, in tests of the kernels; synchronisation: test_machine.py.
SHAPED = {"ld.param.v2.u32", "ld.param.v2.f32", "ld.param.v2.u8"}


def opcodes_of(code: str) -> set[str]:
    """What hand-written code has, with ``bra.uni`` as ``bra``."""
    whole = f".entry k() {{ .reg .pred %p<8>; {code} }}"
    return {".".join(i.opcode) for i in parse(whole)["k"].code}


def test_every_opcode_of_the_kernels_has_a_result_by_hand(compiled):
    proven = set().union(*(opcodes_of(case[0]) for case in CASES))
    missing = set()
    for source in KERNELS:
        for kernel in parse((compiled / f"{source.stem}.ptx").read_text()).values():
            for instruction in kernel.code:
                name = ".".join(instruction.opcode)
                if instruction.opcode[0] in JUMPS or meets(instruction) or name in SHAPED:
                    continue
                # One width of a memory's loads and of register types shows the others.
                if instruction.opcode[:2] != ("ld", "param") and name not in proven:
                    missing.add(name)
    assert missing == set()


@pytest.mark.parametrize(
    "code",
    ["popc.b32 %r0, %r1;", "add.sat.s32 %r0, %r1, %r2;", "mma.sync.aligned.m16n8k8 %r0, %r1;",
     "ld.global.cg.u32 %r0, [%data];", "cvt.rn.ftz.f32.f64 %f0, %d0;", "cp.async.wait_all;"],
)  # fmt: skip
def test_what_is_not_known_is_refused_by_name(code):
    with pytest.raises(PtxError, match=f"not known.*{code.split()[0].split(';')[0]}|cvt.* is not"):
        one_value(code, "%r0", {})


def test_a_division_by_zero_is_refused():
    with pytest.raises(PtxError, match="divided by 0"):
        one_value("div.s32 %r7, %r0, %r1;", "%r7", {"%r0": 1, "%r1": 0})


def test_shuffles_by_hand():
    body = """
        mov.u32 %r0, %tid.x; mul.wide.u32 %l0, %r0, 4; add.s64 %l1, %to, %l0;
        shfl.sync.{} %r1|%p0, %r0, {}, {}, -1;
        @!%p0 add.s32 %r1, %r1, 100;
        st.global.u32 [%l1], %r1; ret;
    """
    lanes = np.arange(32)
    for mode, by, clamp, expected in (
        ("bfly.b32", 1, 31, lanes ^ 1),
        ("bfly.b32", 16, 31, lanes ^ 16),
        ("up.b32", 3, 0, np.where(lanes < 3, lanes + 100, lanes - 3)),
        ("down.b32", 3, 31, np.where(lanes > 28, lanes + 100, lanes + 3)),
        ("idx.b32", 5, 31, np.full(32, 5)),
        ("idx.b32", 5, 0x181F, lanes // 8 * 8 + 5),  # of the same eight lanes
    ):
        code = body.format(mode, by, clamp)
        found = run(code, threads=64, buffers={"to": np.zeros(64, np.uint32)})["to"]
        both = np.concatenate([expected, expected + 32])  # warps
        np.testing.assert_array_equal(found, both, err_msg=mode)


def test_a_product_of_bytes_by_hand():
    """One byte of a at a time: row and channel are found by where the sum comes out."""
    code = """
        mov.u32 %r0, %tid.x; mul.wide.u32 %l0, %r0, 16; add.s64 %l1, %a, %l0;
        add.s64 %l2, %to, %l0; mul.wide.u32 %l0, %r0, 8; add.s64 %l3, %b, %l0;
        ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%l1]; ld.global.v2.u32 {%r5, %r6}, [%l3];
        .reg .b32 %c<4>; ld.global.v4.u32 {%c0, %c1, %c2, %c3}, [%l2];
        mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%c0, %c1, %c2, %c3},
            {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%c0, %c1, %c2, %c3};
        st.global.v4.u32 [%l2], {%c0, %c1, %c2, %c3}; ret;
    """
    # From the figures of the PTX ISA for m16n8k32: (lane, byte of 16) of a, (row, channel) there.
    places = {(0, 0): (0, 0), (5, 3): (1, 7), (31, 4): (15, 12), (4, 9): (1, 17), (2, 15): (8, 27)}
    rng = np.random.default_rng(5)
    b = rng.integers(-128, 128, (8, 32)).astype(np.int8)  # [column, channel]
    parts = np.zeros((32, 8), np.int8)
    for lane in range(32):
        for half in range(2):
            at = 16 * half + lane % 4 * 4
            parts[lane, 4 * half : 4 * half + 4] = b[lane // 4, at : at + 4]
    for (lane, byte), (row, channel) in places.items():
        a = np.zeros((32, 16), np.int8)
        a[lane, byte] = -7
        start = np.arange(128, dtype=np.int32)
        buffers = {"a": a.view(np.uint32), "b": parts.view(np.uint32), "to": start}
        found = run(code, threads=32, buffers=buffers)["to"].reshape(32, 4) - start.reshape(32, 4)
        expected = np.zeros((16, 8), np.int64)
        expected[row] = -7 * b[:, channel].astype(int)
        for thread in range(32):
            first = thread // 4, thread % 4 * 2
            whole = [expected[first[0] + 8 * (i // 2), first[1] + i % 2] for i in range(4)]
            np.testing.assert_array_equal(found[thread], whole)


def test_a_product_that_not_all_of_a_warp_make():
    some = "setp.lt.u32 %p0, %r0, 9; @%p0 {} mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
    some += "{{%r1, %r2, %r3, %r4}}, {{%r1, %r2, %r3, %r4}}, {{%r1, %r2}}, {{%r1, %r2, %r3, %r4}};"
    body = "mov.u32 %r0, %tid.x; " + some.format("ret;") + "ret;"
    with pytest.raises(PtxError, match="a warp that has returned in part"):
        run(body, threads=32, buffers={"to": np.zeros(1, np.uint32)})

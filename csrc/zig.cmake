# Zig's clang, which brings the headers of each glibc: what it links runs where that glibc is, or a newer one.
# For build_wheels.py, which gives EDGEAD_ZIG_PYTHON (with the package ziglang), EDGEAD_ZIG_MACHINE and EDGEAD_ZIG_GLIBC.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR $ENV{EDGEAD_ZIG_MACHINE})
set(zig $ENV{EDGEAD_ZIG_PYTHON} -m ziglang)
# zig traps undefined behaviour where it is not told otherwise; -s: zig has no strip.
set(target -target $ENV{EDGEAD_ZIG_MACHINE}-linux-gnu.$ENV{EDGEAD_ZIG_GLIBC} -fno-sanitize=undefined)
set(CMAKE_C_COMPILER ${zig} cc ${target})
set(CMAKE_CXX_COMPILER ${zig} c++ ${target})
set(CMAKE_MODULE_LINKER_FLAGS_INIT -s)
set(CMAKE_STRIP true)

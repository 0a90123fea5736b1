// What the simulation tells a counter of global memory, if one is linked (traffic.cpp).
#pragma once
#include <cstddef>
#include <cstdint>

#define WEAK __attribute__((weak))
WEAK void watch(const char* name, const void* begin, size_t bytes);  // an array in global memory
WEAK void watch_block_end();
WEAK void watch_launch_end();
#undef WEAK

int watched_thread();  // the number, within its block, of the thread that runs

// What the CPU and the operating system can do: asked without LLVM, so that executables can choose their code.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>

// 5: x86-64-v4 with BF16 dot products; 4, 3, 2: x86-64-v4, -v3, -v2 of the System V ABI; 0: less than that.
static inline int dustin_cpu_level(void) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  const unsigned features = c;
  unsigned ea = 0, eb = 0, ec = 0, ed = 0;
  if (!__get_cpuid(0x80000001, &ea, &eb, &ec, &ed)) return 0;
  // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT; LAHF
  const unsigned v2 = 1u << 0 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23;
  if ((features & v2) != v2 || !(ec & 1u)) return 0;

  // FMA, MOVBE, OSXSAVE, AVX, F16C; LZCNT
  const unsigned v3 = 1u << 12 | 1u << 22 | 1u << 27 | 1u << 28 | 1u << 29;
  if ((features & v3) != v3 || !(ec & 1u << 5)) return 2;
  unsigned low, high;  // the register states that the system saves
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 0x6) != 0x6) return 2;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 2;
  const unsigned widest = a;
  // BMI1, AVX2, BMI2
  const unsigned v3b = 1u << 3 | 1u << 5 | 1u << 8;
  if ((b & v3b) != v3b) return 2;

  // AVX-512 F, DQ, CD, BW, VL
  const unsigned v4 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;
  if ((b & v4) != v4 || (low & 0xe6) != 0xe6) return 3;
  if (widest < 1 || !__get_cpuid_count(7, 1, &a, &b, &c, &d)) return 4;
  return a & 1u << 5 ? 5 : 4;
}
#else
static inline int dustin_cpu_level(void) { return 0; }
#endif

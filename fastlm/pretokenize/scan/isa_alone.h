/* Lets a part compile alone, for clangd and the test of the headers. scan.h sets FASTLM_ISA and includes the parts once
 * for each instruction set. This file selects the instruction set of the compiler's flags. */
#ifndef FASTLM_ISA
#include "base.h"
#if defined(FASTLM_X86) && defined(__AVX512VBMI2__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#define FASTLM_ISA _avx512
#define FASTLM_USE_AVX2 1
#define FASTLM_USE_AVX512 1
#elif defined(FASTLM_X86) && defined(__AVX2__) && defined(__BMI__) && defined(__BMI2__) && defined(__POPCNT__)
#define FASTLM_ISA _avx2
#define FASTLM_USE_AVX2 1
#else
#define FASTLM_ISA _portable
#endif
#endif

/* The merge kernel compiled for several instruction sets, and which of them this processor runs.
 *
 * The objects come from tools/compile_kernels.py. They refer to functions of Numba's runtime on paths for Python
 * exceptions and reference counts. The kernel raises nothing and owns no memory, so these paths are never taken; a
 * call is a bug and ends the process.
 */
#ifndef FASTLM_DISPATCH_H
#define FASTLM_DISPATCH_H
#include <stdint.h>
#include <stdlib.h>

/* The build gives the sha256 of the kernel's source; a test refuses a module without it. */
#ifndef FASTLM_KERNEL_SOURCE
#define FASTLM_KERNEL_SOURCE none
#endif
#define FASTLM_QUOTED_(text) #text
#define FASTLM_QUOTED(text) FASTLM_QUOTED_(text)

#define FASTLM_NEVER_CALLED(name) \
    __attribute__((visibility("hidden"), noreturn)) void name(void) { abort(); }
FASTLM_NEVER_CALLED(NRT_Free)
FASTLM_NEVER_CALLED(NRT_MemInfo_call_dtor)
FASTLM_NEVER_CALLED(numba_do_raise)
FASTLM_NEVER_CALLED(numba_gil_ensure)
FASTLM_NEVER_CALLED(numba_gil_release)
FASTLM_NEVER_CALLED(numba_runtime_build_excinfo_struct)
FASTLM_NEVER_CALLED(numba_unpickle)
#undef FASTLM_NEVER_CALLED

/* The functions of bpe.py, which has their signatures. */
typedef struct {
    const char *name;
    void (*merge)(void), (*merge_batch)(void);
} fastlm_kernel;

#if defined(__x86_64__)
#include "../native/cpu.h"

void fastlm_merge_x86_64_v2(void);
void fastlm_merge_x86_64_v3(void);
void fastlm_merge_x86_64_v4(void);
void fastlm_merge_batch_x86_64_v2(void);
void fastlm_merge_batch_x86_64_v3(void);
void fastlm_merge_batch_x86_64_v4(void);

static const fastlm_kernel fastlm_kernels[] = {
    {"x86-64-v2", fastlm_merge_x86_64_v2, fastlm_merge_batch_x86_64_v2},
    {"x86-64-v3", fastlm_merge_x86_64_v3, fastlm_merge_batch_x86_64_v3},
    {"x86-64-v4", fastlm_merge_x86_64_v4, fastlm_merge_batch_x86_64_v4},
};

/* How many of the kernels this processor and its operating system run. */
static int fastlm_kernel_count(void) { return fastlm_x86_level() - 1; }
#else
void fastlm_merge_generic(void);
void fastlm_merge_batch_generic(void);

static const fastlm_kernel fastlm_kernels[] = {{"generic", fastlm_merge_generic, fastlm_merge_batch_generic}};

static int fastlm_kernel_count(void) { return 1; }
#endif

#endif

/* The targets that include the scanners, in one program: the compiler takes 8 s for the scanners. The beginning of the
 * program's name chooses the target. */
#define LLVMFuzzerTestOneInput cuts_target
#include "cuts.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput scanners_target
#include "scanners.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput encode_loop_target
#include "encode_loop.c"
#undef LLVMFuzzerTestOneInput
#include <errno.h>

extern char *program_invocation_short_name;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct {
        const char *name;
        int (*call)(const uint8_t *data, size_t size);
    } targets[] = {{"cuts", cuts_target}, {"scanners", scanners_target}, {"encode_loop", encode_loop_target}};
    for (size_t k = 0; k < sizeof targets / sizeof *targets; k++)
        if (!strncmp(program_invocation_short_name, targets[k].name, strlen(targets[k].name)))
            return targets[k].call(data, size);
    fprintf(stderr, "%s: no such target\n", program_invocation_short_name);
    abort();
}

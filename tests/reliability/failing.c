/* Makes the k-th call of a kind fail, in this process and its children: preloaded by failing.py.
 *
 * Kind 1 is memory: malloc, calloc, realloc, posix_memalign, aligned_alloc and mmap of at least LEAST bytes. CPython,
 * NumPy and OpenSSL do not survive every failure of a smaller one (an index array of NumPy, for one). Kind 2 is files: open for writing,
 * write, pwrite, fsync, fdatasync, ftruncate, rename, link and mkdir. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { LEAST = 1 << 14 };

static int armed_kind, error_number;
static long left, calls;
static int length_given;

/* Fails the k-th call of a kind (k from 1; 0 only counts), and all `length` calls from there on. */
void failing_arm(int kind, long k, int length, int error) {
    calls = 0;
    left = k;
    length_given = length;
    error_number = error;
    __atomic_store_n(&armed_kind, kind, __ATOMIC_SEQ_CST);
}

/* Ends the failures. Returns the number of calls since they were armed. */
long failing_disarm(void) {
    __atomic_store_n(&armed_kind, 0, __ATOMIC_SEQ_CST);
    return calls;
}

static int fails(int kind) {
    if (__atomic_load_n(&armed_kind, __ATOMIC_RELAXED) != kind) return 0;
    long number = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (left <= 0 || number < left || number >= left + length_given) return 0;
    errno = kind == 1 ? ENOMEM : error_number;
    return 1;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

void *malloc(size_t size) { return size >= LEAST && fails(1) ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return count * size >= LEAST && fails(1) ? NULL : __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { return size >= LEAST && fails(1) ? NULL : __libc_realloc(old, size); }
void *aligned_alloc(size_t alignment, size_t size) { return size >= LEAST && fails(1) ? NULL : __libc_memalign(alignment, size); }
int posix_memalign(void **to, size_t alignment, size_t size) {
    if (size >= LEAST && fails(1)) return ENOMEM;
    void *made = __libc_memalign(alignment, size);
    if (!made) return ENOMEM;
    *to = made;
    return 0;
}
void *mmap(void *at, size_t size, int protection, int flags, int file, off_t offset) {
    REAL(mmap);
    return fails(1) ? MAP_FAILED : real(at, size, protection, flags, file, offset);
}

static int fails_open(int flags) { return (flags & O_ACCMODE) != O_RDONLY && fails(2); }
static mode_t mode_of(int flags, va_list arguments) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0; }

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list arguments; \
        va_start(arguments, flags); \
        mode_t mode = mode_of(flags, arguments); \
        va_end(arguments); \
        return fails_open(flags) ? -1 : real(path, flags, mode); \
    }
#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        REAL(name); \
        va_list arguments; \
        va_start(arguments, flags); \
        mode_t mode = mode_of(flags, arguments); \
        va_end(arguments); \
        return fails_open(flags) ? -1 : real(folder, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

/* The streams of the process do not count: a report about a failure is no writer of files. */
ssize_t write(int file, const void *bytes, size_t size) {
    REAL(write);
    return file > 2 && fails(2) ? -1 : real(file, bytes, size);
}
ssize_t pwrite64(int file, const void *bytes, size_t size, off_t offset) {
    REAL(pwrite64);
    return fails(2) ? -1 : real(file, bytes, size, offset);
}
int fsync(int file) { REAL(fsync); return fails(2) ? -1 : real(file); }
int fdatasync(int file) { REAL(fdatasync); return fails(2) ? -1 : real(file); }
int ftruncate64(int file, off_t size) { REAL(ftruncate64); return fails(2) ? -1 : real(file, size); }
int rename(const char *from, const char *to) { REAL(rename); return fails(2) ? -1 : real(from, to); }
int renameat(int a, const char *from, int b, const char *to) {
    REAL(renameat);
    return fails(2) ? -1 : real(a, from, b, to);
}
int link(const char *from, const char *to) { REAL(link); return fails(2) ? -1 : real(from, to); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); return fails(2) ? -1 : real(path, mode); }

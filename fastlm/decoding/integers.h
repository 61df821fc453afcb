/* Python ints as 64-bit integers. The digit of a small int is read without a call. */
#ifndef FASTLM_INTEGERS_H
#define FASTLM_INTEGERS_H
#include <Python.h>
#include <stdint.h>
#include "../native/common.h"

/* Whether `item` is an int, not of a subclass, that fits 64 bits; then *value is its value. */
static inline int fastlm_plain_int(PyObject *item, int64_t *value) {
    if (!PyLong_CheckExact(item))
        return 0;
#if defined(CPYTHON_COMPILING_IN_PYPY) || defined(Py_LIMITED_API)
#elif PY_VERSION_HEX >= 0x030C0000
    if (PyUnstable_Long_IsCompact((PyLongObject *)item)) {
        *value = PyUnstable_Long_CompactValue((PyLongObject *)item);
        return 1;
    }
#else
    if (Py_SIZE(item) == 1) {
        *value = ((PyLongObject *)item)->ob_digit[0];
        return 1;
    }
#endif
    int overflow = 0;
    *value = PyLong_AsLongLongAndOverflow(item, &overflow);
    return !overflow;
}

/* Fills `to` from n items. Returns how many were plain ints of 64 bits before the first that is not. */
static FASTLM_NOINLINE int64_t fastlm_plain_ints(PyObject **items, int64_t n, int64_t *to) {
    for (int64_t k = 0; k < n; k++) {
        if (k + 16 < n)
            fastlm_prefetch_read(items[k + 16]);
        if (!fastlm_plain_int(items[k], to + k))
            return k;
    }
    return n;
}
#endif

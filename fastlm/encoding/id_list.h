/* Lists of ids for Python. */
#ifndef FASTLM_ID_LIST_H
#define FASTLM_ID_LIST_H
#include <Python.h>
#include <stdint.h>

/* Returns a new list of ids[:n], or NULL with a Python error.
 *
 * `ints` is a list with an int, or None, for each id. An int is made the first time that its id occurs: the ints of
 * frequent ids then share cache lines. Without the GIL threads would change `ints` at the same time, so each int is
 * new. */
static inline PyObject *fastlm_id_list(PyObject *ints, const uint32_t *ids, int64_t n) {
    PyObject *list = PyList_New((Py_ssize_t)n);
    if (!list)
        return NULL;
    PyObject **items = PySequence_Fast_ITEMS(list);
#ifdef Py_GIL_DISABLED
    (void)ints;
    for (int64_t k = 0; k < n; k++) {
        items[k] = PyLong_FromUnsignedLong(ids[k]);
        if (!items[k]) {
            Py_DECREF(list);
            return NULL;
        }
    }
#else
    PyObject **known = PySequence_Fast_ITEMS(ints);
    for (int64_t k = 0; k < n; k++) {
        PyObject *item = known[ids[k]];
        if (item == Py_None) {
            item = PyLong_FromUnsignedLong(ids[k]);
            if (!item) {
                Py_DECREF(list);
                return NULL;
            }
            Py_DECREF(Py_None);
            known[ids[k]] = item;
        }
        Py_INCREF(item);
        items[k] = item;
    }
#endif
    return list;
}
#endif

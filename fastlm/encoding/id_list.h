/* Lists of ids for Python. */
#ifndef FASTLM_ID_LIST_H
#define FASTLM_ID_LIST_H
#include <Python.h>
#include <stdint.h>

/* Returns a new empty list with memory for n items, or NULL with a Python error. */
static inline PyObject *fastlm_empty_id_list(int64_t n) {
    PyObject *list = PyList_New((Py_ssize_t)n);
    if (list)
        Py_SET_SIZE((PyVarObject *)list, 0);
    return list;
}

/* Appends ids[:n] to a list that has memory for them. Returns -1 with a Python error, else 0.
 *
 * `ints` is a list with an int, or None, for each id. An int is made the first time that its id occurs: the ints of
 * frequent ids then share cache lines. Without the GIL threads would change `ints` at the same time, so each int is
 * new. */
static inline int fastlm_append_ids(PyObject *list, PyObject *ints, const uint32_t *ids, int64_t n) {
    Py_ssize_t size = PyList_GET_SIZE(list);
    PyObject **items = PySequence_Fast_ITEMS(list) + size;
    int64_t k = 0;
#ifdef Py_GIL_DISABLED
    (void)ints;
    for (; k < n; k++) {
        items[k] = PyLong_FromUnsignedLong(ids[k]);
        if (!items[k])
            break;
    }
#else
    PyObject **known = PySequence_Fast_ITEMS(ints);
    for (; k < n; k++) {
        PyObject *item = known[ids[k]];
        if (item == Py_None) {
            item = PyLong_FromUnsignedLong(ids[k]);
            if (!item)
                break;
            Py_DECREF(Py_None);
            known[ids[k]] = item;
        }
        Py_INCREF(item);
        items[k] = item;
    }
#endif
    Py_SET_SIZE((PyVarObject *)list, size + (Py_ssize_t)k);
    return k < n ? -1 : 0;
}
#endif

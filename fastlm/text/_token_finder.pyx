"""Finds byte strings in a text, such as added tokens: see token_trie.h."""
import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

cdef extern from "text/token_trie.h" nogil:
    const int64_t FASTLM_FILTER_BITMAP
    const int64_t FASTLM_FILTER_BYTES

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


def pair_filter(tokens):
    """Returns the filter of token_trie.h for byte strings: uint8 (FASTLM_FILTER_BYTES,)."""
    tables = np.zeros(FASTLM_FILTER_BYTES, np.uint8)
    follows = np.zeros((256, 256), bool)
    for token in tokens:
        follows[token[0], token[1] if len(token) > 1 else slice(None)] = True
    tables[FASTLM_FILTER_BITMAP:] = np.packbits(follows, axis=1, bitorder="little").ravel()
    for row, members in enumerate((follows.any(axis=1), follows.any(axis=0))):
        high, low = np.divmod(np.flatnonzero(members), 16)
        np.bitwise_or.at(tables, 32 * row + 16 * (high // 8) + low, (1 << high % 8).astype(np.uint8))
    return tables


cdef bytes exact_bytes(token):
    """Returns a token as plain bytes: a subclass may lie about its length and its items."""
    if not isinstance(token, bytes):
        raise TypeError(f"a token must be bytes, got {type(token).__name__}")
    if type(token) is bytes:
        return token
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(token), PyBytes_GET_SIZE(token))


cdef class TokenFinder:
    """Finds tokens in texts. Immutable, so that any number of threads may share it.

    Args:
        tokens: The byte strings to find.
        ids: The ID of each token, not negative; by default its index.

    Raises:
        TypeError: A token is not bytes.
        ValueError: A token is empty or repeated, an ID is negative, or there are not as many IDs as tokens.
    """

    def __cinit__(self, tokens, ids=None):
        self.tokens = tuple([exact_bytes(token) for token in tokens])
        token_ids = range(len(self.tokens)) if ids is None else ids
        self.longest = max(map(len, self.tokens), default=0)
        in_order = sorted(zip(self.tokens, token_ids, strict=True))
        for k, (token, token_id) in enumerate(in_order):
            if not token:
                raise ValueError("a token must not be empty")
            if k and token == in_order[k - 1][0]:
                raise ValueError(f"token {token!r} is given twice")
            if token_id < 0:
                raise ValueError(f"the ID of token {token!r} must not be negative, got {token_id}")
        self._build(
            np.frombuffer(b"".join([token for token, _ in in_order]) or b"\0", np.uint8),
            np.cumsum([0] + [len(token) for token, _ in in_order], dtype=np.int64),
            np.array([token_id for _, token_id in in_order], np.int64),
        )

    cdef int _build(self, const uint8_t[::1] text, const int64_t[::1] start, const int64_t[::1] ids) except -1:
        """Fills the trie, level by level, from sorted tokens: token k is text[start[k]:start[k + 1]]."""
        cdef int64_t n = ids.shape[0], most = start[n] + 1, node, nodes = 1, edges = 0, k, stop, depth
        cdef uint8_t byte
        # node v represents the tokens begin[v]:end[v], which share their first level[v] bytes
        cdef int64_t[::1] begin = np.zeros(most, np.int64), end = np.full(most, n), level = np.zeros(most, np.int64)
        edge_byte, edge_target = np.empty(most, np.uint8), np.empty(most, np.int32)
        first_edge, id_at, root = np.empty(most + 1, np.int32), np.full(most, -1), np.zeros(256, np.int32)
        cdef uint8_t[::1] to_byte = edge_byte
        cdef int32_t[::1] to_target = edge_target, to_first = first_edge, to_root = root
        cdef int64_t[::1] to_id = id_at
        if start[n] > 0x7FFFFFFF:
            raise ValueError(f"the tokens must have less than 2 GiB together, got {start[n]} bytes")
        with nogil:
            node = 0
            while node < nodes:
                k, stop, depth = begin[node], end[node], level[node]
                to_first[node] = <int32_t>edges
                if k < stop and start[k + 1] - start[k] == depth:
                    to_id[node] = ids[k]
                    k += 1
                while k < stop:
                    byte = text[start[k] + depth]
                    to_byte[edges] = byte
                    to_target[edges] = <int32_t>nodes
                    if node == 0:
                        to_root[byte] = <int32_t>nodes
                    begin[nodes] = k
                    level[nodes] = depth + 1
                    while k < stop and text[start[k] + depth] == byte:
                        k += 1
                    end[nodes] = k
                    edges += 1
                    nodes += 1
                node += 1
            to_first[nodes] = <int32_t>edges
        # the arrays are one item longer than the trie, so each has an address
        self.arrays = (
            edge_byte[: edges + 1].copy(), edge_target[: edges + 1].copy(), first_edge[: nodes + 1].copy(),
            id_at[:nodes].copy(), root, pair_filter(self.tokens),
        )
        cdef const uint8_t[::1] bytes_view = self.arrays[0], filter_view = self.arrays[5]
        cdef const int32_t[::1] target_view = self.arrays[1], first_view = self.arrays[2], root_view = self.arrays[4]
        cdef const int64_t[::1] id_view = self.arrays[3]
        self.trie.edge_byte, self.trie.edge_target = &bytes_view[0], &target_view[0]
        self.trie.first_edge, self.trie.id_at = &first_view[0], &id_view[0]
        self.trie.root, self.trie.filter = &root_view[0], &filter_view[0]
        return 0

    def find(self, const uint8_t[::1] text not None):
        """Returns int64 (k, 3): start, end and ID of each token found in a text, uint8 (n,), in order."""
        found = self.find_in(&text[0], text.shape[0]) if self.tokens and text.shape[0] else None
        return np.empty((0, 3), np.int64) if found is None else found

    def first(self, text):
        """Returns the UTF-8 of the first token in a str, or None.

        Raises:
            UnicodeEncodeError: The text has a lone surrogate, before or after the token.
        """
        cdef Py_ssize_t n = 0
        cdef int64_t position = 0
        cdef int64_t[3] row
        cdef const uint8_t *utf8 = <const uint8_t *>PyUnicode_AsUTF8AndSize(text, &n)
        if not self.tokens or not fastlm_find_tokens(&self.trie, utf8, n, &position, row, 1):
            return None
        return utf8[row[0]:row[1]]

    cdef object find_in(self, const uint8_t *text, int64_t n):
        """Returns the rows of `find`, or None if there are none."""
        cdef int64_t position = 0, filled
        cdef int64_t[:, ::1] rows
        parts = []
        while position < n:
            # most texts have no token, and the rest have more than one
            block = np.empty((256 if parts else 1, 3), np.int64)
            rows = block
            with nogil:
                filled = fastlm_find_tokens(&self.trie, text, n, &position, &rows[0, 0], rows.shape[0])
            if filled:
                parts.append(block[:filled])
        return np.concatenate(parts) if parts else None

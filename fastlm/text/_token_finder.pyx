"""Finds byte strings in a text, such as added tokens: the leftmost first, and the longest one at each place.

The tokens form a trie in flat arrays: the edges of node v are edge_byte/edge_target[first_edge[v]:first_edge[v + 1]],
sorted by byte, and a table of 256 holds the root's edges. A search skips 32 bytes at a time where no token can start,
which the first two bytes tell (pair_filter.h), and takes at most `longest` steps from a place where one may start.
"""
import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

cdef extern from "text/pair_filter.h" nogil:
    const int64_t FASTLM_FILTER_BYTES
    int64_t fastlm_next_pair(const uint8_t *text, int64_t n, int64_t at, const uint8_t *filter)

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


def pair_filter(tokens):
    """Returns the tables of pair_filter.h for byte strings: uint8 (FASTLM_FILTER_BYTES,)."""
    tables = np.zeros(FASTLM_FILTER_BYTES, np.uint8)
    follows = np.zeros((256, 256), bool)
    for token in tokens:
        follows[token[0], token[1] if len(token) > 1 else slice(None)] = True
    tables[64:] = np.packbits(follows, axis=1, bitorder="little").ravel()
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
        self.edge_byte, self.edge_target = edge_byte[:edges].copy(), edge_target[:edges].copy()
        self.first_edge, self.id_at, self.root = first_edge[: nodes + 1].copy(), id_at[:nodes].copy(), root
        self.filter = pair_filter(self.tokens)
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
        cdef int64_t start = 0, end = 0
        cdef const uint8_t *utf8 = <const uint8_t *>PyUnicode_AsUTF8AndSize(text, &n)
        if not self.tokens or self._seek(utf8, n, &start, &end) < 0:
            return None
        return utf8[start:end]

    cdef object find_in(self, const uint8_t *text, int64_t n):
        """Returns the rows of `find`, or None if there are none."""
        cdef int64_t position = 0, end = 0, filled
        cdef int64_t token
        cdef int64_t[:, ::1] rows
        with nogil:
            token = self._seek(text, n, &position, &end)
        if token < 0:
            return None
        parts = []
        while position < n:
            block = np.empty((256, 3), np.int64)
            rows = block
            with nogil:
                filled = self.fill(text, n, &position, rows)
            parts.append(block[:filled])
        return np.concatenate(parts)

    cdef int64_t fill(self, const uint8_t *text, int64_t n, int64_t *position, int64_t[:, ::1] rows) except -1 nogil:
        """Writes rows of the tokens in text[position[0]:] until all are written or `rows` is full.

        Moves *position behind the last token. Returns the number of rows written. Less than `rows` holds means that the text has no more tokens.
        """
        cdef int64_t filled = 0, end = 0, token
        while filled < rows.shape[0]:
            token = self._seek(text, n, position, &end)
            if token < 0:
                break
            rows[filled, 0] = position[0]
            rows[filled, 1] = end
            rows[filled, 2] = token
            filled += 1
            position[0] = end
        return filled

    cdef int64_t _seek(self, const uint8_t *text, int64_t n, int64_t *start, int64_t *end) except -2 nogil:
        """Sets *start and *end to the next token from *start on. Returns its ID, or -1 with *start = n."""
        cdef int64_t at = start[0], token
        while at < n:
            at = fastlm_next_pair(text, n, at, &self.filter[0])
            token = self._longest_match(text, n, at, end)
            if token >= 0:
                start[0] = at
                return token
            at += 1
        start[0] = n
        return -1

    cdef int64_t _longest_match(self, const uint8_t *text, int64_t n, int64_t start, int64_t *end) except -2 nogil:
        """Returns the ID of the longest token that starts at text[start:], and sets *end, or returns -1."""
        cdef int32_t node = self.root[text[start]], low, high, middle
        cdef int64_t at = start + 1, token = -1
        while node:
            if self.id_at[node] >= 0:
                token = self.id_at[node]
                end[0] = at
            if at == n:
                return token
            low = self.first_edge[node]
            high = self.first_edge[node + 1]
            while low < high:
                middle = low + (high - low) // 2
                if self.edge_byte[middle] < text[at]:
                    low = middle + 1
                else:
                    high = middle
            if low == self.first_edge[node + 1] or self.edge_byte[low] != text[at]:
                return token
            node = self.edge_target[low]
            at += 1
        return -1

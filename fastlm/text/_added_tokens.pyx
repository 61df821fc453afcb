"""Where special tokens stand in a text: leftmost first, and the longest of those that start there.

The tokens form a trie in flat arrays: the edges of node v are edge_byte/edge_target[first_edge[v]:first_edge[v + 1]],
sorted by byte, and the root's edges are also a table of 256. A search passes 32 bytes at a time over what no token
begins with, by its first two bytes, and takes at most `longest` steps from where one may begin.
"""
import numpy as np

cdef extern from "text/pair_filter.h" nogil:
    const int64_t FASTLM_FILTER_BYTES
    int64_t fastlm_next_pair(const uint8_t *text, int64_t n, int64_t at, const uint8_t *filter)


def pair_filter(tokens):
    """The tables of pair_filter.h for the byte strings `tokens`: uint8 (FASTLM_FILTER_BYTES,)."""
    filter = np.zeros(FASTLM_FILTER_BYTES, np.uint8)
    follows = np.zeros((256, 256), bool)
    for token in tokens:
        follows[token[0], token[1] if len(token) > 1 else slice(None)] = True
    filter[64:] = np.packbits(follows, axis=1, bitorder="little").ravel()
    for row, members in enumerate((follows.any(axis=1), follows.any(axis=0))):
        high, low = np.divmod(np.flatnonzero(members), 16)
        np.bitwise_or.at(filter, 32 * row + 16 * (high // 8) + low, (1 << high % 8).astype(np.uint8))
    return filter


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef class SpecialFinder:
    """Finds the given byte strings in a text, and says with each the id at its place in `ids`, or that place itself.

    Raises ValueError for an empty token or one given twice, and unless there are as many ids as tokens.
    """

    def __init__(self, tokens, ids=None):
        self.tokens = tuple(tokens)
        ids = range(len(self.tokens)) if ids is None else ids
        self.longest = max(map(len, self.tokens), default=0)
        in_order = sorted(zip(self.tokens, ids, strict=True))
        for k, (token, _) in enumerate(in_order):
            if not token:
                raise ValueError("a special token must not be empty")
            if k and token == in_order[k - 1][0]:
                raise ValueError(f"special token {token!r} is given twice")
        self._build(
            np.frombuffer(b"".join([token for token, _ in in_order]) or b"\0", np.uint8),
            np.cumsum([0] + [len(token) for token, _ in in_order], dtype=np.int64),
            np.array([id for _, id in in_order], np.int64),
        )

    cdef int _build(self, const uint8_t[::1] text, const int64_t[::1] start, const int64_t[::1] ids) except -1:
        """Fills the trie from sorted tokens, text[start[k]:start[k + 1]], level by level."""
        cdef int64_t n = ids.shape[0], most = start[n] + 1, node, nodes = 1, edges = 0, k, stop, depth
        cdef uint8_t byte
        # a node is the tokens begin[v]:end[v], which share their first level[v] bytes
        cdef int64_t[::1] begin = np.zeros(most, np.int64), end = np.full(most, n), level = np.zeros(most, np.int64)
        edge_byte, edge_target = np.empty(most, np.uint8), np.empty(most, np.int32)
        first_edge, id_at, root = np.empty(most + 1, np.int32), np.full(most, -1), np.zeros(256, np.int32)
        cdef uint8_t[::1] to_byte = edge_byte
        cdef int32_t[::1] to_target = edge_target, to_first = first_edge, to_root = root
        cdef int64_t[::1] to_id = id_at
        if start[n] > 0x7FFFFFFF:
            raise ValueError("the special tokens have 2 GiB or more together")
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

    def find(self, const uint8_t[::1] text not None):  # IN (n,)
        """int64 (k, 3): start, end and id of each special token found, in order."""
        found = self.find_in(&text[0], text.shape[0]) if self.tokens and text.shape[0] else None
        return np.empty((0, 3), np.int64) if found is None else found

    def first(self, text):
        """The leftmost special token in a str, as UTF-8, the longest of those that start there, or None.

        Raises UnicodeEncodeError for a lone surrogate, whether or not a token stands before it.
        """
        cdef Py_ssize_t n = 0
        cdef int64_t start = 0, end = 0
        cdef const uint8_t *utf8 = <const uint8_t *>PyUnicode_AsUTF8AndSize(text, &n)
        if not self.tokens or self._seek(utf8, n, &start, &end) < 0:
            return None
        return utf8[start:end]

    cdef object find_in(self, const uint8_t *text, int64_t n):
        """The rows of `find`, or None where there are none."""
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
        """Writes rows from text[position[0]:] on until they or the text end; returns how many."""
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
        """Moves *start on to the next token and *end to where it ends; returns its id, or -1 with *start at n."""
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
        """Id of the longest token at text[start:], or -1; *end is where it ends."""
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

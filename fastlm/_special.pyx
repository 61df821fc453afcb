"""Where special tokens stand in a text: leftmost first, and the longest of those that start there.

The tokens form a trie in flat arrays: the edges of node v are edge_byte/edge_target[first_edge[v]:first_edge[v + 1]],
sorted by byte, and the root's edges are also a table of 256. A search costs one look at each byte of the text (memchr
where all tokens start alike), and at most `longest` steps from each byte that starts one.
"""
import numpy as np
from libc.string cimport memchr

cdef class SpecialFinder:
    """Finds the given byte strings in a text. Raises ValueError for an empty token or one given twice."""

    def __init__(self, tokens):
        self.tokens = tuple(tokens)
        self.longest = max(map(len, self.tokens), default=0)
        nodes, ends = [{}], [-1]
        for index, token in enumerate(self.tokens):
            if not token:
                raise ValueError("a special token must not be empty")
            node = 0
            for byte in token:
                if byte not in nodes[node]:
                    nodes[node][byte] = len(nodes)
                    nodes.append({})
                    ends.append(-1)
                node = nodes[node][byte]
            if ends[node] >= 0:
                raise ValueError(f"special token {token!r} is given twice")
            ends[node] = index
        edges = [sorted(node.items()) for node in nodes]
        self.edge_byte = np.array([byte for node in edges for byte, _ in node], np.uint8)
        self.edge_target = np.array([target for node in edges for _, target in node], np.int32)
        self.first_edge = np.cumsum([0] + [len(node) for node in edges], dtype=np.int32)
        self.token_at = np.array(ends, np.int32)
        root = np.zeros(256, np.int32)
        for byte, target in edges[0]:
            root[byte] = target
        self.root = root
        self.only_first_byte = edges[0][0][0] if len(edges[0]) == 1 else -1

    def find(self, const uint8_t[::1] text not None):  # IN (n,)
        """int64 (k, 3): start, end and index into `tokens` of each special token found, in order."""
        found = self.find_in(&text[0], text.shape[0]) if self.tokens and text.shape[0] else None
        return np.empty((0, 3), np.int64) if found is None else found

    cdef object find_in(self, const uint8_t *text, int64_t n):
        """The rows of `find`, or None where there are none."""
        cdef int64_t position = 0, end = 0, filled
        cdef int32_t token
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
                filled = self._fill(text, n, &position, rows)
            parts.append(block[:filled])
        return np.concatenate(parts)

    cdef int64_t _fill(self, const uint8_t *text, int64_t n, int64_t *position, int64_t[:, ::1] rows) except -1 nogil:
        """Writes rows from text[position[0]:] on until they or the text end; returns how many."""
        cdef int64_t filled = 0, end = 0
        cdef int32_t token
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

    cdef int32_t _seek(self, const uint8_t *text, int64_t n, int64_t *start, int64_t *end) except -2 nogil:
        """Moves *start on to the next token and *end to where it ends; returns its index, or -1 with *start at n."""
        cdef int64_t at = start[0]
        cdef int32_t token
        cdef const uint8_t *found
        while at < n:
            if self.only_first_byte >= 0:
                found = <const uint8_t *>memchr(text + at, self.only_first_byte, n - at)
                if found == NULL:
                    break
                at = found - text
            elif not self.root[text[at]]:
                at += 1
                continue
            token = self._longest_match(text, n, at, end)
            if token >= 0:
                start[0] = at
                return token
            at += 1
        start[0] = n
        return -1

    cdef int32_t _longest_match(self, const uint8_t *text, int64_t n, int64_t start, int64_t *end) except -2 nogil:
        """Index of the longest token at text[start:], or -1; *end is where it ends."""
        cdef int32_t node = self.root[text[start]], token = -1, low, high, middle
        cdef int64_t at = start + 1
        while True:
            if self.token_at[node] >= 0:
                token = self.token_at[node]
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

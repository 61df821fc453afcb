"""The tables of a vocabulary, in the form that the loop in C reads. No call changes them."""
import numpy as np

from libc.stdint cimport int64_t, uint8_t, uintptr_t

from fastlm.encoding._merge_table cimport MergeTable
from fastlm.encoding._token_table cimport TokenTable
from fastlm.native.common cimport FASTLM_NO_ID, scanner_function
from fastlm.pretokenize import _scan
from fastlm.pretokenize._scan import InvalidUTF8Error


cdef class EncodeTables:
    """The tables of a vocabulary.

    Args:
        vocabulary: A Vocabulary.
        kernel: The result of kernels.merge.merge_kernel().
        whole_tokens: int64 (k,): ids that a pretoken of just their bytes becomes, whatever the merges say.

    Raises:
        ValueError: An id or an offset is out of range, or the merges cannot be looked up.
    """

    def __cinit__(self, vocabulary, kernel, const int64_t[::1] whole_tokens):
        self.token_bytes, self.token_offsets = vocabulary.token_bytes, vocabulary.token_offsets
        self._check_offsets()
        self.merge_table = MergeTable(
            vocabulary.merge_left, vocabulary.merge_right, vocabulary.merge_new, vocabulary.byte_ids)
        self.byte_ids = self.merge_table.byte_ids
        self._check_ids(vocabulary)
        self.kernel = kernel  # owns the machine code
        self.vocabulary.merge = <fastlm_merge_fn><uintptr_t>kernel.merge
        self.vocabulary.merge_batch = <fastlm_merge_batch_fn><uintptr_t>kernel.merge_batch
        self.vocabulary.tables = self.merge_table.tables
        self.vocabulary.lacks_bytes = bool((self.merge_table.byte_ids == FASTLM_NO_ID).any())
        self.drops_unknown = vocabulary.rules.unknown_bytes == "drop"
        pattern = vocabulary.pattern
        self.scanner = _scan.scanner(pattern.scanner) if pattern.scanner else None
        self.scan = NULL if self.scanner is None else scanner_function(self.scanner)
        # a text that the pattern changes comes with its pretokens as boundaries
        self.find_ends = None if pattern.changes_text else pattern.find_ends
        self._check_tokens(whole_tokens)
        if not whole_tokens.shape[0]:
            whole_tokens = self._proven_tokens(len(vocabulary.merge_new))
        self.tokens = TokenTable(self.token_bytes, self.token_offsets, whole_tokens)
        self.vocabulary.tokens = &self.tokens.table
        self.ints = [None] * self.num_ids()

    cdef int _check_offsets(self) except -1:
        cdef int64_t k, n = self.token_offsets.shape[0] - 1
        cdef bint ascends = n >= 1 and self.token_offsets[0] == 0 and self.token_offsets[n] == self.token_bytes.shape[0]
        for k in range(n):
            ascends = ascends and self.token_offsets[k] <= self.token_offsets[k + 1]
        if not ascends:
            raise ValueError("token offsets must ascend from 0 to the number of token bytes")
        return 0

    cdef int _check_ids(self, vocabulary) except -1:
        byte_ids = self.merge_table.byte_ids
        arrays = {name: np.asarray(getattr(vocabulary, name)) for name in ("merge_left", "merge_right", "merge_new")}
        for name, ids in {**arrays, "byte_ids": byte_ids[byte_ids != FASTLM_NO_ID]}.items():
            if len(ids) and ids.max() >= self.num_ids():
                raise ValueError(f"{name} holds id {ids.max()}, but the vocabulary has {self.num_ids()} ids")
        return 0

    cdef int64_t num_ids(self) noexcept nogil:
        return self.token_offsets.shape[0] - 1

    cdef bint is_token(self, int64_t token_id) except -1 nogil:
        """Whether a token has this id."""
        return (0 <= token_id < self.num_ids()
                and self.token_offsets[token_id] < self.token_offsets[token_id + 1])

    cdef int check_boundaries(self, const int64_t *boundaries, int64_t n_boundaries, int64_t n) except -1 nogil:
        """Raises ValueError unless the rows are in order, inside a text of n bytes, and have token ids or -1."""
        cdef int64_t k, start, end, token_id, previous = 0
        for k in range(n_boundaries):
            start, end, token_id = boundaries[3 * k], boundaries[3 * k + 1], boundaries[3 * k + 2]
            if not previous <= start <= end <= n:
                with gil:
                    raise ValueError(f"boundary {k} is ({start}, {end}, {token_id}): expected "
                                     f"{previous} <= start <= end <= {n}")
            if token_id != -1 and not self.is_token(token_id):
                with gil:
                    raise ValueError(f"boundary {k} is ({start}, {end}, {token_id}): no token has id {token_id}")
            previous = end
        return 0

    cdef int _check_tokens(self, const int64_t[::1] token_ids) except -1:
        cdef int64_t k
        for k in range(token_ids.shape[0]):
            if not self.is_token(token_ids[k]):
                raise ValueError(f"whole token {k} has id {token_ids[k]}, which is not in the vocabulary")
        return 0

    cdef object _proven_tokens(self, int64_t n_merges):
        """The ids of the tokens whose bytes merge to themselves, as far as token_proof.h proves it."""
        cdef uint8_t[::1] parts = np.zeros(max(1, self.num_ids()) * sizeof(fastlm_token_parts), np.uint8)
        proven = np.zeros(max(1, self.num_ids()), np.uint8)
        cdef uint8_t[::1] to_proven = proven
        with nogil:
            fastlm_prove_tokens(
                &self.vocabulary.tables, n_merges, <fastlm_token_parts *>&parts[0], &to_proven[0])
        return np.flatnonzero(proven)

    cdef object pretoken_ends(self, bytes text, boundaries):
        """The pretoken ends of a text by the pattern's `find_ends`, which sees no special token. Without one, the text
        between two boundaries is a pretoken.

        Args:
            text: UTF-8.
            boundaries: int64 (k, 3), checked, or None.

        Returns:
            int64 (n_pretokens,): ends as offsets into the text.

        Raises:
            InvalidUTF8Error: The text is not UTF-8.
            ValueError: The pattern returned ends that do not ascend to the end of the text.
        """
        if self.find_ends is None:
            stops = np.append(np.empty(0, np.int64) if boundaries is None else boundaries[:, 0], len(text))
            starts = np.append(0, np.empty(0, np.int64) if boundaries is None else boundaries[:, 1])
            return stops[stops > starts]
        parts, start = [np.empty(0, np.int64)], 0
        # a list for each row would keep the garbage collector busy
        stops = [] if boundaries is None else boundaries[:, 0].tolist()
        afters = [] if boundaries is None else boundaries[:, 1].tolist()
        for stop, after in zip([*stops, len(text)], [*afters, 0], strict=True):
            if stop > start:
                try:
                    ends = self.find_ends(text[start:stop])
                except InvalidUTF8Error as error:
                    raise InvalidUTF8Error(start + error.offset, error.reason) from None
                if not _are_ends(ends, stop - start):
                    raise ValueError(
                        f"the pattern must return ascending pretoken ends up to {stop - start}, got {ends}")
                parts.append(start + ends)
            start = after
        return np.concatenate(parts)


cdef bint _are_ends(const int64_t[::1] ends, int64_t size) except -1:
    """Whether ends ascend from more than 0 to `size`."""
    cdef int64_t k, previous = 0
    for k in range(ends.shape[0]):
        if ends[k] <= previous:
            return False
        previous = ends[k]
    return previous == size

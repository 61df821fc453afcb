"""Text to ids: drives the compiled encode kernel without the GIL.

An Encoder owns what one vocabulary needs and never changes it after construction, so any number of threads share it.
What a running call changes (learned pretokens, output, scratch) is a Worker; a call takes one from the idle list,
makes one where none is idle, and puts it back. The table of known pretokens that all share is a Worker's table, filled
once by encoding the vocabulary's own tokens.
"""
import numpy as np

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF, PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy

from fastlm._special cimport SpecialFinder
from fastlm._arrays import grown
from fastlm._scan import BLOCK_ENDS, InvalidUTF8Error, invalid_utf8

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    PyObject *PyList_GET_ITEM(object items, Py_ssize_t k)

cdef extern from "hash.h":
    const uint64_t FASTLM_LONG_KEY
    uint64_t fastlm_folded_product(uint64_t a, uint64_t b)

ctypedef int64_t (*encode_fn)(
    const uint8_t *text, int64_t n, const int64_t *cuts, int64_t n_cuts, int64_t scanner, int64_t *ends, int64_t n_ends,
    const uint64_t *merges, uint64_t merges_mask, uint64_t multiplier, const uint32_t *byte_ids,
    const uint64_t *seeded, uint64_t seeded_mask, const uint8_t *seeded_arena, const uint32_t *seeded_ids,
    uint64_t *learned, uint64_t learned_mask, uint8_t *arena, int64_t arena_size, uint32_t *arena_ids,
    int64_t arena_ids_size, uint64_t *scratch, int64_t scratch_size, uint32_t *out, int64_t out_size, int64_t *state,
) noexcept nogil

cdef enum:  # what the kernel returns
    DONE, INVALID_UTF8, OUT_FULL, SCRATCH_SMALL, PRETOKEN_TOO_LONG, TABLE_FULL

cdef enum:  # what it keeps in a worker's state
    POSITION, CUT, WRITTEN, ARENA_USED, ARENA_IDS_USED, WANTED, LEARNED

cdef enum:
    WINDOW = 8
    LARGEST_TABLE = 1 << 19

HASH_0, HASH_1 = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03

# the names and numbers that kernels/bpe.py must share; a test compares them
SHARED_CONSTANTS = {
    "DONE": DONE, "INVALID_UTF8": INVALID_UTF8, "OUT_FULL": OUT_FULL, "SCRATCH_SMALL": SCRATCH_SMALL,
    "PRETOKEN_TOO_LONG": PRETOKEN_TOO_LONG, "TABLE_FULL": TABLE_FULL, "POSITION": POSITION, "CUT": CUT, "WRITTEN": WRITTEN,
    "ARENA_USED": ARENA_USED, "ARENA_IDS_USED": ARENA_IDS_USED, "WANTED": WANTED,
    "LEARNED": LEARNED, "WINDOW": WINDOW, "LARGEST_TABLE": LARGEST_TABLE, "HASH_0": HASH_0, "HASH_1": HASH_1,
}

# ids that a worker's output holds at first; a larger one is given away with its ids
OUT_IDS = 1 << 15
# entries of a worker's table of learned pretokens at first
FIRST_TABLE = 1 << 13
EMPTY_PAIR = 0xFFFFFFFFFFFFFFFF
# odd multipliers for the merge table, tried in turn until no search in it is long
MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
# entries in a row that a search may have to pass; chance alone gives about 100 in the largest vocabularies
LONGEST_RUN = 512


def merge_table(const uint32_t[::1] left not None, const uint32_t[::1] right not None, const uint32_t[::1] new not None):
    """Open-addressing table of merges for the kernel: (uint64 (2 * 2^k,), multiplier); see kernels/bpe.py.

    left, right, new: IN (n_merges,), in order of merge rank. Raises ValueError for a pair given twice, or pairs made to
    collide.
    """
    cdef int64_t n = left.shape[0], k, probes, worst
    cdef uint64_t mask, key, slot, product, multiplier
    cdef uint64_t empty = EMPTY_PAIR
    cdef uint64_t[::1] table
    bits = max(4, (2 * n).bit_length())
    mask = (<uint64_t>1 << <int>bits) - 1
    for candidate in MULTIPLIERS:
        multiplier = candidate
        array = np.full(2 << bits, empty, np.uint64)
        table = array
        worst = 0
        for k in range(n):
            key = <uint64_t>left[k] << 32 | right[k]
            product = key * multiplier
            slot = (product ^ product >> 32) & mask
            probes = 0
            while table[2 * slot] != empty:
                if table[2 * slot] == key:
                    raise ValueError(f"merge {k} repeats merge {table[2 * slot + 1] >> 32}: ids {left[k]}, {right[k]}")
                slot = (slot + 1) & mask
                probes += 1
                if probes > LONGEST_RUN:
                    break
            worst = max(worst, probes)
            if worst > LONGEST_RUN:
                break
            table[2 * slot] = key
            table[2 * slot + 1] = <uint64_t>k << 32 | new[k]
        if worst <= LONGEST_RUN and longest_run(array[::2] != empty) <= LONGEST_RUN:
            return array, candidate
    raise ValueError("the merges collide under every hash; they were not learned from text")


def longest_run(occupied) -> int:
    """Length of the longest stretch of true entries."""
    free = np.flatnonzero(~occupied)
    return int(np.diff(free, prepend=-1, append=len(occupied)).max()) - 1


def utf8_bytes(text):
    """UTF-8 of a str, lone surrogates as U+FFFD; bytes as they are. Raises TypeError for anything else."""
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise TypeError(f"text must be str, not {type(text).__name__}")
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        return str.encode(text, "utf-16", "surrogatepass").decode("utf-16", "replace").encode()


cdef object with_utf8(text):
    """What holds the UTF-8 of a text: the str itself, which keeps it from then on, or bytes."""
    cdef Py_ssize_t n
    if isinstance(text, str):
        try:
            PyUnicode_AsUTF8AndSize(text, &n)
            return text
        except UnicodeEncodeError:
            pass
    return utf8_bytes(text)


cdef const uint8_t *address_of(object utf8, Py_ssize_t *n) except NULL:
    """Where that UTF-8 is, and how many bytes."""
    if isinstance(utf8, bytes):
        n[0] = PyBytes_GET_SIZE(utf8)
        return <const uint8_t *>PyBytes_AS_STRING(utf8)
    return <const uint8_t *>PyUnicode_AsUTF8AndSize(utf8, n)


cdef class Worker:
    """What one running call changes. `entries`, of the table of learned pretokens, is a power of two."""
    cdef object out_array
    cdef uint64_t[::1] learned
    cdef uint8_t[::1] arena
    cdef uint32_t[::1] arena_ids
    cdef int64_t[::1] ends
    cdef uint64_t[::1] scratch
    cdef uint32_t[::1] out
    cdef int64_t[::1] state

    def __init__(self, entries, arena_bytes, arena_ids):
        self.learned = np.zeros(4 * entries, np.uint64)
        self.arena = np.empty(arena_bytes, np.uint8)
        self.arena_ids = np.empty(arena_ids, np.uint32)
        self.ends = np.empty(BLOCK_ENDS, np.int64)
        self.scratch = np.empty(64, np.uint64)
        self.state = np.zeros(7, np.int64)
        self.renew_out(OUT_IDS)

    cdef int renew_out(self, int64_t size) except -1:
        """A larger output, holding the ids written so far."""
        new = np.empty(size, np.uint32)
        if self.state[WRITTEN]:
            new[: self.state[WRITTEN]] = self.out[: self.state[WRITTEN]]
        self.out_array = new
        self.out = new
        return 0

    cdef int make_room(self, int64_t status) except -1:
        """What the kernel asked for with OUT_FULL, SCRATCH_SMALL or TABLE_FULL."""
        if status == TABLE_FULL:
            self.widen_table()
        elif status == OUT_FULL:
            self.renew_out(max(self.out.shape[0] + self.out.shape[0] // 2, self.state[WRITTEN] + self.state[WANTED]))
        else:
            self.scratch = np.empty(self.state[WANTED], np.uint64)
        return 0

    cdef int widen_table(self) except -1:
        """Twice the room for learned pretokens; what finds no place in its window is forgotten."""
        cdef const uint64_t[::1] old = self.learned
        cdef uint64_t mask = old.shape[0] // 2 - 1, slot, hashed, seed_0 = HASH_0, seed_1 = HASH_1
        cdef int64_t entry, probe
        self.learned = np.zeros(2 * old.shape[0], np.uint64)
        self.arena = grown(self.arena, 2 * self.arena.shape[0])
        self.arena_ids = grown(self.arena_ids, 2 * self.arena_ids.shape[0])
        self.state[LEARNED] = 0
        for entry in range(0, old.shape[0], 4):
            if not old[entry + 1]:
                continue
            hashed = old[entry]  # which it is for a long key
            if old[entry + 1] < FASTLM_LONG_KEY:
                hashed = fastlm_folded_product(old[entry] ^ seed_0, old[entry + 1] ^ seed_1)
            for probe in range(WINDOW):
                slot = (hashed + <uint64_t>probe) & mask
                if not self.learned[4 * slot + 1]:
                    memcpy(&self.learned[4 * slot], &old[entry], 32)
                    self.state[LEARNED] += 1
                    break
        return 0


cdef class Encoder:
    """Encodes with one vocabulary.

    token_bytes (uint8) and token_offsets (int64, number of ids + 1) hold the bytes of each id, none for an id that is
    not used; left, right and new (uint32) are the merges in order of rank; byte_ids (256,) uint32; special_ids[k] is the
    id of special_tokens[k]. `scanner` is a scanner's address, or 0: then `find_ends(text: bytes)` returns the int64
    array of pretoken ends of a text without special tokens.
    """
    cdef object special_ids
    cdef list boxed
    cdef const uint64_t[::1] merges
    cdef uint64_t multiplier
    cdef const uint32_t[::1] byte_ids
    cdef SpecialFinder specials
    cdef int64_t scanner
    cdef object find_ends, compiled
    cdef encode_fn entry
    cdef Worker seeded
    cdef list idle

    def __init__(self, token_bytes, token_offsets, left, right, new, byte_ids, special_tokens, special_ids,
                 int64_t scanner, find_ends, compiled):
        self.merges, self.multiplier = merge_table(left, right, new)
        self.byte_ids = byte_ids
        self.specials = SpecialFinder(special_tokens)
        self.special_ids = np.asarray(special_ids, np.int64)
        self.scanner, self.find_ends = scanner, find_ends
        self.compiled = compiled
        self.entry = <encode_fn><uintptr_t>compiled.address
        self.idle = []
        self.boxed = list(range(len(token_offsets) - 1))
        self._seed(token_bytes, token_offsets)

    cdef int _seed(self, const uint8_t[::1] token_bytes, token_offsets) except -1:
        """Encodes every token of the vocabulary as a pretoken, so that the first sight of most words is a hit."""
        cdef int64_t n = token_bytes.shape[0]
        ends = np.unique(token_offsets)[1:]
        self.seeded = Worker(16, 16, 16)
        filling = Worker(max(16, 1 << (2 * len(ends)).bit_length()), n + 16, n + 16)
        self._run(filling, &token_bytes[0], n, None, 0, ends)
        self.seeded = filling
        return 0

    cdef Worker _take(self):
        try:
            return <Worker>self.idle.pop()
        except IndexError:
            return Worker(FIRST_TABLE, 16 * FIRST_TABLE, 8 * FIRST_TABLE)

    cdef int64_t _step(self, Worker worker, const uint8_t *text, int64_t n, const int64_t[:, ::1] cuts, int64_t scanner,
                       int64_t[::1] ends) except -1:
        """One call of the kernel; returns DONE or what it lacks. Raises ValueError for bytes that are not UTF-8."""
        cdef int64_t status, n_cuts = 0 if cuts is None else cuts.shape[0]
        cdef const int64_t *first_cut = &cuts[0, 0] if n_cuts else NULL
        cdef Worker known = self.seeded
        with nogil:
            status = self.entry(
                text, n, first_cut, n_cuts, scanner, &ends[0], ends.shape[0],
                &self.merges[0], self.merges.shape[0] // 2 - 1, self.multiplier, &self.byte_ids[0],
                &known.learned[0], known.learned.shape[0] // 4 - 1, &known.arena[0], &known.arena_ids[0],
                &worker.learned[0], worker.learned.shape[0] // 4 - 1, &worker.arena[0], worker.arena.shape[0],
                &worker.arena_ids[0], worker.arena_ids.shape[0],
                &worker.scratch[0], worker.scratch.shape[0], &worker.out[0], worker.out.shape[0], &worker.state[0],
            )
        if status == INVALID_UTF8:
            raise invalid_utf8(<const uint8_t[:n]>text, worker.state[POSITION])
        if status == PRETOKEN_TOO_LONG:
            raise ValueError(f"the pretoken at byte {worker.state[POSITION]} has 4 GiB or more")
        return status

    cdef int _run(self, Worker worker, const uint8_t *text, int64_t n, const int64_t[:, ::1] cuts, int64_t scanner,
                  int64_t[::1] ends) except -1:
        """Encodes the whole text; its ids follow those in worker.out[:worker.state[WRITTEN]]."""
        cdef int64_t status
        worker.state[POSITION] = worker.state[CUT] = 0
        if worker.state[WRITTEN] + n // 3 > worker.out.shape[0]:
            worker.renew_out(2 * worker.state[WRITTEN] + n // 3 + OUT_IDS)
        while True:
            status = self._step(worker, text, n, cuts, scanner, ends)
            if status == DONE:
                return 0
            worker.make_room(status)

    cdef object _cuts(self, const uint8_t *text, int64_t n):
        """int64 (k, 3): start, end and id of each special token of the text, or None."""
        cuts = self.specials.find_in(text, n) if self.specials.longest else None
        if cuts is not None:
            cuts[:, 2] = self.special_ids[cuts[:, 2]]
        return cuts

    cdef object _ends(self, bytes text, cuts):
        """Pretoken ends from `find_ends`, which sees no special token."""
        parts, start = [np.empty(0, np.int64)], 0
        for stop, after in [*(() if cuts is None else cuts[:, :2].tolist()), (len(text), 0)]:
            if stop > start:
                try:
                    parts.append(start + self.find_ends(text[start:stop]))
                except InvalidUTF8Error as error:
                    raise InvalidUTF8Error(start + error.offset, error.reason) from None
            start = after
        return np.concatenate(parts)

    cdef Worker _encode(self, text):
        """A worker that holds the ids of a text of any length; the caller puts it back."""
        cdef Worker worker = self._take()
        worker.state[WRITTEN] = 0
        self._append(worker, text)
        return worker

    cdef int _append(self, Worker worker, text) except -1:
        """Adds the ids of a text to those that a worker holds."""
        cdef Py_ssize_t n = 0
        utf8 = with_utf8(text)
        cdef const uint8_t *start = address_of(utf8, &n)
        cuts = self._cuts(start, n)
        if self.scanner:
            self._run(worker, start, n, cuts, self.scanner, worker.ends)
        else:
            ends = self._ends(utf8_bytes(text), cuts)
            self._run(worker, start, n, cuts, 0, ends if len(ends) else worker.ends)
        return 0

    cdef int _put_back(self, Worker worker) except -1:
        if worker.out.shape[0] > OUT_IDS:
            worker.state[WRITTEN] = 0
            worker.renew_out(OUT_IDS)
        if worker.scratch.shape[0] > OUT_IDS:
            worker.scratch = np.empty(64, np.uint64)
        self.idle.append(worker)
        return 0

    def encode(self, text) -> list[int]:
        """Ids of a str, or of UTF-8 bytes; special tokens in it become their ids."""
        cdef Worker worker = self._encode(text)
        cdef Py_ssize_t k, n = worker.state[WRITTEN]
        cdef list ids = PyList_New(n)
        for k in range(n):
            item = <object>PyList_GET_ITEM(self.boxed, worker.out[k])
            Py_INCREF(item)
            PyList_SET_ITEM(ids, k, item)
        self._put_back(worker)
        return ids

    def encode_to_numpy(self, text):
        """The same as a uint32 array."""
        return self._give_ids(self._encode(text))

    def encode_batch_flat(self, texts):
        """Ids of all texts in one uint32 array, and where each begins and the last ends, int64 (len(texts) + 1,)."""
        cdef Worker worker = self._take()
        cdef int64_t k = 0
        offsets = np.zeros(len(texts) + 1, np.int64)
        cdef int64_t[::1] ends = offsets
        worker.state[WRITTEN] = 0
        for text in texts:
            self._append(worker, text)
            k += 1
            ends[k] = worker.state[WRITTEN]
        return self._give_ids(worker), offsets

    cdef object _give_ids(self, Worker worker):
        """The ids that a worker holds, as an array; puts the worker back."""
        cdef int64_t n = worker.state[WRITTEN]
        cdef Py_buffer copied
        if worker.out.shape[0] > OUT_IDS:
            ids, worker.out_array, worker.out = worker.out_array, None, None
            worker.state[WRITTEN] = 0
            worker.renew_out(OUT_IDS)
            ids.resize(n, refcheck=False)
        else:
            ids = np.empty(n, np.uint32)
            # by the buffer itself: a memoryview costs as much as a short text
            PyObject_GetBuffer(ids, &copied, PyBUF_WRITABLE)
            memcpy(copied.buf, &worker.out[0], 4 * n)
            PyBuffer_Release(&copied)
        self._put_back(worker)
        return ids

    def count(self, text) -> int:
        """Number of ids, without making them all at once."""
        cdef Py_ssize_t n = 0
        utf8 = with_utf8(text)
        cdef const uint8_t *start = address_of(utf8, &n)
        cdef Worker worker
        cdef int64_t status, total = 0
        if not self.scanner:
            worker = self._encode(text)
            total = worker.state[WRITTEN]
            self._put_back(worker)
            return total
        worker = self._take()
        cuts = self._cuts(start, n)
        worker.state[POSITION] = worker.state[CUT] = worker.state[WRITTEN] = 0
        while True:
            status = self._step(worker, start, n, cuts, self.scanner, worker.ends)
            if status == OUT_FULL and worker.state[WRITTEN]:
                total += worker.state[WRITTEN]
                worker.state[WRITTEN] = 0
            elif status == DONE:
                break
            else:
                worker.make_room(status)
        total += worker.state[WRITTEN]
        self._put_back(worker)
        return total

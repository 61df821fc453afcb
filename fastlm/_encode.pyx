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
from libc.string cimport memcmp, memcpy

from fastlm._special cimport SpecialFinder
from fastlm._arrays import grown
from fastlm._scan import BLOCK_ENDS, InvalidUTF8Error, invalid_utf8

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    PyObject *PyList_GET_ITEM(object items, Py_ssize_t k)

cdef extern from "hash.h" nogil:
    const uint64_t FASTLM_LONG_KEY
    uint64_t fastlm_folded_product(uint64_t a, uint64_t b)
    uint64_t fastlm_load8(const uint8_t *p)
    void fastlm_short_key(const uint8_t *p, int64_t length, int64_t readable, uint64_t *low, uint64_t *high)

ctypedef int64_t (*encode_fn)(
    const uint8_t *text, int64_t n, const int64_t *cuts, int64_t n_cuts, int64_t scanner, int64_t *ends, int64_t n_ends,
    const uint64_t *merges, uint64_t merges_mask, uint64_t multiplier, const uint32_t *byte_ids,
    const uint64_t *seeded, uint64_t seeded_mask, const uint8_t *seeded_arena, const uint32_t *seeded_ids,
    uint64_t *learned, uint64_t learned_mask, uint8_t *arena, int64_t arena_size, uint32_t *arena_ids,
    int64_t arena_ids_size, uint64_t *scratch, int64_t scratch_size, uint32_t *out, int64_t out_size, int64_t *state,
) noexcept nogil

cdef enum:  # what the kernel returns
    DONE, INVALID_UTF8, OUT_FULL, SCRATCH_SMALL, PRETOKEN_TOO_LONG, TABLE_FULL, UNKNOWN_BYTE

cdef enum:  # what it keeps in a worker's state
    POSITION, CUT, WRITTEN, ARENA_USED, ARENA_IDS_USED, WANTED, LEARNED, PARTIAL

cdef enum:
    WINDOW = 8
    LONGEST_KEY = 255
    LARGEST_TABLE = 1 << 19

cdef uint32_t NO_ID = 0xFFFFFFFF

HASH_0, HASH_1 = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03
cdef uint64_t HASH_0_C = HASH_0, HASH_1_C = HASH_1

# the names and numbers that kernels/bpe.py must share; a test compares them
SHARED_CONSTANTS = {
    "DONE": DONE, "INVALID_UTF8": INVALID_UTF8, "OUT_FULL": OUT_FULL, "SCRATCH_SMALL": SCRATCH_SMALL,
    "PRETOKEN_TOO_LONG": PRETOKEN_TOO_LONG, "TABLE_FULL": TABLE_FULL, "UNKNOWN_BYTE": UNKNOWN_BYTE,
    "POSITION": POSITION, "CUT": CUT, "WRITTEN": WRITTEN, "ARENA_USED": ARENA_USED, "ARENA_IDS_USED": ARENA_IDS_USED,
    "WANTED": WANTED, "LEARNED": LEARNED, "PARTIAL": PARTIAL, "WINDOW": WINDOW, "LONGEST_KEY": LONGEST_KEY,
    "LARGEST_TABLE": LARGEST_TABLE, "NO_ID": NO_ID, "HASH_0": HASH_0, "HASH_1": HASH_1,
}

# ids that a worker's output holds at first; a larger one is given away with its ids
OUT_IDS = 1 << 15
# the least that a scanner may be given to fill: more than the characters of a block of 64 bytes
FEWEST_ENDS = 128
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


cdef uint64_t long_hash(const uint8_t *p, int64_t length) noexcept nogil:
    """The kernel's hash of a key of more than 15 bytes."""
    cdef uint64_t seed_0 = HASH_0_C, seed_1 = HASH_1_C, mixed = seed_0 ^ <uint64_t>length
    cdef int64_t k
    for k in range(0, length - 8, 8):
        mixed = fastlm_folded_product(mixed ^ fastlm_load8(p + k), seed_1)
    return fastlm_folded_product(mixed ^ fastlm_load8(p + length - 8), seed_0)


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
        self.state = np.zeros(8, np.int64)
        self.renew_out(OUT_IDS)

    cdef int renew_out(self, int64_t size) except -1:
        """A larger output, holding the ids written so far."""
        new = np.empty(size, np.uint32)
        if self.state[WRITTEN]:
            new[: self.state[WRITTEN]] = self.out[: self.state[WRITTEN]]
        self.out_array = new
        self.out = new
        return 0

    cdef int make_room(self) except -1:
        """Room for as many more ids as the kernel wants, and some."""
        return self.renew_out(max(self.out.shape[0] + self.out.shape[0] // 2, self.state[WRITTEN] + self.state[WANTED]))

    cdef int widen_table(self) except -1:
        """Twice the room for learned pretokens; what finds no place in its window is forgotten."""
        cdef const uint64_t[::1] old = self.learned
        cdef uint64_t mask = old.shape[0] // 2 - 1, slot, hashed
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
                hashed = fastlm_folded_product(old[entry] ^ HASH_0_C, old[entry + 1] ^ HASH_1_C)
            for probe in range(WINDOW):
                slot = (hashed + <uint64_t>probe) & mask
                if not self.learned[4 * slot + 1]:
                    memcpy(&self.learned[4 * slot], &old[entry], 32)
                    self.state[LEARNED] += 1
                    break
        return 0

    cdef int put(self, const uint8_t *key, int64_t length, uint32_t id, set kept) except -1:
        """Makes a pretoken of up to LONGEST_KEY bytes known as this one id; `kept` are the slots so filled before."""
        cdef uint64_t mask = self.learned.shape[0] // 4 - 1, slot, free = mask + 1, hashed, low = 0, high = 0
        cdef int64_t probe, entry, offset
        cdef bint is_long = length > 15
        if is_long:
            low = hashed = long_hash(key, length)
            high = FASTLM_LONG_KEY | <uint64_t>length << 32 | <uint64_t>self.state[ARENA_USED]
        else:
            fastlm_short_key(key, length, length, &low, &high)
            hashed = fastlm_folded_product(low ^ HASH_0_C, high ^ HASH_1_C)
        for probe in range(WINDOW):
            slot = (hashed + <uint64_t>probe) & mask
            entry = 4 * <int64_t>slot
            if self.learned[entry + 1] == 0:
                free = slot
                break
            if self.learned[entry] == low and self.learned[entry + 1] >> 32 == high >> 32:
                offset = self.learned[entry + 1] & 0xFFFFFFFF
                if not is_long and self.learned[entry + 1] == high or (
                        is_long and not memcmp(&self.arena[offset], key, length)):
                    self.learned[entry + 2], self.learned[entry + 3] = id, <uint64_t>1 << 32
                    kept.add(slot)
                    return 0
            if slot not in kept:
                free = slot
        if free > mask:
            raise ValueError(f"the tokens collide: {bytes(key[:length])!r} finds no place beside others")
        if is_long:
            self.arena = grown(self.arena, self.arena.shape[0] + length)
            memcpy(&self.arena[self.state[ARENA_USED]], key, length)
            self.state[ARENA_USED] += length
        entry = 4 * <int64_t>free
        self.learned[entry], self.learned[entry + 1] = low, high
        self.learned[entry + 2], self.learned[entry + 3] = id, <uint64_t>1 << 32
        kept.add(free)
        return 0


cdef class Encoder:
    """Encodes with one vocabulary.

    token_bytes (uint8) and token_offsets (int64, number of ids + 1) hold the bytes of each id, none for an id that is
    not used; left, right and new (uint32) are the merges in order of rank; byte_ids (256,) uint32, NO_ID for a
    byte that is refused or, with `drops_unknown`, dropped. `whole` (int64) are the ids that a pretoken becomes if it
    has just their bytes, whatever the merges say. `scanner` is a scanner's address, or 0: then `find_ends(text: bytes)`
    returns the int64 array of pretoken ends of a text without special tokens.

    The methods take a str or UTF-8 bytes, and with it what cuts it: a SpecialFinder, or an int64 array (k, 3) of start
    and end in bytes and the id that stands there, in order; or None.
    """
    cdef list boxed
    cdef const uint64_t[::1] merges
    cdef uint64_t multiplier
    cdef const uint32_t[::1] byte_ids
    cdef bint partial, drops_unknown
    cdef int64_t scanner
    cdef object find_ends, compiled
    cdef encode_fn entry
    cdef Worker seeded
    cdef list idle

    def __init__(self, token_bytes, token_offsets, left, right, new, byte_ids, drops_unknown, whole,
                 int64_t scanner, find_ends, compiled):
        self.merges, self.multiplier = merge_table(left, right, new)
        self.byte_ids = byte_ids
        self.partial, self.drops_unknown = byte_ids.max() == NO_ID, drops_unknown
        self.scanner, self.find_ends = scanner, find_ends
        self.compiled = compiled
        self.entry = <encode_fn><uintptr_t>compiled.address
        self.idle = []
        self.boxed = list(range(len(token_offsets) - 1))
        self._seed(token_bytes, token_offsets, whole)

    cdef int _seed(self, token_bytes, token_offsets, whole) except -1:
        """Encodes every token of the vocabulary as a pretoken, so that the first sight of most words is a hit."""
        cdef int64_t n = len(token_bytes)
        cdef const uint8_t[::1] text = token_bytes
        ends = token_offsets[1:][np.diff(token_offsets) > 0]
        self.seeded = Worker(16, 16, 16)
        filling = Worker(max(16, 1 << (2 * len(ends)).bit_length()), n + 16, n + 16)
        if not self.partial:
            self._run(filling, &text[0], n, None, 0, ends)
        if len(whole) and filling.state[WRITTEN] != len(ends):
            self._keep_whole(filling, text, token_offsets, whole)
        self.seeded = filling
        return 0

    cdef int _keep_whole(self, Worker filling, const uint8_t[::1] text, const int64_t[::1] offsets,
                         const int64_t[::1] whole) except -1:
        """Puts in the tokens that merging their bytes does not make."""
        cdef int64_t k, start, length
        cdef int64_t[::1] end = np.zeros(1, np.int64)
        cdef set kept = set()
        probe = Worker(16, 16, 16)
        # of tokens with the same bytes the first is put in last
        for k in range(whole.shape[0] - 1, -1, -1):
            start, length = offsets[whole[k]], offsets[whole[k] + 1] - offsets[whole[k]]
            probe.state[WRITTEN] = 0
            if not self.partial:
                end[0] = length
                self._run(probe, &text[start], length, None, 0, end)
            if probe.state[WRITTEN] == 1 and probe.out[0] == whole[k]:
                continue
            if length > LONGEST_KEY:
                raise ValueError(f"token {whole[k]} has {length} bytes and no merges make it, so it is never found")
            filling.put(&text[start], length, <uint32_t>whole[k], kept)
        return 0

    cdef Worker _take(self):
        try:
            return <Worker>self.idle.pop()
        except IndexError:
            worker = Worker(FIRST_TABLE, 16 * FIRST_TABLE, 8 * FIRST_TABLE)
            worker.state[PARTIAL] = self.partial
            return worker

    cdef int64_t _step(self, Worker worker, const uint8_t *text, int64_t n, const int64_t[:, ::1] cuts, int64_t scanner,
                       int64_t[::1] ends, int64_t out_size) except -1:
        """Calls of the kernel until it is done or lacks room; returns DONE or OUT_FULL.

        Raises ValueError for bytes that are not UTF-8 or have no id.
        """
        cdef int64_t status, n_cuts = 0 if cuts is None else cuts.shape[0]
        cdef const int64_t *first_cut = &cuts[0, 0] if n_cuts else NULL
        cdef Worker known = self.seeded
        while True:
            with nogil:
                status = self.entry(
                    text, n, first_cut, n_cuts, scanner, &ends[0], ends.shape[0],
                    &self.merges[0], self.merges.shape[0] // 2 - 1, self.multiplier, &self.byte_ids[0],
                    &known.learned[0], known.learned.shape[0] // 4 - 1, &known.arena[0], &known.arena_ids[0],
                    &worker.learned[0], worker.learned.shape[0] // 4 - 1, &worker.arena[0], worker.arena.shape[0],
                    &worker.arena_ids[0], worker.arena_ids.shape[0],
                    &worker.scratch[0], worker.scratch.shape[0], &worker.out[0], out_size, &worker.state[0],
                )
            if status == DONE or status == OUT_FULL:
                return status
            if status == INVALID_UTF8:
                raise invalid_utf8(<const uint8_t[:n]>text, worker.state[POSITION])
            if status == PRETOKEN_TOO_LONG:
                raise ValueError(f"the pretoken at byte {worker.state[POSITION]} has 4 GiB or more")
            if status == UNKNOWN_BYTE:
                self._pass_unknown(worker, text)
            elif status == TABLE_FULL:
                worker.widen_table()
            else:
                worker.scratch = np.empty(worker.state[WANTED], np.uint64)

    cdef int _pass_unknown(self, Worker worker, const uint8_t *text) except -1:
        """Encodes the pretoken at the worker's position without the bytes that have no id, or refuses them."""
        cdef int64_t at = worker.state[POSITION], cut = worker.state[CUT], after = at + worker.state[WANTED], k
        kept = bytearray()
        for k in range(at, after):
            if self.byte_ids[text[k]] != NO_ID:
                kept.append(text[k])
            elif not self.drops_unknown:
                raise ValueError(f"byte {k} of the text, 0x{text[k]:02x}, has no token in the vocabulary")
        if kept:
            self._run(worker, kept, len(kept), None, 0, np.array([len(kept)], np.int64))
        worker.state[POSITION], worker.state[CUT] = after, cut
        return 0

    cdef int _run(self, Worker worker, const uint8_t *text, int64_t n, const int64_t[:, ::1] cuts, int64_t scanner,
                  int64_t[::1] ends) except -1:
        """Encodes the whole text; its ids follow those in worker.out[:worker.state[WRITTEN]]."""
        worker.state[POSITION] = worker.state[CUT] = 0
        if worker.state[WRITTEN] + n // 3 > worker.out.shape[0]:
            worker.renew_out(2 * worker.state[WRITTEN] + n // 3 + OUT_IDS)
        while self._step(worker, text, n, cuts, scanner, ends, worker.out.shape[0]) == OUT_FULL:
            worker.make_room()
        return 0

    cdef object _rows(self, const uint8_t *text, int64_t n, cuts):
        """int64 (k, 3): start, end and id of what cuts the text, or None."""
        if cuts is None or not isinstance(cuts, SpecialFinder):
            return cuts
        return (<SpecialFinder>cuts).find_in(text, n) if (<SpecialFinder>cuts).longest else None

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

    cdef Worker _encode(self, text, cuts):
        """A worker that holds the ids of a text of any length; the caller puts it back."""
        cdef Worker worker = self._take()
        worker.state[WRITTEN] = 0
        self._append(worker, text, cuts)
        return worker

    cdef int _append(self, Worker worker, text, cuts) except -1:
        """Adds the ids of a text to those that a worker holds."""
        cdef Py_ssize_t n = 0
        utf8 = with_utf8(text)
        cdef const uint8_t *start = address_of(utf8, &n)
        rows = self._rows(start, n, cuts)
        if self.scanner:
            self._run(worker, start, n, rows, self.scanner, worker.ends)
        else:
            ends = self._ends(utf8_bytes(text), rows)
            self._run(worker, start, n, rows, 0, ends if len(ends) else worker.ends)
        return 0

    cdef int _put_back(self, Worker worker) except -1:
        if worker.out.shape[0] > OUT_IDS:
            worker.state[WRITTEN] = 0
            worker.renew_out(OUT_IDS)
        if worker.scratch.shape[0] > OUT_IDS:
            worker.scratch = np.empty(64, np.uint64)
        self.idle.append(worker)
        return 0

    def encode(self, text, cuts=None) -> list[int]:
        """Ids of a text as a list."""
        cdef Worker worker = self._encode(text, cuts)
        return self._give_list(worker, worker.state[WRITTEN])

    def encode_to_numpy(self, text, cuts=None):
        """The same as a uint32 array."""
        return self._give_ids(self._encode(text, cuts))

    def encode_batch_flat(self, texts, cuts=None):
        """Ids of all texts in one uint32 array, and where each begins and the last ends, int64 (len(texts) + 1,).

        `cuts`: one for all texts, or a list with one for each.
        """
        cdef Worker worker = self._take()
        cdef int64_t k = 0
        offsets = np.zeros(len(texts) + 1, np.int64)
        cdef int64_t[::1] ends = offsets
        worker.state[WRITTEN] = 0
        for text in texts:
            self._append(worker, text, cuts[k] if isinstance(cuts, list) else cuts)
            k += 1
            ends[k] = worker.state[WRITTEN]
        return self._give_ids(worker), offsets

    def encode_upto(self, text, int64_t limit, cuts=None) -> list[int]:
        """The first `limit` ids, or all where there are fewer; what follows them is not encoded."""
        cdef Py_ssize_t n = 0
        cdef Worker worker = self._take()
        utf8 = with_utf8(text)
        cdef const uint8_t *start = address_of(utf8, &n)
        cdef int64_t room = min(limit, OUT_IDS // 2)
        cdef int64_t[::1] ends = worker.ends
        cdef int64_t scanner = self.scanner
        rows = self._rows(start, n, cuts)
        worker.state[POSITION] = worker.state[CUT] = worker.state[WRITTEN] = 0
        if scanner:
            ends = ends[:min(ends.shape[0], limit + FEWEST_ENDS)]
        else:
            found = self._ends(utf8_bytes(text), rows)
            ends = found if len(found) else ends
        while worker.state[WRITTEN] < limit and n:
            if self._step(worker, start, n, rows, scanner, ends, min(room, worker.out.shape[0])) == DONE:
                break
            room = worker.state[WRITTEN] + worker.state[WANTED]
            if room > worker.out.shape[0]:
                worker.make_room()
        return self._give_list(worker, min(limit, worker.state[WRITTEN]))

    def count(self, text, cuts=None) -> int:
        """Number of ids, without making them all at once."""
        cdef Py_ssize_t n = 0
        utf8 = with_utf8(text)
        cdef const uint8_t *start = address_of(utf8, &n)
        cdef Worker worker
        cdef int64_t total = 0
        if not self.scanner:
            worker = self._encode(text, cuts)
            total = worker.state[WRITTEN]
            self._put_back(worker)
            return total
        worker = self._take()
        rows = self._rows(start, n, cuts)
        worker.state[POSITION] = worker.state[CUT] = worker.state[WRITTEN] = 0
        while self._step(worker, start, n, rows, self.scanner, worker.ends, worker.out.shape[0]) == OUT_FULL:
            if worker.state[WRITTEN]:
                total += worker.state[WRITTEN]
                worker.state[WRITTEN] = 0
            else:
                worker.make_room()
        total += worker.state[WRITTEN]
        self._put_back(worker)
        return total

    cdef list _give_list(self, Worker worker, Py_ssize_t n):
        """The first n ids that a worker holds; puts the worker back."""
        cdef Py_ssize_t k
        cdef list ids = PyList_New(n)
        for k in range(n):
            item = <object>PyList_GET_ITEM(self.boxed, worker.out[k])
            Py_INCREF(item)
            PyList_SET_ITEM(ids, k, item)
        self._put_back(worker)
        return ids

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

"""Text to ids: drives the loop of encoding.h without the GIL.

An Encoder owns what one vocabulary needs and never changes it after construction, so any number of threads share it.
What a running call changes (known pretokens, output, scratch) is a Worker; a call takes one of the idle ones, makes one
where none is idle, and puts it back. A new worker knows the vocabulary's own tokens, encoded once for all.
"""
import numpy as np

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF, PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

from fastlm._special cimport SpecialFinder
from fastlm._utf8 cimport address_of, with_utf8
from fastlm._pairs import PairTables
from fastlm._scan import InvalidUTF8Error, invalid_utf8
from fastlm._utf8 import utf8_bytes

cdef extern from "Python.h":
    PyObject *PyList_GET_ITEM(object items, Py_ssize_t k)

cdef uint32_t NO_ID = 0xFFFFFFFF

SCRATCH_WORDS = FASTLM_SCRATCH_WORDS  # what the kernel counts on; a test compares them

cdef enum:
    CACHE_LINE = 64
    HUGE_PAGE = 1 << 21

# ids that a worker's output holds at first; more are given away with the output that holds them
OUT_IDS = 1 << 15
# an idle worker keeps no larger output
KEPT_IDS = 1 << 19
# the ends of a block of text stay in the first cache, with the text and its ids
BLOCK_ENDS = 512
# special tokens in a text for which there is room without asking
FEW_CUTS = 64
# the least that a scanner may be given to fill: more than the characters of a block of 64 bytes
FEWEST_ENDS = 128
# a worker begins with room for the vocabulary's tokens and so many other pretokens
FIRST_ROOM = 1 << 16
# the largest table of known pretokens, in entries, unless the vocabulary itself takes more: a larger one costs more in
# cache misses than it saves
LARGEST_TABLE = 1 << 19


cdef class Known:
    """A table of known pretokens with `entries`, a power of two, and the memory that it points to."""

    def __init__(self, int64_t entries, int64_t bytes_size, int64_t ids_size):
        cdef int64_t size = entries * sizeof(fastlm_known_entry)
        # numpy asks for huge pages for arrays this large, and the table is to lie on whole ones: its entries are read
        # all over it. A small one begins with a cache line
        cdef int64_t page = HUGE_PAGE if size >= HUGE_PAGE else CACHE_LINE
        self.memory = np.zeros(size + page, np.uint8)
        self.bytes = np.empty(bytes_size, np.uint8)
        self.ids = np.empty(ids_size + FASTLM_SPARE_IDS, np.uint32)
        self.table.entries = <fastlm_known_entry *>(<uintptr_t>&self.memory[page - 1] & -<uintptr_t>page)
        self.table.mask = entries - 1
        self.table.used, self.table.full_at = 0, entries // 4 * 3
        self.table.bytes, self.table.bytes_used, self.table.bytes_size = &self.bytes[0], 0, bytes_size
        self.table.ids, self.table.ids_used, self.table.ids_size = &self.ids[0], 0, ids_size + FASTLM_SPARE_IDS

    cdef int64_t entries(self) noexcept:
        return <int64_t>self.table.mask + 1

    cdef Known resized(self, int64_t entries):
        """The same pretokens in a table of so many entries, of which some may be lost, and as much more memory."""
        cdef int64_t grown = max(1, entries // self.entries())
        cdef Known new = Known(entries, grown * self.table.bytes_size, grown * self.table.ids_size)
        new.take(self)
        return new

    cdef int take(self, Known other) except -1:
        """Takes into a table without entries what a table that is no larger knows."""
        cdef fastlm_known_entry *entry
        cdef fastlm_known_entry *place
        cdef int64_t k
        if self.table.mask == other.table.mask:
            memcpy(self.table.entries, other.table.entries, self.entries() * sizeof(fastlm_known_entry))
            # one whose memory is full is to take a block, at least, before it is found so again
            self.table.used = min(other.table.used, self.table.full_at - 1)
        else:
            for k in range(other.entries()):
                entry = other.table.entries + k
                if fastlm_is_empty(entry):
                    continue
                place = fastlm_empty_entry(&self.table, fastlm_hash_of(entry))
                if place != NULL:
                    place[0] = entry[0]
                    self.table.used += 1
        memcpy(self.table.bytes, other.table.bytes, other.table.bytes_used)
        memcpy(self.table.ids, other.table.ids, other.table.ids_used * sizeof(uint32_t))
        self.table.bytes_used, self.table.ids_used = other.table.bytes_used, other.table.ids_used
        return 0


cdef class Worker:
    """What one running call changes. Calls of the same `number` get the same one, where it is idle."""

    def __init__(self, Known known, int64_t number):
        self.known, self.number = known, number
        self.ends = np.empty(BLOCK_ENDS, np.int64)
        self.cuts = np.empty((FEW_CUTS, 3), np.int64)
        self.scratch = np.empty(FASTLM_SCRATCH_WORDS, np.uint64)
        self.encoding.written = 0
        self.renew_out(OUT_IDS)

    cdef int renew_out(self, int64_t size) except -1:
        """A larger output, holding the ids written so far."""
        new = np.empty(size, np.uint32)
        if self.encoding.written:
            new[: self.encoding.written] = self.out[: self.encoding.written]
        self.out_array = new
        self.out = new
        return 0

    cdef int make_room(self) except -1:
        """Room for as many more ids as are wanted, and some."""
        return self.renew_out(
            max(self.out.shape[0] + self.out.shape[0] // 2, self.encoding.written + self.encoding.wanted))

    cdef int reserve(self, int64_t more) except -1:
        """Room for some more ids."""
        if self.encoding.written + more > self.out.shape[0]:
            self.renew_out(2 * self.encoding.written + more + OUT_IDS)
        return 0


cdef class Taken:
    """Ids that a worker hands over as they come, in an array of uint16 or uint32, or a larger one like it."""

    def __init__(self, array):
        self.is_narrow, self.used = array.itemsize == 2, 0
        self.array, self.bytes = array, array.view(np.uint8)

    cdef int renew(self, int64_t room) except -1:
        new = np.empty(room, self.array.dtype)
        new[: self.used] = self.array[: self.used]
        self.array, self.bytes = new, new.view(np.uint8)
        return 0

    cdef int take(self, const uint32_t *ids, int64_t n) except -1 nogil:
        cdef uint16_t *narrow
        cdef int64_t k
        if self.bytes.shape[0] < (self.used + n) * (2 if self.is_narrow else 4):
            with gil:
                self.renew(self.used + max(n, self.used // 2))
        if not n:
            return 0
        if self.is_narrow:
            narrow = <uint16_t *>&self.bytes[0] + self.used
            for k in range(n):
                narrow[k] = <uint16_t>ids[k]
        else:
            memcpy(<uint32_t *>&self.bytes[0] + self.used, ids, n * sizeof(uint32_t))
        self.used += n
        return 0


cdef int64_t[:, ::1] places_of(texts, list utf8):
    """Address and length of the UTF-8 of each text; what holds it is added to a list."""
    cdef Py_ssize_t n = 0
    cdef int64_t k
    cdef object held
    utf8 += texts
    cdef int64_t[:, ::1] places = np.empty((len(utf8), 2), np.int64)
    for k in range(places.shape[0]):
        held = with_utf8(utf8[k])
        utf8[k] = held
        places[k, 0] = <int64_t><uintptr_t>address_of(held, &n)
        places[k, 1] = n
    return places


cdef int put(Known known, const uint8_t *p, int64_t length, uint32_t id) except -1:
    """Makes a pretoken known as this one id."""
    cdef fastlm_key key = fastlm_key_of(p, length, length)
    cdef fastlm_known_entry *entry = <fastlm_known_entry *>fastlm_find(&known.table, key, p, length)
    if entry:
        entry.n_ids, entry.ids[0] = 1, id
    else:
        fastlm_remember(&known.table, key, p, length, &id, 1)
    return 0


cdef class Encoder:
    """Encodes with one vocabulary.

    token_bytes (uint8) and token_offsets (int64, number of ids + 1) hold the bytes of each id, none for an id that is
    not used; left, right and new (uint32) are the merges in order of rank; byte_ids (256,) uint32, NO_ID for a
    byte that is refused or, with `drops_unknown`, dropped. `whole` (int64) are the ids that a pretoken becomes if it
    has just their bytes, whatever the merges say. `scanner` is a scanner's address, or 0: then `find_ends(text: bytes)`
    returns the int64 array of pretoken ends of a text without special tokens. `compiled` is kernels.bpe.compiled().

    The methods take a str, UTF-8 bytes or Utf8, and with it what cuts it: a SpecialFinder, or an int64 array (k, 3) of
    start and end in bytes and the id that stands there, in order; or None.
    """

    def __init__(self, token_bytes, token_offsets, left, right, new, byte_ids, drops_unknown, whole,
                 int64_t scanner, find_ends, compiled):
        pairs = PairTables(left, right, new, byte_ids)
        self.byte_ids, self.byte_pairs, self.slots = byte_ids, pairs.byte_pairs, pairs.slots
        self.merge_rows = pairs.merges
        self.compiled = compiled  # which owns the machine code
        self.merges.merge = <fastlm_merge_fn><uintptr_t>compiled.address
        self.merges.byte_ids, self.merges.byte_pairs = &self.byte_ids[0], &self.byte_pairs[0]
        self.merges.slots, self.merges.merges = &self.slots[0], &self.merge_rows[0]
        self.merges.shift, self.merges.multiplier = pairs.shift, pairs.multiplier
        self.merges.row_bits = pairs.row_bits
        self.merges.whole = NULL
        self.merges.partial = byte_ids.max() == NO_ID
        self.drops_unknown = drops_unknown
        self.token_bytes, self.token_offsets = token_bytes, token_offsets
        self.scan = <fastlm_scan_fn><uintptr_t>scanner
        self.find_ends = find_ends
        self.idle, self.workers = {}, 0
        self.boxed = list(range(len(token_offsets) - 1))
        self.is_own = np.zeros(len(token_offsets) - 1, np.uint8)
        self._seed(token_bytes, token_offsets)
        if len(whole):
            self._keep_whole(token_bytes, token_offsets, whole)
        self._note_own()

    cdef int _seed(self, token_bytes, token_offsets) except -1:
        """Encodes every token of the vocabulary as a pretoken, so that the first sight of most words is a hit."""
        cdef const uint8_t[::1] text = token_bytes
        ends = token_offsets[1:][np.diff(token_offsets) > 0]
        entries = 1 << ((len(ends) + FIRST_ROOM) * 4 // 3).bit_length()
        worker = Worker(Known(entries, 16 * entries, 8 * entries), 0)
        if not self.merges.partial and len(ends):
            self.run(worker, &text[0], text.shape[0], None, False, ends)
        self.seeded, self.seed_entries = worker.known, worker.known.entries()
        return 0

    cdef int _keep_whole(self, const uint8_t[::1] text, const int64_t[::1] offsets,
                         const int64_t[::1] whole) except -1:
        """Makes known the tokens that merging their bytes does not make."""
        cdef int64_t k, start, length
        cdef uint32_t id
        cdef const fastlm_known_entry *entry
        cdef list unmade = []
        cdef Worker worker = Worker(Known(16, 16, 16), 0)
        # of tokens with the same bytes the first comes last
        for k in range(whole.shape[0] - 1, -1, -1):
            id, start, length = whole[k], offsets[whole[k]], offsets[whole[k] + 1] - offsets[whole[k]]
            if text[start + length - 1] >= FASTLM_NOT_IN_TEXT:  # no pretoken ends so
                continue
            if length > FASTLM_LONGEST_KEY:
                if not self._makes(worker, &text[start], length, id):
                    raise ValueError(f"token {id} has {length} bytes and no merges make it, so it is never found")
                continue
            entry = fastlm_find(&self.seeded.table, fastlm_key_of(&text[start], length, length), &text[start], length)
            if not entry or entry.n_ids != 1 or entry.ids[0] != id:
                if not self._makes(worker, &text[start], length, id):
                    unmade.append(id)
        if not unmade:
            return 0
        # a table that holds them all, with no more than the first 8 entries from a token's place searched
        for more in range(2, 6):
            self.whole = Known(1 << (len(unmade).bit_length() + more), FASTLM_LONGEST_KEY * len(unmade), 0)
            for id in unmade:
                put(self.whole, &text[offsets[id]], offsets[id + 1] - offsets[id], id)
            if all([self._is_kept(&text[offsets[id]], offsets[id + 1] - offsets[id]) for id in unmade]):
                break
        else:
            raise ValueError("the tokens that no merges make collide: there is no place for one beside others")
        for id in unmade:
            put(self.seeded, &text[offsets[id]], offsets[id + 1] - offsets[id], id)
        self.merges.whole = &self.whole.table
        return 0

    cdef bint _is_kept(self, const uint8_t *token, int64_t length) noexcept:
        return fastlm_find(&self.whole.table, fastlm_key_of(token, length, length), token, length) != NULL

    cdef bint _makes(self, Worker worker, const uint8_t *token, int64_t length, uint32_t id) except -1:
        """Whether merging these bytes gives just this id."""
        cdef int64_t k
        for k in range(length):
            if self.byte_ids[token[k]] == NO_ID:
                return False
        worker.encoding.written = 0
        self.run(worker, token, length, None, False, np.array([length]))
        return worker.encoding.written == 1 and worker.out[0] == id

    cdef int _note_own(self) except -1:
        """Notes the tokens that are known as themselves."""
        cdef int64_t k
        cdef fastlm_known_entry *entry
        for k in range(self.seeded.entries()):
            entry = self.seeded.table.entries + k
            if entry.n_ids == 1:
                self.is_own[entry.ids[0]] = True
        return 0

    cdef int _begin_anew(self, Known known) except -1 nogil:
        """Makes a table know those tokens and nothing else."""
        cdef int64_t id, start, length
        cdef uint32_t own
        memset(known.table.entries, 0, (known.table.mask + 1) * sizeof(fastlm_known_entry))
        known.table.used = known.table.bytes_used = known.table.ids_used = 0
        for id in range(self.is_own.shape[0]):
            if self.is_own[id]:
                own, start, length = id, self.token_offsets[id], self.token_offsets[id + 1] - self.token_offsets[id]
                fastlm_remember(&known.table, fastlm_key_of(&self.token_bytes[start], length, length),
                                &self.token_bytes[start], length, &own, 1)
        # one whose memory is full is to take a block, at least, before it is found so again
        known.table.used = min(known.table.used, known.table.full_at - 1)
        return 0

    cdef Worker take(self, int64_t number):
        """The worker of this number, or another that is idle, or a new one."""
        cdef object worker = self.idle.pop(number, None)
        if worker is None:
            try:
                worker = self.idle.popitem()[1]
            except KeyError:
                worker = self._new_worker()
        return <Worker>worker

    cdef Worker _new_worker(self):
        """A worker with the table that was seeded, or one like it.

        The first has a copy and the second the table itself, which therefore costs nothing when a second thread comes;
        further ones fill theirs, each in its own thread.
        """
        cdef Known known
        self.workers += 1
        if self.workers > 1 and self.seeded is not None:
            known, self.seeded = self.seeded, None
            return Worker(known, self.workers - 1)
        known = Known(self.seed_entries, 16 * self.seed_entries, 8 * self.seed_entries)
        if self.seeded is not None:  # not before: others may have run while memory was found
            known.take(self.seeded)
        else:
            with nogil:
                self._begin_anew(known)
        return Worker(known, self.workers - 1)

    cdef int _step(self, Worker worker, int64_t out_size) except -1 nogil:
        """Encodes on until the text is done or there is no room for ids; returns FASTLM_DONE or FASTLM_OUT_FULL.

        Raises ValueError for bytes that are not UTF-8 or have no id.
        """
        cdef fastlm_encoding *e = &worker.encoding
        cdef fastlm_status status
        while True:
            e.out, e.out_size = &worker.out[0], out_size
            e.scratch, e.scratch_words = &worker.scratch[0], worker.scratch.shape[0]
            status = fastlm_encode(&self.merges, &worker.known.table, e)
            if status == FASTLM_DONE or status == FASTLM_OUT_FULL:
                return status
            with gil:
                if status == FASTLM_INVALID_UTF8:
                    raise invalid_utf8(<const uint8_t[:e.n]>e.text, e.position)
                if status == FASTLM_PRETOKEN_TOO_LONG:
                    raise ValueError(f"the pretoken at byte {e.position} has 4 GiB or more")
                if status == FASTLM_UNKNOWN_BYTE:
                    self._pass_unknown(worker)
                elif status == FASTLM_TABLE_FULL:
                    self._make_table_room(worker)
                else:
                    worker.scratch = np.empty(e.wanted, np.uint64)

    cdef int _make_table_room(self, Worker worker) except -1:
        """A larger table, or one that knows only the vocabulary's tokens: that costs less than to choose."""
        cdef int64_t entries = worker.known.entries()
        if entries < LARGEST_TABLE:
            worker.known = worker.known.resized(2 * entries)
        else:
            self._begin_anew(worker.known)
        return 0

    cdef int _pass_unknown(self, Worker worker) except -1:
        """Encodes the pretoken at the worker's position without the bytes that have no id, or refuses them."""
        cdef fastlm_encoding held = worker.encoding
        cdef int64_t k
        kept = bytearray()
        for k in range(held.position, held.position + held.wanted):
            if self.byte_ids[held.text[k]] != NO_ID:
                kept.append(held.text[k])
            elif not self.drops_unknown:
                raise ValueError(f"byte {k} of the text, 0x{held.text[k]:02x}, has no token in the vocabulary")
        if kept:
            self.run(worker, kept, len(kept), None, False, np.array([len(kept)], np.int64))
        held.written = worker.encoding.written
        held.position += held.wanted
        worker.encoding = held
        return 0

    cdef int _begin(self, Worker worker, const uint8_t *text, int64_t n, const int64_t[:, ::1] cuts, bint scans,
                    int64_t[::1] ends) except -1 nogil:
        """Sets the worker to the beginning of a text; its ids will follow those written."""
        cdef fastlm_encoding *e = &worker.encoding
        e.text, e.n = text, n
        e.n_cuts = 0 if cuts is None else cuts.shape[0]
        e.cuts = &cuts[0, 0] if e.n_cuts else NULL
        e.scan = self.scan if scans else NULL
        e.ends, e.n_ends = &ends[0], ends.shape[0]
        e.position = e.cut = e.taken = 0
        e.places = NULL
        return 0

    cdef int run(self, Worker worker, const uint8_t *text, int64_t n, const int64_t[:, ::1] cuts, bint scans,
                  int64_t[::1] ends) except -1 nogil:
        """Encodes the whole text; its ids follow those in worker.out[:worker.encoding.written]."""
        self._begin(worker, text, n, cuts, scans, ends)
        while self._step(worker, worker.out.shape[0]) == FASTLM_OUT_FULL:
            with gil:
                worker.make_room()
        return 0

    cdef object _rows(self, const uint8_t *text, int64_t n, cuts):
        """int64 (k, 3): start, end and id of what cuts the text, or None."""
        if cuts is None or not isinstance(cuts, SpecialFinder):
            return cuts
        return (<SpecialFinder>cuts).find_in(text, n) if (<SpecialFinder>cuts).longest else None

    cdef int64_t[::1] _ends_for(self, Worker worker, utf8, rows):
        """What a scanner is to fill; without one, all pretoken ends."""
        cdef int64_t[::1] ends = worker.ends
        if not self.scan:
            found = self._found_ends(utf8_bytes(utf8), rows)
            if len(found):  # else there would be nothing to point to
                ends = found
        return ends

    cdef object _found_ends(self, bytes text, cuts):
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
        cdef Worker worker = self.take(0)
        worker.encoding.written = 0
        self.append(worker, text, cuts)
        return worker

    cdef int append(self, Worker worker, text, cuts) except -1:
        """Adds the ids of a text to those that a worker holds."""
        cdef Py_ssize_t n = 0
        cdef const int64_t[:, ::1] rows
        cdef int64_t[::1] ends
        cdef SpecialFinder finder
        utf8 = with_utf8(text)
        cdef const uint8_t *start = address_of(utf8, &n)
        worker.reserve(n // 3)
        if self.scan and (cuts is None or isinstance(cuts, SpecialFinder)):
            finder = cuts
            with nogil:
                self.append_one(worker, start, n, finder)
            return 0
        found = self._rows(start, n, cuts)
        rows = found
        ends = self._ends_for(worker, utf8, found)
        with nogil:
            self.run(worker, start, n, rows, self.scan != NULL, ends)
        return 0

    cdef int append_one(self, Worker worker, const uint8_t *text, int64_t n, SpecialFinder finder) except -1 nogil:
        """Adds the ids of a text; few special tokens in it take no Python objects."""
        cdef int64_t found = 0, position = 0
        cdef const int64_t[:, ::1] cuts
        if finder is not None and finder.longest:
            found = finder.fill(text, n, &position, worker.cuts)
        cuts = worker.cuts[:found]
        if found == worker.cuts.shape[0]:
            with gil:
                cuts = finder.find_in(text, n)
        self.run(worker, text, n, cuts, True, worker.ends)
        return 0

    cdef int _append_all(self, Worker worker, const int64_t[:, ::1] places, SpecialFinder finder,
                         int64_t[::1] offsets) except -1 nogil:
        """Adds the ids of the texts at these addresses and of these lengths; offsets[k + 1] is where the k-th ends.

        All without the GIL: to let it go and take it again for each text would keep threads waiting for each other.
        """
        cdef int64_t k, n
        cdef const uint8_t *text
        for k in range(places.shape[0]):
            text, n = <const uint8_t *><uintptr_t>places[k, 0], places[k, 1]
            if k + 1 < places.shape[0]:
                fastlm_prefetch(<const uint8_t *><uintptr_t>places[k + 1, 0], places[k + 1, 1])
            self.append_one(worker, text, n, finder)
            offsets[k + 1] = worker.encoding.written
        return 0

    cdef int put_back(self, Worker worker) except -1:
        if worker.out.shape[0] > KEPT_IDS:
            worker.encoding.written = 0
            worker.renew_out(OUT_IDS)
        if worker.scratch.shape[0] > OUT_IDS:
            worker.scratch = np.empty(FASTLM_SCRATCH_WORDS, np.uint64)
        self.idle[worker.number] = worker
        return 0

    def encode(self, text, cuts=None) -> list[int]:
        """Ids of a text as a list."""
        cdef Worker worker = self._encode(text, cuts)
        return self._give_list(worker, worker.encoding.written)

    def encode_to_numpy(self, text, cuts=None):
        """The same as a uint32 array."""
        cdef Worker worker = self._encode(text, cuts)
        return self.give_ids(worker, worker.encoding.written)

    def encode_batch_flat(self, texts, cuts=None):
        """Ids of all texts in one uint32 array, and where each begins and the last ends, int64 (len(texts) + 1,).

        `cuts`: one for all texts, or a list with one for each.
        """
        cdef Worker worker
        cdef int64_t k, total = 0
        cdef SpecialFinder finder
        offsets = np.zeros(len(texts) + 1, np.int64)
        cdef int64_t[::1] ends = offsets
        cdef list utf8 = []
        cdef int64_t[:, ::1] places = places_of(texts, utf8)
        for k in range(places.shape[0]):
            total += places[k, 1]
        worker = self.take(0)
        worker.encoding.written = 0
        worker.reserve(total // 3)
        if self.scan and (cuts is None or isinstance(cuts, SpecialFinder)):
            finder = cuts
            with nogil:
                self._append_all(worker, places, finder, ends)
        else:
            for k in range(len(utf8)):
                self.append(worker, utf8[k], cuts[k] if isinstance(cuts, list) else cuts)
                ends[k + 1] = worker.encoding.written
        return self.give_ids(worker, worker.encoding.written), offsets

    def encode_upto(self, text, int64_t limit, cuts=None) -> list[int]:
        """The first `limit` ids, or all where there are fewer; what follows them is not encoded."""
        cdef Py_ssize_t n = 0
        cdef Worker worker = self.take(0)
        utf8 = with_utf8(text)
        cdef const uint8_t *start = address_of(utf8, &n)
        cdef int64_t room = min(limit, OUT_IDS // 2), out_size
        cdef fastlm_status status = FASTLM_OUT_FULL
        rows = self._rows(start, n, cuts)
        cdef int64_t[::1] ends = self._ends_for(worker, utf8, rows)
        if self.scan:
            ends = ends[:min(ends.shape[0], limit + FEWEST_ENDS)]
        worker.encoding.written = 0
        self._begin(worker, start, n, rows, self.scan != NULL, ends)
        while worker.encoding.written < limit and n and status == FASTLM_OUT_FULL:
            out_size = min(room, worker.out.shape[0])
            with nogil:
                status = <fastlm_status>self._step(worker, out_size)
            room = worker.encoding.written + worker.encoding.wanted
            if room > worker.out.shape[0]:
                worker.make_room()
        return self._give_list(worker, min(limit, worker.encoding.written))

    def encode_between(self, text, cuts, out):
        """Ids as the beginning of `out`, uint16 or uint32 (m,), or of a larger array where that has no room for them;
        and how many of them stand before each cut, int64 (k,).

        A cut with a negative id only cuts. Raises ValueError where the type does not hold the vocabulary's ids.
        """
        if out.dtype != np.uint32 and (out.dtype != np.uint16 or len(self.boxed) > 1 << 16):
            raise ValueError(f"{out.dtype} does not hold the ids of {len(self.boxed)} tokens")
        cdef Taken taken = Taken(out)
        places = np.empty(len(cuts), np.int64)
        self._pass_through(with_utf8(text), cuts, taken, places)
        return taken.array[: taken.used], places

    def count(self, text, cuts=None) -> int:
        """Number of ids, without making them all at once."""
        cdef Py_ssize_t n = 0
        utf8 = with_utf8(text)
        cdef const uint8_t *start = address_of(utf8, &n)
        return self._pass_through(utf8, self._rows(start, n, cuts), None, None)

    cdef int64_t _pass_through(self, utf8, cuts, Taken taken, int64_t[::1] places) except -1:
        """Encodes a text in parts whose ids stay in the cache, and hands each over; returns the number of ids. `places`
        is told how many stand before each cut."""
        cdef Py_ssize_t n = 0
        cdef const uint8_t *start = address_of(utf8, &n)
        cdef const int64_t[:, ::1] rows = cuts
        cdef fastlm_status status = FASTLM_OUT_FULL
        cdef int64_t room = OUT_IDS, total
        cdef Worker worker = self.take(0)
        cdef int64_t[::1] ends = self._ends_for(worker, utf8, cuts)
        worker.encoding.written = 0
        self._begin(worker, start, n, rows, self.scan != NULL, ends)
        if places is not None and places.shape[0]:
            worker.encoding.places = &places[0]
        with nogil:
            while status == FASTLM_OUT_FULL:
                status = <fastlm_status>self._step(worker, room)
                if status == FASTLM_OUT_FULL and not worker.encoding.written:
                    room = worker.encoding.wanted
                    if room > worker.out.shape[0]:
                        with gil:
                            worker.make_room()
                if taken is not None:
                    taken.take(&worker.out[0], worker.encoding.written)
                worker.encoding.taken += worker.encoding.written
                worker.encoding.written = 0
        total = worker.encoding.taken
        self.put_back(worker)
        return total

    cdef list _give_list(self, Worker worker, Py_ssize_t n):
        """The first n ids that a worker holds; puts the worker back."""
        cdef list ids = self.list_of(worker, 0, n)
        self.put_back(worker)
        return ids

    cdef list list_of(self, Worker worker, Py_ssize_t start, Py_ssize_t stop):
        """Ids that a worker holds."""
        cdef Py_ssize_t k
        cdef list ids = PyList_New(stop - start)
        for k in range(start, stop):
            item = <object>PyList_GET_ITEM(self.boxed, worker.out[k])
            Py_INCREF(item)
            PyList_SET_ITEM(ids, k - start, item)
        return ids

    cdef object give_ids(self, Worker worker, int64_t n):
        """An array of n ids, the first of which the worker holds; puts the worker back."""
        cdef Py_buffer copied
        if n > OUT_IDS:
            ids, worker.out_array, worker.out = worker.out_array, None, None
            worker.encoding.written = 0
            worker.renew_out(OUT_IDS)
            ids.resize(n, refcheck=False)
        else:
            ids = np.empty(n, np.uint32)
            # by the buffer itself: a memoryview costs as much as a short text
            PyObject_GetBuffer(ids, &copied, PyBUF_WRITABLE)
            memcpy(copied.buf, &worker.out[0], 4 * worker.encoding.written)
            PyBuffer_Release(&copied)
        self.put_back(worker)
        return ids

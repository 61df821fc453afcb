"""The vocabulary's side of encoding: its tables, the tokens known from the start, and the loop of encoding.h, which
runs without the GIL."""
import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset

from fastlm.encoding._worker cimport (
    FASTLM_DONE, FASTLM_INVALID_UTF8, FASTLM_LONGEST_KEY, FASTLM_NOT_IN_TEXT, FASTLM_OUT_FULL,
    FASTLM_PRETOKEN_TOO_LONG, FASTLM_SCRATCH_WORDS, FASTLM_TABLE_FULL, FASTLM_UNKNOWN_BYTE, OUT_IDS, fastlm_encode,
    fastlm_encoding, fastlm_find, fastlm_key, fastlm_key_of, fastlm_known_entry, fastlm_merge_fn, fastlm_remember,
    fastlm_status)
from fastlm.encoding._merge_table import PairTables
from fastlm.native.common cimport scanner_function
from fastlm.pretokenize._scan import invalid_utf8

cdef uint32_t NO_ID = 0xFFFFFFFF

# an idle worker keeps no larger output
KEPT_IDS = 1 << 19
# a worker begins with room for the vocabulary's tokens and so many other pretokens
FIRST_ROOM = 1 << 16
# the largest table of known pretokens, in entries, unless the vocabulary itself takes more: a larger one costs more in
# cache misses than it saves
LARGEST_TABLE = 1 << 19


cdef int put(Known known, const uint8_t *p, int64_t length, uint32_t id) except -1:
    """Makes a pretoken known as this one id."""
    cdef fastlm_key key = fastlm_key_of(p, length, length)
    cdef fastlm_known_entry *entry = <fastlm_known_entry *>fastlm_find(&known.table, key, p, length)
    if entry:
        entry.n_ids, entry.ids[0] = 1, id
    else:
        fastlm_remember(&known.table, key, p, length, &id, 1)
    return 0


cdef class EncodingLoop:
    """What encoding with one vocabulary needs, and the loop of encoding.h over a text.

    token_bytes (uint8) and token_offsets (int64, number of ids + 1) hold the bytes of each id, none for an id that is
    not used; left, right and new (uint32) are the merges in order of rank; byte_ids (256,) uint32, NO_ID for a
    byte that is refused or, with `drops_unknown`, dropped. `whole` (int64) are the ids that a pretoken becomes if it
    has just their bytes, whatever the merges say. `scanner` is the capsule of a scanner, or None: then `find_ends(text: bytes)`
    returns the int64 array of pretoken ends of a text without special tokens. `compiled` is kernels.bpe.compiled().

    It never changes after construction, so any number of threads share it. What a running call changes is a Worker; a
    call takes one of the idle ones, makes one where none is idle, and puts it back. A new worker knows the vocabulary's
    own tokens, encoded once for all.
    """

    def __init__(self, token_bytes, token_offsets, left, right, new, byte_ids, drops_unknown, whole,
                 scanner, find_ends, compiled):
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
        self.scan = NULL if scanner is None else scanner_function(scanner)
        self.find_ends = find_ends
        self.idle, self.workers = {}, 0
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

    cdef int put_back(self, Worker worker) except -1:
        if worker.out.shape[0] > KEPT_IDS:
            worker.encoding.written = 0
            worker.renew_out(OUT_IDS)
        if worker.scratch.shape[0] > OUT_IDS:
            worker.scratch = np.empty(FASTLM_SCRATCH_WORDS, np.uint64)
        self.idle[worker.number] = worker
        return 0

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

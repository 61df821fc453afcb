"""What _encode.pyx and _share.pyx need of _loop.pyx."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastlm.encoding._worker cimport Known, Worker, fastlm_merges, fastlm_scan_fn


cdef class EncodingLoop:
    cdef const uint8_t[::1] token_bytes
    cdef const int64_t[::1] token_offsets
    cdef const uint32_t[::1] byte_ids, byte_pairs, slots
    cdef const uint64_t[::1] merge_rows
    cdef fastlm_merges merges
    cdef bint drops_unknown
    cdef fastlm_scan_fn scan
    cdef object find_ends, compiled
    cdef Known seeded, whole
    cdef uint8_t[::1] is_own
    cdef int64_t seed_entries, workers
    cdef dict idle
    cdef int _seed(self, token_bytes, token_offsets) except -1
    cdef int _keep_whole(self, const uint8_t[::1] text, const int64_t[::1] offsets,
                         const int64_t[::1] whole) except -1
    cdef bint _is_kept(self, const uint8_t *token, int64_t length) noexcept
    cdef bint _makes(self, Worker worker, const uint8_t *token, int64_t length, uint32_t id) except -1
    cdef int _note_own(self) except -1
    cdef int _begin_anew(self, Known known) except -1 nogil
    cdef Worker take(self, int64_t number)
    cdef Worker _new_worker(self)
    cdef int put_back(self, Worker worker) except -1
    cdef int _step(self, Worker worker, int64_t out_size) except -1 nogil
    cdef int _make_table_room(self, Worker worker) except -1
    cdef int _pass_unknown(self, Worker worker) except -1
    cdef int _begin(self, Worker worker, const uint8_t *text, int64_t n, const int64_t[:, ::1] cuts, bint scans,
                    int64_t[::1] ends) except -1 nogil
    cdef int run(self, Worker worker, const uint8_t *text, int64_t n, const int64_t[:, ::1] cuts, bint scans,
                 int64_t[::1] ends) except -1 nogil

"""Faults that the measurements of this table found, with what shows that they are mended."""

MENDED = (
    (
        "A thread whose first allocation fails left the caller of an encode, decode or train call waiting forever.",
        "tests/encoding/test_batch.py: test_a_thread_that_does_not_begin_is_done_without; row 14",
    ),
    (
        "NumPy ended the process where `encode_with_offsets` indexed by ids and the index could not be allocated.",
        "row 14, operation `offsets`",
    ),
    (
        "`encode_with_offsets` took 1,540 ns a byte for a text with an added token every 14 bytes; now 216.",
        "row 7, subject `offsets`",
    ),
    (
        "A list whose `__len__` reports 2^40 raised MemoryError in `decode_stream`, `save` and `load`.",
        "row 5, value `Lying`",
    ),
    ("`encode_batch_padded(length=2**63)` raised OverflowError.", "row 5"),
    (
        "A `.npy` file whose header does not end raised tokenize.TokenError.",
        "tests/hostile_files: npy-unfinished; `python -m tests.fuzz.loaders npy`",
    ),
)

"""Faults that the measurements of this table found, with what shows that they are mended."""

MENDED = (
    (
        "A thread whose first allocation fails left the caller of an encode, decode or train call waiting forever.",
        "tests/encoding/test_batch.py: test_a_thread_that_does_not_begin_is_done_without; row 14",
    ),
    (
        "A thread that had no memory to begin cost its caller 30 seconds; now some milliseconds.",
        "tests/encoding/test_batch.py: test_a_thread_that_does_not_begin_is_done_without; row 14, operation "
        "`train with 2 threads`",
    ),
    (
        "NumPy ended the process where `encode_with_offsets` indexed by ids and the index could not be allocated.",
        "row 14, operation `offsets`",
    ),
    (
        "`encode_with_offsets` took 1,540 ns a byte for a text with an added token every 14 bytes, then 220; now 9.",
        "tests/encoding/test_offsets.py: test_spans_by_lengths_are_those_of_the_general_way; row 7, subject `offsets`",
    ),
    (
        "A str of lone surrogates took 142 ns a byte, on a way through UTF-16; now 7.",
        "tests/text/test_utf8.py; row 7, text `lone surrogates`",
    ),
    (
        "Texts full of added tokens with lstrip, rstrip or single_word took 250 to 580 ns a byte; now less than 50.",
        "tests/text/test_added_token_splitter.py; row 7, subjects `added token with ...`",
    ),
    (
        "An expression without a scanner took 800 ns and 104 B a byte for a text of one-byte pretokens; now 65 and 35.",
        "row 7, subject `an expression`",
    ),
    (
        "From 10^6 to 10^7 characters the time grew 19 to 34 times, because the array of ids grew several times.",
        "row 7, which also counts the conversion of a str at each size now",
    ),
    (
        "Offsets of NFC took 113 ns a byte for letters and marks out of order, 157 next to other work; now 50 to 60.",
        "tests/encoding/test_offsets.py: test_spans_of_tokens_are_those_of_the_bytes_that_they_spell; row 7, subject "
        "`offsets of NFC`",
    ),
    (
        "From 1.5 to 15 MB the time for a list of ids grew 15 times, because lists of a part of the ids were appended.",
        "tests/encoding/test_options.py: test_a_list_of_more_ids_than_are_listed_at_once; row 7, subject `list`",
    ),
    (
        "Other work between the measurements of two sizes counted as growth: `count` of emoji grew 13.8 times, 10.4 "
        "where both sizes are measured by turns.",
        "row 7, which measures by turns",
    ),
    (
        "26 calls of the layer of tokenizers raised MemoryError for a list that reports a wrong length, and "
        "`DecodeStream.step` AttributeError for an object that is no tokenizer.",
        "tests/compat/test_lying_lengths.py; row 5",
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

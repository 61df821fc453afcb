"""Trains on a text with over 2^31 occurrences of a pretoken: `python -m tests.beyond_32_bits`, a minute or so.

Two others occur just less often than 2^31 and than that one, so that a count that wraps puts them first.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import fastlm

BLOCK = 1 << 21
WORDS = ((b" ab", 2**31 + 5), (b" cd", 2**31 - 1), (b" ef", 2**20))


def documents() -> Iterator[bytes]:
    """Each word as often as WORDS says, in documents of some megabytes."""
    for word, times in WORDS:
        whole = word * BLOCK
        for _ in range(times // BLOCK):
            yield whole
        yield word * (times % BLOCK)


def main() -> None:
    start = time.perf_counter()
    merges = fastlm.train_bpe(documents(), 256 + 4, []).merges
    assert merges == [(b"a", b"b"), (b" ", b"ab"), (b"c", b"d"), (b" ", b"cd")], merges
    total = sum(len(word) * times for word, times in WORDS)
    print(f"beyond 32 bits: {WORDS[0][1]:,} occurrences of a word in {total:,} bytes, right merges, "
          f"{time.perf_counter() - start:.0f} s")  # fmt: skip


if __name__ == "__main__":
    main()

"""A pretoken cache that the tokens of the vocabulary fill."""

import subprocess
import sys

# without the free entry that EncodeTables.refill leaves, the call does not end, so another process makes it
PROGRAM = """
import fastlm
from fastlm.encoding import _encoder, _state
vocab, merges = {k: bytes([k]) for k in range(256)}, []
for letter in map(bytes, zip(range(97, 123))):
    for k in range(7):
        merges.append((letter * (1 << k),) * 2)
    merges += [(letter * 128, letter * k) for k in (1, 2, 4, 8, 16, 32, 64)]
vocab |= {256 + k: left + right for k, (left, right) in enumerate(merges)}
text = " ".join(token.decode() for token in list(vocab.values())[256:]) + " another word"
expected = fastlm.Tokenizer(vocab, merges).encode(text)
_encoder.MORE_ENTRIES = _state.LARGEST_CACHE = 16
small = fastlm.Tokenizer(vocab, merges)
entries = 1 << ((len(vocab) + 16) * 4 // 3).bit_length()
print(sum(len(token) for token in vocab.values() if len(token) > 16) > 16 * entries)
print(all(small.encode(text) == expected for _ in range(2)))
"""


def test_a_cache_whose_arena_the_tokens_fill_makes_progress():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["True", "True"]

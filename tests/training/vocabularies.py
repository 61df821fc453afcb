"""A vocabulary whose ids need more than 16 bits."""

import fastlm


def large_tokenizer(size: int = 70_000) -> fastlm.Tokenizer:
    """All bytes, pairs of bytes, then triples of letters."""
    vocab = {byte: bytes([byte]) for byte in range(256)}
    merges = [(bytes([a]), bytes([b])) for a in range(256) for b in range(256)]
    letters = range(ord("a"), ord("z") + 1)
    merges += [(bytes([a, b]), bytes([c])) for a in letters for b in letters for c in letters]
    merges = merges[: size - 256]
    vocab |= {256 + rank: left + right for rank, (left, right) in enumerate(merges)}
    return fastlm.Tokenizer(vocab, merges, ["<|endoftext|>"])

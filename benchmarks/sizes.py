"""How much to measure on and how often."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Bytes of text, tokens to learn, rounds (`cold_rounds_of_two`: in two threads); after `*_seconds` a peer sits out
    its further rounds.

    A trainer that has not ended after `trainer_limit` seconds is ended.
    """

    encode_bytes: int = 3_000_000
    list_bytes: int = 1_000_000
    decode_bytes: int = 1_500_000
    short_bytes: int = 500_000
    document_bytes: int = 1_000_000
    whole_bytes: int = 20_000_000
    pretoken_bytes: tuple[int, int] = (1_000_000, 4_000_000)
    adversarial_bytes: tuple[int, int] = (1_000_000, 10_000_000)
    train_bytes: int = 100_000_000
    long_train_bytes: int = 500_000_000
    train_vocab_size: int = 32_000
    word_bytes: int = 1_000_000
    word_vocab_size: int = 2_000
    rounds: int = 7
    cold_rounds: int = 7
    cold_rounds_of_two: int = 5
    whole_rounds: int = 3
    train_rounds: int = 3
    fresh_rounds: int = 2
    encode_seconds: float = 0.5
    train_seconds: float = 7.0
    trainer_limit: float = 1200.0
    word_limit: float = 10.0


FULL = Sizes()
QUICK = Sizes(
    encode_bytes=100_000,
    list_bytes=50_000,
    decode_bytes=50_000,
    short_bytes=30_000,
    document_bytes=50_000,
    whole_bytes=1_000_000,
    pretoken_bytes=(10_000, 40_000),
    adversarial_bytes=(10_000, 100_000),
    train_bytes=1_000_000,
    long_train_bytes=2_000_000,
    train_vocab_size=2_000,
    word_bytes=20_000,
    word_vocab_size=400,
    rounds=1,
    cold_rounds=1,
    cold_rounds_of_two=1,
    whole_rounds=1,
    train_rounds=1,
    fresh_rounds=1,
    encode_seconds=0.05,
    train_seconds=0.5,
    trainer_limit=20.0,
    word_limit=2.0,
)

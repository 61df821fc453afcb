"""How much to measure on and how often."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Bytes of text, tokens to learn, rounds; after so many seconds a peer sits out its further rounds."""

    encode_bytes: int
    demo_train_bytes: int
    demo_vocab_size: int
    grown_train_bytes: int
    grown_vocab_size: int
    rounds: int
    cold_rounds: int
    train_rounds: int
    encode_seconds: float
    train_seconds: float


FULL = Sizes(
    encode_bytes=3_000_000,
    demo_train_bytes=10_000_000,
    demo_vocab_size=8_000,
    grown_train_bytes=100_000_000,
    grown_vocab_size=32_000,
    rounds=7,
    cold_rounds=3,
    train_rounds=3,
    encode_seconds=0.5,
    train_seconds=7.0,
)
QUICK = Sizes(
    encode_bytes=300_000,
    demo_train_bytes=1_000_000,
    demo_vocab_size=2_000,
    grown_train_bytes=5_000_000,
    grown_vocab_size=8_000,
    rounds=3,
    cold_rounds=1,
    train_rounds=1,
    encode_seconds=0.1,
    train_seconds=0.5,
)

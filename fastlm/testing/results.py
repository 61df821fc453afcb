"""What a comparison finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["error", "added tokens", "normalization", "pretokens", "merges", "ids"]
"""Why ids differ. "error": the other library raised an error. "ids": the tokens have other ids, or are not
what the merges make. The others name the first step that differs."""


@dataclass(frozen=True)
class Difference:
    """A text with different ids.

    Attributes:
        library: The other library.
        text_index: The index of the text among the texts.
        character: Where in the text the first different token starts, in characters of the normalized text.
        around: The text around that place.
        smallest: The smallest part of the text found that has different ids, too.
        ours: The ids of `smallest`.
        theirs: Its ids in the other library; empty where that raised an error.
        our_tokens: The tokens of `ours` as readable text.
        their_tokens: The tokens of `theirs`.
        our_pretokens: The pretokens of `smallest` in fastlm; empty where an added token or an error is the reason.
        their_pretokens: The pretokens in the other library.
        our_merges: The merges in the pretoken that differs, in order; empty unless merges are the reason.
        their_merges: The merges of the other library.
        kind: Why the ids differ.
        reasons: Sentences that explain it.
    """

    library: str
    text_index: int
    character: int
    around: str
    smallest: str
    ours: list[int]
    theirs: list[int]
    our_tokens: list[str]
    their_tokens: list[str]
    our_pretokens: list[str]
    their_pretokens: list[str]
    our_merges: list[str]
    their_merges: list[str]
    kind: Kind
    reasons: list[str]


@dataclass(frozen=True)
class Cost:
    """What a library needs to encode the sample, in one thread.

    Attributes:
        wall_seconds: Median wall time.
        cpu_seconds: Median CPU time.
        rounds: The number of rounds. The libraries took turns.
        memory_bytes: Growth of a new process from the imported library to its peak; 0 where it is not known.
    """

    wall_seconds: float
    cpu_seconds: float
    rounds: int
    memory_bytes: int


@dataclass(frozen=True)
class Result:
    """A library next to fastlm.

    Attributes:
        library: The name.
        version: The version.
        source: What its tokenizer was made from.
        differing_texts: The number of texts with different ids.
        differences: The first of them, explained.
        cost: What it needs; None if that was not measured.
    """

    library: str
    version: str
    source: str
    differing_texts: int
    differences: list[Difference]
    cost: Cost | None


@dataclass(frozen=True)
class MergeDifference:
    """The first merge that two trainers do not share.

    Attributes:
        index: The number of merges before it, which both have.
        ours: The pair that fastlm merges, as hexadecimal bytes; None if it has no more merges.
        theirs: The pair that the other trainer merges; None if it has no more merges.
        our_count: How often the pair of fastlm occurs after the shared merges.
        their_count: How often the other pair occurs.
        reason: A sentence.
    """

    index: int
    ours: tuple[str, str] | None
    theirs: tuple[str, str] | None
    our_count: int
    their_count: int
    reason: str


@dataclass(frozen=True)
class TrainingResult:
    """A trainer next to `train_bpe`.

    Attributes:
        library: The library of the trainer.
        version: Its version.
        vocab_size: The size of the vocabularies.
        our_merges: The number of merges of fastlm.
        their_merges: The number of merges of the other trainer.
        difference: The first merge that differs, or None.
        our_seconds: CPU seconds of fastlm.
        their_seconds: CPU seconds of the other trainer.
    """

    library: str
    version: str
    vocab_size: int
    our_merges: int
    their_merges: int
    difference: MergeDifference | None
    our_seconds: float
    their_seconds: float


@dataclass(frozen=True)
class Comparison:
    """fastlm next to other libraries on the same texts.

    Attributes:
        tokenizer: The name of the tokenizer.
        version: The version of fastlm.
        machine: The processor, the system and Python.
        texts: The number of texts.
        text_bytes: Their size in bytes of UTF-8.
        ids: The number of ids of fastlm.
        sample_bytes: The size of the texts that were timed.
        cost: What fastlm needs for the sample; None if that was not measured.
        results: One for each library.
        skipped: Library -> why it was not compared.
        training: The trainers, if they were compared.
    """

    tokenizer: str
    version: str
    machine: str
    texts: int
    text_bytes: int
    ids: int
    sample_bytes: int
    cost: Cost | None
    results: list[Result]
    skipped: dict[str, str]
    training: list[TrainingResult]

    @property
    def equal(self) -> bool:
        """Whether all ids, and all merges of trainers, are equal."""
        merges_agree = all(result.difference is None for result in self.training)
        return merges_agree and not any(result.differing_texts for result in self.results)

    def to_json(self) -> dict[str, Any]:
        """The comparison as an object for `json.dumps`."""
        return {**asdict(self), "equal": self.equal}

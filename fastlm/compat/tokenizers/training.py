"""Training BPE with tokenizers' options: fastlm counts and merges, and the alphabet is tokenizers' own affair."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from fastlm import _merge
from fastlm._types import Int64Array, UInt8Array
from fastlm.bpe_training.counting import count_pretokens
from fastlm.compat.tokenizers.component import parsed_of, unsupported
from fastlm.compat.tokenizers.normalizers import Normalizer
from fastlm.compat.tokenizers.pre_tokenizers import PreTokenizer
from fastlm.compat.tokenizers.trainers import BpeTrainer
from fastlm.corpus.read import Blocks
from fastlm.formats.tokenizer_json.models import Merges, Vocab
from fastlm.formats.tokenizer_json.normalizers import steps_of
from fastlm.formats.tokenizer_json.pre_tokenizers import splitting_of
from fastlm.normalizers import Normalizer as NormalizerStep
from fastlm.normalizers import normalize_str
from fastlm.pretokenize.patterns import WHOLE_TEXT
from fastlm.pretokenize.steps.step_pattern import StepPattern
from fastlm.pretokenize.text_splitter import TextSplitter
from fastlm.text.byte_level import CHAR_OF_BYTE
from fastlm.threads import thread_count
from fastlm.vocabulary.vocabulary import BYTE_ORDER

_ALWAYS = np.iinfo(np.int64).max


def trained_vocabulary(
    texts: Iterable[str], trainer: BpeTrainer, normalizer: Normalizer | None, pre_tokenizer: PreTokenizer | None
) -> tuple[Vocab, Merges]:
    """(token -> id, merges) learned from texts, with the bytes spelled as characters.

    First come the special tokens, then the alphabet in the order of its characters, which is BYTE_ORDER, then what
    merging makes. Raises NotImplementedError for a pipeline that does not end with ByteLevel, or an option that is not
    for bytes.
    """
    add_prefix_space, pattern = splitting_of(parsed_of(pre_tokenizer))
    if isinstance(pattern, StepPattern) and not pattern.spells_bytes:
        unsupported(f"training with pre_tokenizer {pre_tokenizer}, without ByteLevel at its end,")
    for option in ("continuing_subword_prefix", "end_of_word_suffix"):
        if getattr(trainer, option):
            unsupported(f"BpeTrainer with {option}")
    initial = _initial_bytes(trainer.initial_alphabet)

    steps = steps_of(parsed_of(normalizer))
    prefix = " " if add_prefix_space else ""
    prepared = _prepared(texts, steps, prefix)
    documents: Iterable[str] | Iterable[bytes] = prepared
    if isinstance(pattern, StepPattern) and pattern.changes_text:
        documents, pattern = _pretokens(prepared, pattern), WHOLE_TEXT
    counter = count_pretokens(Blocks(documents, TextSplitter([], pattern)), pattern, thread_count(None))
    text, starts, counts = counter.words() if len(counter) else _nothing()
    alphabet = _kept_bytes(text, starts, counts, initial, trainer.limit_alphabet)
    text, starts = _without_others(text, starts, alphabet)

    vocab: Vocab = {}
    for special in trainer.special_tokens:
        vocab.setdefault(special.content, len(vocab))
    first_learned = len(vocab)
    for byte in BYTE_ORDER:
        if byte in alphabet:
            vocab.setdefault(CHAR_OF_BYTE[byte], len(vocab))
    # ties are broken by id, and a special token may have given a byte a low one
    by_id = sorted(BYTE_ORDER, key=lambda byte: vocab[CHAR_OF_BYTE[byte]] if byte in alphabet else len(vocab))
    # tokenizers lets any two characters merge, and beyond them makes tokens shorter than the limit only
    longest = None if trainer.max_token_length is None else max(2, trainer.max_token_length - 1)
    wanted = max(0, min(trainer.vocab_size - len(vocab), len(text)))
    learner = _merge.MergeLearner(
        _merge.cells_of(starts),
        wanted,
        np.argsort(by_id).astype(np.int32),
        "hf",
        min_count=max(1, trainer.min_frequency),
        max_token_length=longest,
    )
    learner.add(text, starts, counts)
    left, right = learner.learn()
    tokens = [CHAR_OF_BYTE[byte] for byte in by_id]
    merges: Merges = []
    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        made = tokens[a] + tokens[b]
        if made in vocab and vocab[made] < first_learned:
            unsupported(f"training where the special token {made!r} is also learned")
        merges.append((tokens[a], tokens[b]))
        tokens.append(made)
        vocab[made] = len(vocab)
    return vocab, merges


def _prepared(texts: Iterable[str], normalizers: tuple[NormalizerStep, ...], prefix: str) -> Iterator[str]:
    for text in texts:
        prepared = normalize_str(normalizers, text)
        if prepared:
            yield prepared if prepared.startswith(" ") else prefix + prepared


def _pretokens(texts: Iterable[str], pattern: StepPattern) -> Iterator[bytes]:
    for text in texts:
        made, ends, _, _ = pattern.pretokens(text, np.arange(len(text)))
        for start, end in itertools.pairwise([0, *ends.tolist()]):
            yield made[start:end]


def _nothing() -> tuple[UInt8Array, Int64Array, Int64Array]:
    return np.empty(0, np.uint8), np.zeros(1, np.int64), np.empty(0, np.int64)


def _initial_bytes(characters: Iterable[str]) -> set[int]:
    byte_of_char = {char: byte for byte, char in CHAR_OF_BYTE.items()}
    unknown = [char for char in characters if char not in byte_of_char]
    if unknown:
        unsupported(f"initial_alphabet with {unknown[0]!r}, which spells no byte")
    return {byte_of_char[char] for char in characters}


def _kept_bytes(
    text: UInt8Array, starts: Int64Array, counts: Int64Array, initial: set[int], limit: int | None
) -> set[int]:
    """The bytes that get a token: those that occur or are asked for, without the rarest beyond the limit.

    Of those that are equally rare tokenizers drops any; here the last ones go.
    """
    occurrences = np.bincount(text, np.repeat(counts, np.diff(starts)).astype(np.float64), 256).astype(object)
    for byte in initial:
        occurrences[byte] = _ALWAYS
    present = [byte for byte in BYTE_ORDER if occurrences[byte]]
    if limit is not None and len(present) > limit:
        present = sorted(present, key=lambda byte: -occurrences[byte])[:limit]
    return set(present)


def _without_others(text: UInt8Array, starts: Int64Array, alphabet: set[int]) -> tuple[UInt8Array, Int64Array]:
    """The words without the bytes that have no token; what stood around one is then adjacent."""
    kept = np.zeros(256, bool)
    kept[list(alphabet)] = True
    keep = kept[text]
    if keep.all():
        return text, starts
    return text[keep], np.concatenate([np.zeros(1, np.int64), np.cumsum(keep)])[starts]

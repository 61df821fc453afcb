"""Generation from prompts: the loop that chooses a token and computes the logits of the next one."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypedDict, Unpack, overload

import torch
from torch import Tensor

from fastlm._arguments import instance_of
from fastlm.generation.decoding import KVCache, Step, prefill, torch_step
from fastlm.generation.lookup import PromptLookup
from fastlm.generation.sampling import Sampler, Sampling
from fastlm.generation.stopping import StopStrings
from fastlm.model.transformer import TransformerLM, check_model
from fastlm.tokenizer import Tokenizer

FinishReason = Literal["stop", "length", "context"]
END_OF_TEXT = "<|endoftext|>"
CAPACITY_STEP = 128  # the capacity of a cache is a multiple, or the whole context
KERNEL_SEQUENCES = 8  # more sequences are decoded by torch


class Options(TypedDict, total=False):
    """The options of `generate` and `stream`; see `generate`."""

    max_new_tokens: int
    repetition_penalty: float
    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    stop_tokens: Iterable[int] | int | None
    stop_strings: Iterable[str] | str
    seed: int
    step: Step | None
    lookup: int


@dataclass
class Completion:
    """The result of generation from one prompt.

    Attributes:
        ids: The new ids, without a stop token.
        text: Their text, up to a stop string; None without a tokenizer.
        finish_reason: "stop", at a stop token or stop string; "length", after max_new_tokens; "context", if prompt and
            new ids fill the model's context.
    """

    ids: list[int] = field(default_factory=list)
    text: str | None = None
    finish_reason: FinishReason | None = None


@overload
def generate(
    model: TransformerLM, prompt: str | list[int], tokenizer: Tokenizer | None = None, **options: Unpack[Options]
) -> Completion: ...
@overload
def generate(
    model: TransformerLM,
    prompt: list[str] | list[list[int]],
    tokenizer: Tokenizer | None = None,
    **options: Unpack[Options],
) -> list[Completion]: ...
def generate(
    model: TransformerLM,
    prompt: str | list[int] | list[str] | list[list[int]],
    tokenizer: Tokenizer | None = None,
    **options: Unpack[Options],
) -> Completion | list[Completion]:
    """Generates the continuation of a prompt, or of each of a list of prompts, which may differ in length.

    Args:
        model: The model. The Numba kernel decodes up to 8 sequences of a float32 or bfloat16 model in main memory.
            Torch decodes everything else, unless `step` says otherwise.
        prompt: A text or a list of ids, or a list of texts or of lists of ids. Special tokens in a text count as such,
            and the ids that the tokenizer puts before a text come first.
        tokenizer: The model's tokenizer, required for texts. Without it the result has ids only. With it, ids for which
            it has no token (a padded vocabulary) are never sampled.
        max_new_tokens: Maximum number of new ids of a sequence; 256 by default.
        repetition_penalty, temperature, top_k, top_p, min_p: See Sampling; temperature is 1 by default.
        stop_tokens: Id or ids that end a sequence and are not part of it. By default the model's end ids
            (`model.special_token_ids.eos`), or the tokenizer's <|endoftext|> if the model has none.
        stop_strings: String or strings that end a sequence and are not part of its text. Each may span tokens.
        seed: Seed of the random streams. The stream of a sequence depends on the seed and the sequence's number only,
            so the same call gives the same ids, and other sequences do not change them.
        step: Function that computes the logits after a token, such as KernelStep(model, int8=True), which should be
            made once for many calls, or torch_step(model, compile=True). It must be made from the same model.
        lookup: Maximum number of tokens that are proposed from an earlier occurrence of the last tokens, and computed
            together with the next one; 0 for none. It changes the time and not the tokens. It needs one prompt, and a
            step of the Numba kernel. 4 suits texts that repeat their prompt.

    Returns:
        One completion, or one for each prompt of a list.

    Raises:
        ValueError: A prompt is empty or fills the context, a text has no tokenizer, the tokenizer is not the model's,
            an option is out of range, or logits are not finite.
        TypeError: Ids are not integers.
        IndexError: The model does not have an id of a prompt.
    """
    if not isinstance(prompt, Sequence) or isinstance(prompt, bytes):
        raise TypeError(f"prompt must be a text, a list of ids, or a list of these, got {type(prompt).__name__}")
    single = isinstance(prompt, str) or not prompt or not isinstance(prompt[0], (str, list))
    prompts: Any = [prompt] if single else prompt
    rows, pieces = _begin(model, prompts, tokenizer, _Settings(**options))
    for _ in pieces:
        pass
    completions = [row.completion for row in rows]
    return completions[0] if single else completions


def stream(
    model: TransformerLM, prompt: str | list[int], tokenizer: Tokenizer, **options: Unpack[Options]
) -> Iterator[str]:
    """Generates the continuation of one prompt, and yields its text in pieces of whole characters.

    Text that may be the beginning of a stop string is yielded once it is known not to be one. Takes the
    arguments of `generate`, and raises the same errors.

    Yields:
        Pieces whose concatenation is the text of `generate`'s completion.
    """
    _, pieces = _begin(model, [prompt], tokenizer, _Settings(**options))
    return pieces


@dataclass(kw_only=True)
class _Settings:
    """The options of a call with their defaults, checked."""

    max_new_tokens: int = 256
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    stop_tokens: Iterable[int] | int | None = None
    stop_strings: Iterable[str] | str = ()
    seed: int = 0
    step: Step | None = None
    lookup: int = 0

    def __post_init__(self) -> None:
        self.sampling = Sampling(
            repetition_penalty=self.repetition_penalty,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
        )
        if type(self.max_new_tokens) is not int or self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens!r}; expected a positive integer")
        if type(self.lookup) is not int or not 0 <= self.lookup < KERNEL_SEQUENCES:
            raise ValueError(f"lookup is {self.lookup!r}; expected an integer from 0 to {KERNEL_SEQUENCES - 1}")
        # a str is an iterable of characters, which nobody means
        self.strings = (self.stop_strings,) if isinstance(self.stop_strings, str) else tuple(self.stop_strings)

    def stop_ids(self, model: TransformerLM, tokenizer: Tokenizer | None) -> frozenset[int]:
        """The ids that end a sequence."""
        if self.stop_tokens is None:
            special = {} if tokenizer is None else tokenizer.special_tokens
            known = (special[END_OF_TEXT],) if END_OF_TEXT in special else ()
            return frozenset(model.special_token_ids.eos or known)
        if isinstance(self.stop_tokens, Iterable):
            return frozenset(map(operator.index, self.stop_tokens))
        return frozenset([operator.index(self.stop_tokens)])

    def check_step(self, needs_all_logits: bool) -> None:
        """Raises ValueError for a step that computes only the greatest logit where others are needed."""
        if not getattr(self.step, "greatest", False):
            return
        if not self.sampling.takes_greatest:
            raise ValueError(
                f"step knows no logits but the greatest, with temperature {self.temperature!r} and repetition_penalty "
                f"{self.repetition_penalty!r}; expected 0 and 1"
            )
        if needs_all_logits:
            raise ValueError(
                "step knows no logits but the greatest, which may be of an id that the tokenizer lacks; expected a "
                "step that computes all logits"
            )


class _Row:
    """A sequence in progress: its new ids and text, and whether and why it has ended."""

    def __init__(
        self,
        max_ids: int,
        limit: FinishReason,
        tokenizer: Tokenizer | None,
        stop_ids: frozenset[int],
        stop: StopStrings,
    ) -> None:
        self.completion = Completion(text=None if tokenizer is None else "")
        self._max_ids, self._limit = max_ids, limit
        self._stop_ids, self._stop = stop_ids, stop
        self._stream = None if tokenizer is None else tokenizer.decode_stream()

    def take(self, token_id: int) -> str:
        """Appends a token and returns the text that is final because of it."""
        completion, piece = self.completion, ""
        if token_id in self._stop_ids:
            completion.finish_reason = "stop"
        else:
            completion.ids.append(token_id)
            if len(completion.ids) == self._max_ids:
                completion.finish_reason = self._limit
            if self._stream is not None:
                piece = self._stop.step(self._stream.step(token_id))
        if self._stream is not None:
            if completion.finish_reason is not None:
                piece += self._stop.step(self._stream.finish()) + self._stop.finish()
            if self._stop.found:
                completion.finish_reason = "stop"
            completion.text = (completion.text or "") + piece
        return piece


def _begin(
    model: TransformerLM, prompts: Sequence[str | list[int]], tokenizer: Tokenizer | None, settings: _Settings
) -> tuple[list[_Row], Iterator[str]]:
    """Checks everything. Returns a row for each prompt, and the iterator that decodes them all and yields text."""
    check_model(model)
    if tokenizer is None:
        if settings.strings:
            raise ValueError("stop strings need a tokenizer")
    else:
        _check_tokenizer(model, instance_of(tokenizer, Tokenizer, "tokenizer"))
    context = model.config.context_length
    prompt_ids = [_ids_of(model, prompt, number, tokenizer) for number, prompt in enumerate(prompts)]
    allowed = None if tokenizer is None else _ids_with_token(tokenizer, model.config.vocab_size)
    settings.check_step(needs_all_logits=allowed is not None)
    stop_ids = settings.stop_ids(model, tokenizer)
    rows = []
    for ids in prompt_ids:
        left = context - len(ids)
        limit: FinishReason = "length" if settings.max_new_tokens <= left else "context"
        stop = StopStrings(settings.strings)
        rows.append(_Row(min(settings.max_new_tokens, left), limit, tokenizer, stop_ids, stop))
    sampler = Sampler(settings.sampling, prompt_ids, model.config.vocab_size, settings.seed, allowed)
    longest = max(map(len, prompt_ids)) + settings.max_new_tokens
    # few different capacities, because a compiled step compiles for each
    capacity = min((longest + CAPACITY_STEP - 1) // CAPACITY_STEP * CAPACITY_STEP, context)
    step = nullcontext(settings.step) if settings.step else _fastest_step(model, len(rows), sampler)
    if settings.lookup:
        _check_lookup(model, len(rows), settings.step)
    dtype = torch.float32 if settings.step is None and _is_for_kernel(model, len(rows)) else None
    cache = KVCache.empty(model, len(rows), capacity, getattr(settings.step, "cache_dtype", dtype))
    pieces = _decoded(model, prompt_ids, rows, cache, sampler, step, settings.lookup)
    return rows, pieces


def _check_tokenizer(model: TransformerLM, tokenizer: Tokenizer) -> None:
    expected = model.tokenizer_fingerprint
    if expected is not None and expected != tokenizer.vocabulary.fingerprint:
        raise ValueError(
            f"the model was trained with the tokenizer of fingerprint {expected}; "
            f"the one given has {tokenizer.vocabulary.fingerprint}"
        )


def _ids_with_token(tokenizer: Tokenizer, vocab_size: int) -> Tensor | None:
    """Booleans, (V), True for ids that the tokenizer can decode; None if it can decode all of the model's ids."""
    allowed = torch.zeros(vocab_size, dtype=torch.bool)
    known = torch.from_numpy(tokenizer.vocabulary.token_lengths[:vocab_size] > 0)
    allowed[: len(known)] = known
    added = [token_id for token_id in tokenizer.special_tokens.values() if token_id < vocab_size]
    allowed[added] = True
    return None if bool(allowed.all()) else allowed


def _ids_of(model: TransformerLM, prompt: str | list[int], number: int, tokenizer: Tokenizer | None) -> list[int]:
    """The ids of a prompt, checked: at least one, known to the model, and fewer than its context."""
    if isinstance(prompt, str):
        if tokenizer is None:
            raise ValueError("a text as prompt needs a tokenizer")
        ids = [*tokenizer.vocabulary.rules.begin, *tokenizer.encode(prompt)]
    else:
        ids = list(map(operator.index, prompt))
    config = model.config
    if not 1 <= len(ids) < config.context_length:
        raise ValueError(
            f"prompt {number} has {len(ids)} tokens; expected 1 to {config.context_length - 1}, "
            f"as the model's context length is {config.context_length}"
        )
    for token_id in ids:
        if not 0 <= token_id < config.vocab_size:
            raise IndexError(f"prompt {number} has the id {token_id}; the model knows 0 to {config.vocab_size - 1}")
    return ids


def _is_for_kernel(model: TransformerLM, sequences: int) -> bool:
    # imported late, because it loads numba
    from fastlm.generation.packing import fits

    return sequences <= KERNEL_SEQUENCES and fits(model)


def _check_lookup(model: TransformerLM, sequences: int, step: Step | None) -> None:
    if sequences != 1:
        raise ValueError(f"lookup is given for {sequences} prompts; expected one")
    if not (hasattr(step, "verify") if step is not None else _is_for_kernel(model, 1)):
        raise ValueError("lookup is given for a step that computes one token; expected a KernelStep")


def _fastest_step(model: TransformerLM, sequences: int, sampler: Sampler) -> AbstractContextManager[Step]:
    if not _is_for_kernel(model, sequences):
        return nullcontext(torch_step(model))
    from fastlm.generation.packing import kernel_step

    return kernel_step(model, greatest=sampler.takes_greatest)


def _decoded(
    model: TransformerLM,
    prompts: list[list[int]],
    rows: list[_Row],
    cache: KVCache,
    sampler: Sampler,
    steps: AbstractContextManager[Step],
    lookup: int,
) -> Iterator[str]:
    """Decodes all rows to their ends, and yields the text of each token."""
    with steps as step:
        logits = getattr(step, "prefill", partial(prefill, model))(prompts, cache)
        if lookup:
            yield from _looked_up(rows[0], PromptLookup(prompts[0], lookup), logits, cache, sampler, step)
            return
        while True:
            ids = sampler(logits)
            for row, token_id in zip(rows, ids.tolist(), strict=True):
                if row.completion.finish_reason is None and (piece := row.take(token_id)):
                    yield piece
            if all(row.completion.finish_reason for row in rows):
                return
            logits = step(ids, cache)


def _looked_up(
    row: _Row, known: PromptLookup, logits: Tensor, cache: KVCache, sampler: Sampler, step: Any
) -> Iterator[str]:
    """Decodes one row with proposed tokens. Each token is chosen from the logits that follow those before it."""
    proposed: list[int] = []
    while True:
        # logits[0] follow the last token that was chosen, and logits[n] the first n proposed ones
        for place, following in enumerate(logits):
            token_id = int(sampler(following.unsqueeze(0)))
            known.append(token_id)
            if piece := row.take(token_id):
                yield piece
            if row.completion.finish_reason is not None:
                return
            if place == len(proposed) or token_id != proposed[place]:
                break
            cache.lengths.add_(1)
        proposed = known.proposed()[: cache.capacity - int(cache.lengths[0]) - 1]
        logits = step.verify(torch.tensor([token_id, *proposed]), cache)
        cache.lengths.add_(1)

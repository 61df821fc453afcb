"""Prompts to what a model goes on with: the loop of choosing a token and computing the logits after it."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, Unpack, overload

from fastlm.generation.decoding import KVCache, Step, prefill, torch_step
from fastlm.generation.sampling import Sampler, Sampling
from fastlm.generation.stopping import StopStrings
from fastlm.model.transformer import TransformerLM
from fastlm.tokenizer import Tokenizer

FinishReason = Literal["stop", "length", "context"]
END_OF_TEXT = "<|endoftext|>"
CAPACITIES = 128  # a cache's capacity is a multiple, or all of the context


class Options(TypedDict, total=False):
    """What `generate` and `stream` take beside model, prompt and tokenizer; see `generate`."""

    max_new_tokens: int
    repetition_penalty: float
    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    stop_tokens: Iterable[int] | None
    stop_strings: Iterable[str]
    seed: int
    step: Step | None


@dataclass
class Completion:
    """What a model went on with.

    Attributes:
        ids: The new ids, without a stop token.
        text: Their text, up to a stop string; None where there is no tokenizer.
        finish_reason: "stop", at a stop token or stop string; "length", after max_new_tokens; "context", where prompt
            and new ids fill the model's context.
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
    """What the model goes on with after a prompt, or after each of a list of prompts, which may differ in length.

    Args:
        model: The model. One sequence of a float32 model in main memory is decoded by the Numba kernel, all else by
            torch, unless `step` says otherwise.
        prompt: A text, in which special tokens count as such and which begins with what the tokenizer says begins a
            text, or a list of ids; or a list of one or the other.
        tokenizer: Needed for texts; without it results are ids only.
        max_new_tokens: The most new ids of a sequence; 256 where it is not given.
        repetition_penalty, temperature, top_k, top_p, min_p: See Sampling; temperature is 1 where it is not given.
        stop_tokens: Ids that end a sequence and are no part of it; the tokenizer's <|endoftext|> where it is None.
        stop_strings: Strings that end a sequence and, in its text, are no part of it; each may span tokens.
        seed: Of the random streams. Each sequence has its own, which depends on the seed and the sequence's number, so
            that the same call gives the same ids, and neighbours do not change them.
        step: What computes the logits after a token, such as KernelStep(model, int8=True), which is worth making once
            for many calls, or torch_step(model, compile=True); computed from the same model.

    Prompt and new ids together fill at most the model's context; then a sequence ends. Raises ValueError for a prompt
    that is empty or leaves no room in the context, for texts without tokenizer, for options out of range and for logits
    that are not finite; TypeError for ids that are no integers, IndexError for ids that the model does not know;
    KeyError for a new id that the tokenizer lacks.
    """
    single = isinstance(prompt, str) or not prompt or not isinstance(prompt[0], (str, list))
    prompts: Any = [prompt] if single else prompt
    rows, pieces = _begin(model, prompts, tokenizer, **options)
    for _ in pieces:
        pass
    completions = [row.completion for row in rows]
    return completions[0] if single else completions


def stream(
    model: TransformerLM, prompt: str | list[int], tokenizer: Tokenizer, **options: Unpack[Options]
) -> Iterator[str]:
    """The text of `generate`'s completion of one prompt, in pieces of whole characters as they come.

    Text that may be the beginning of a stop string comes when it is known not to be one. Raises as `generate`.
    """
    _, pieces = _begin(model, [prompt], tokenizer, **options)
    return pieces


class _Row:
    """A sequence on its way: its new ids and text, and whether and why it has ended."""

    def __init__(
        self,
        room: int,
        limit: FinishReason,
        tokenizer: Tokenizer | None,
        stop_tokens: frozenset[int],
        stop: StopStrings,
    ) -> None:
        self.completion = Completion(text=None if tokenizer is None else "")
        self._room, self._limit = room, limit
        self._stop_tokens, self._stop = stop_tokens, stop
        self._stream = None if tokenizer is None else tokenizer.decode_stream()

    def take(self, token: int) -> str:
        """Adds a token, and returns the text that may be passed on because of it."""
        completion, piece = self.completion, ""
        if token in self._stop_tokens:
            completion.finish_reason = "stop"
        else:
            completion.ids.append(token)
            if len(completion.ids) == self._room:
                completion.finish_reason = self._limit
            if self._stream is not None:
                piece = self._stop.step(self._stream.step(token))
        if self._stream is not None:
            if completion.finish_reason is not None:
                piece += self._stop.step(self._stream.finish()) + self._stop.finish()
            if self._stop.found:
                completion.finish_reason = "stop"
            completion.text = (completion.text or "") + piece
        return piece


def _begin(
    model: TransformerLM,
    prompts: Sequence[str | list[int]],
    tokenizer: Tokenizer | None,
    *,
    max_new_tokens: int = 256,
    repetition_penalty: float = 1.0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    stop_tokens: Iterable[int] | None = None,
    stop_strings: Iterable[str] = (),
    seed: int = 0,
    step: Step | None = None,
) -> tuple[list[_Row], Iterator[str]]:
    """Checks everything; returns a row for each prompt, and the iterator that decodes them all and yields text."""
    sampling = Sampling(
        repetition_penalty=repetition_penalty, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
    )
    if getattr(step, "greatest", False) and not sampling.takes_greatest:
        raise ValueError(
            f"step knows no logits but the greatest, with temperature {temperature!r} and repetition_penalty "
            f"{repetition_penalty!r}; expected 0 and 1"
        )
    if type(max_new_tokens) is not int or max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens!r}; expected a positive integer")
    strings = tuple(stop_strings)
    if strings and tokenizer is None:
        raise ValueError("stop strings need a tokenizer")
    special = {} if tokenizer is None else tokenizer.special_tokens
    if stop_tokens is None:
        stop_tokens = [special[END_OF_TEXT]] if END_OF_TEXT in special else []
    ends = frozenset(stop_tokens)
    context = model.config.context_length
    known = [_ids_of(model, prompt, number, tokenizer) for number, prompt in enumerate(prompts)]
    rows = []
    for ids in known:
        left = context - len(ids)
        limit: FinishReason = "length" if max_new_tokens <= left else "context"
        rows.append(_Row(min(max_new_tokens, left), limit, tokenizer, ends, StopStrings(strings)))
    sampler = Sampler(sampling, known, model.config.vocab_size, seed)
    longest = max(map(len, known)) + max_new_tokens
    # few different sizes, for each of which a compiled step compiles
    capacity = min((longest + CAPACITIES - 1) // CAPACITIES * CAPACITIES, context)
    cache = KVCache.empty(model, len(rows), capacity)
    return rows, _decoded(model, known, rows, cache, sampler, step)


def _ids_of(model: TransformerLM, prompt: str | list[int], number: int, tokenizer: Tokenizer | None) -> list[int]:
    """A prompt's ids, of which there are some, all known to the model, with room after them."""
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
            f"as the model's context has room for {config.context_length}"
        )
    for id in ids:
        if not 0 <= id < config.vocab_size:
            raise IndexError(f"prompt {number} has the id {id}; the model knows 0 to {config.vocab_size - 1}")
    return ids


def _fastest_step(model: TransformerLM, sequences: int, sampling: Sampling) -> AbstractContextManager[Step]:
    # numba comes with the first sequence that it decodes
    from fastlm.generation.packing import fits, kernel_step

    if sequences == 1 and fits(model):
        return kernel_step(model, greatest=sampling.takes_greatest)
    return nullcontext(torch_step(model))


def _decoded(
    model: TransformerLM,
    prompts: list[list[int]],
    rows: list[_Row],
    cache: KVCache,
    sampler: Sampler,
    given_step: Step | None,
) -> Iterator[str]:
    logits = prefill(model, prompts, cache)
    with nullcontext(given_step) if given_step else _fastest_step(model, len(rows), sampler.sampling) as step:
        while True:
            ids = sampler(logits)
            for row, id in zip(rows, ids.tolist(), strict=True):
                if row.completion.finish_reason is None and (piece := row.take(id)):
                    yield piece
            if all(row.completion.finish_reason for row in rows):
                return
            logits = step(ids, cache)

"""`fastlm chat`: a conversation with a model in the terminal."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from fastlm.commands.inputs import option
from fastlm.commands.output import note
from fastlm.text.escapes import escaped

if TYPE_CHECKING:
    from torch import Tensor

    from fastlm.generation import KVCache
    from fastlm.generation.chat_template import ChatTemplate, Message
    from fastlm.generation.completion import Options
    from fastlm.model.transformer import TransformerLM
    from fastlm.tokenizer import Tokenizer

_PROMPT = "> "


def chat(
    model: Annotated[Positional[Path], arg(metavar="MODEL_DIR")],
    /,
    system: Annotated[str | None, option("TEXT")] = None,
    max_new_tokens: int = 1024,
    temperature: float = 0.7,
    top_k: Annotated[int | None, option("INT")] = None,
    top_p: Annotated[float | None, option("FLOAT")] = None,
    min_p: Annotated[float | None, option("FLOAT")] = 0.05,
    repetition_penalty: float = 1.0,
    seed: int = 0,
    weights: Literal["float32", "bfloat16", "int8", "int4"] = "int8",
    num_threads: Annotated[int, arg(aliases=["--threads"])] = 1,
) -> None:
    """Talk with a model in the terminal.

    Each line of standard input is a message. Ctrl-C stops a reply, and Ctrl-D ends the chat.

    Args:
        model: Directory of transformers, or of fastlm, with a tokenizer and a chat template.
        system: Text of the system message.
        max_new_tokens: Maximum number of tokens of a reply.
        temperature: 0 takes the most likely token, 1 samples from the model's distribution.
        top_k: Keep the k most likely tokens.
        top_p: Keep the fewest most likely tokens whose probabilities sum to this.
        min_p: Keep tokens with at least this share of the greatest probability.
        repetition_penalty: Divides the logits of earlier tokens if positive, multiplies them if negative.
        seed: Seed of the random numbers; the same seed and messages give the same replies.
        weights: Kind of the weights: fewer bits are faster, and less exact. Weights of int8 and int4 are kept in
            MODEL_DIR for the next time.
        num_threads: Number of threads that compute a token.
    """
    from fastlm import load
    from fastlm.generation.chat_template import ChatTemplate
    from fastlm.generation.packed_files import decoding_model

    if not model.is_dir():
        raise FileNotFoundError(f"{model}: no such folder; give a model's folder")
    template = ChatTemplate.of_folder(model)
    tokenizer = load(model)
    lm, step = decoding_model(model, tokenizer, kind=weights, num_threads=num_threads)
    options: Options = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
        "step": step,
        "stop_tokens": _ends(lm, tokenizer, template),
    }
    messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    while (text := _read()) is not None:
        if text.strip():
            messages.append({"role": "user", "content": text})
            reply = _reply(lm, tokenizer, template, messages, options)
            messages.append({"role": "assistant", "content": reply})


def _ends(lm: TransformerLM, tokenizer: Tokenizer, template: ChatTemplate) -> list[int]:
    """The ids that end a reply: the model's, and the token that the template names as the end."""
    named = tokenizer.special_tokens.get(template.tokens.get("eos_token", ""))
    return [*lm.special_token_ids.eos, *([] if named is None else [named])]


def _read() -> str | None:
    """The next message; None at the end of the input. Ctrl-C discards what was typed."""
    is_terminal = sys.stdin.isatty()
    while True:
        try:
            line = input(_PROMPT) if is_terminal else sys.stdin.readline()
        except EOFError:
            return None
        except KeyboardInterrupt:
            sys.stdout.write("\n")
            continue
        if not is_terminal and not line:
            return None
        return line.rstrip("\n")


def _reply(
    lm: TransformerLM, tokenizer: Tokenizer, template: ChatTemplate, messages: list[Message], options: Options
) -> str:
    """Prints a reply while it is generated, and returns it. Ctrl-C ends it early."""
    from fastlm.generation.completion import stream

    ids = template.encode(messages, tokenizer)
    is_terminal = sys.stdout.isatty()
    counted = _Counted(options["step"])
    reply, start = "", time.perf_counter()
    given: Options = {**options, "step": counted}
    pieces = stream(lm, ids, tokenizer, **given)
    try:
        for piece in pieces:
            reply += piece
            # a terminal acts on control characters; a file or pipe gets the text as it is
            sys.stdout.write(escaped(piece, keep="\n\t") if is_terminal else piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        note("the reply is stopped")
    finally:
        pieces.close()  # type: ignore[attr-defined]
    end = time.perf_counter()
    sys.stdout.write("\n")
    sys.stdout.flush()
    if counted.steps:
        prompt, reply_seconds = counted.begin - start, max(end - counted.begin, 1e-9)
        note(
            f"{len(ids)} tokens read in {prompt:.2f} s, {counted.steps} written at "
            f"{counted.steps / reply_seconds:.1f} tokens/s"
        )
    return reply


class _Counted:
    """A step that counts its calls, and knows when the first began."""

    def __init__(self, step: Any) -> None:
        self._step, self.cache_dtype = step, step.cache_dtype
        if hasattr(step, "prefill"):
            self.prefill = step.prefill
        self.steps, self.begin = 0, 0.0

    def __call__(self, token_ids: Tensor, cache: KVCache) -> Tensor:
        if not self.steps:
            self.begin = time.perf_counter()
        self.steps += 1
        logits: Tensor = self._step(token_ids, cache)
        return logits

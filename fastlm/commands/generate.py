"""`fastlm generate`: text from a trained model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg


def generate(
    model: Annotated[Positional[Path], arg(metavar="MODEL_DIR")],
    /,
    prompt: str = "<|endoftext|>",
    tokenizer: Path | None = None,
    max_new_tokens: int = 256,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    stop: UseAppendAction[tuple[str, ...]] = (),
    seed: int = 0,
    int8: bool = False,
    device: str = "cpu",
) -> None:
    """Write what a model goes on with after a prompt, as it comes.

    Args:
        model: Directory of the model: model.json and model.safetensors.
        prompt: Text to begin with; special tokens in it count as such.
        tokenizer: Directory or file of the tokenizer; that in MODEL_DIR where it is not given.
        max_new_tokens: The most tokens to add.
        temperature: How far from the most likely: 0 takes the most likely token, 1 the model's own distribution.
        top_k: Only the k most likely tokens.
        top_p: Only the fewest most likely tokens with this probability in all.
        min_p: Only tokens with at least this share of the greatest probability.
        repetition_penalty: What logits of tokens that were there are divided by, or multiplied where negative.
        stop: A string that ends the text; give the option once for each. <|endoftext|> always does.
        seed: Of the random numbers: the same seed gives the same text.
        int8: Keep the weights in 8 bits: faster, and a little less exact.
        device: Where to compute, as torch names it; on "cpu" in float32, elsewhere in the type of the weights.
    """
    import torch

    from fastlm import load
    from fastlm.generation import KernelStep, stream
    from fastlm.model.files import load_model

    loaded = load(tokenizer or model)
    lm = load_model(model, loaded, device=device, dtype=torch.float32 if device == "cpu" else None)
    pieces = stream(
        lm,
        prompt,
        loaded,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        stop_strings=stop,
        seed=seed,
        step=KernelStep(lm, int8=True) if int8 else None,
    )
    sys.stdout.write(prompt)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")

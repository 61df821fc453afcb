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
    """Continue a prompt, and print the text while it is generated.

    Args:
        model: Directory of the model: model.json and model.safetensors.
        prompt: Text to continue; special tokens in it count as such.
        tokenizer: Directory or file of the tokenizer; by default the one in MODEL_DIR.
        max_new_tokens: Maximum number of new tokens.
        temperature: 0 takes the most likely token, 1 samples from the model's distribution.
        top_k: Keep the k most likely tokens.
        top_p: Keep the fewest most likely tokens whose probabilities sum to this.
        min_p: Keep tokens with at least this share of the greatest probability.
        repetition_penalty: Divides the logits of earlier tokens if positive, multiplies them if negative.
        stop: A string that ends the text; repeat the option for several. The model's end tokens always end it.
        seed: Seed of the random numbers; the same seed gives the same text.
        int8: Store the weights in 8 bits: faster, and slightly less exact.
        device: Device, as torch names it; on "cpu" in float32, elsewhere in the dtype of the weights.
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

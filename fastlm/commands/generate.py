"""`fastlm generate`: generates text with a trained model."""

from __future__ import annotations

import itertools
import sys
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from fastlm.commands.inputs import OptionalPathOrAddress, model_folder, option
from fastlm.files.remote import fetched, location
from fastlm.text.escapes import escaped


def generate(
    model: Annotated[Positional[str], arg(metavar="MODEL_DIR")],
    /,
    prompt: Annotated[str, arg(metavar="TEXT")] = "<|endoftext|>",
    tokenizer: OptionalPathOrAddress = None,
    max_new_tokens: int = 256,
    temperature: float = 1.0,
    top_k: Annotated[int | None, option("INT")] = None,
    top_p: Annotated[float | None, option("FLOAT")] = None,
    min_p: Annotated[float | None, option("FLOAT")] = None,
    repetition_penalty: float = 1.0,
    stop_string: Annotated[UseAppendAction[tuple[str, ...]], arg(aliases=["--stop"], metavar="TEXT")] = (),
    seed: int = 0,
    int8: bool = False,
    device: Annotated[str, arg(metavar="DEVICE")] = "cpu",
) -> None:
    """Continue a prompt, and print the text while it is generated.

    Args:
        model: Directory of the model, or its address such as s3://bucket/name: model.json and model.safetensors.
        prompt: Text to continue; special tokens in it count as such.
        tokenizer: Directory or file of the tokenizer, or name of a model in the Hub's local cache; by default the one
            in MODEL_DIR.
        max_new_tokens: Maximum number of new tokens.
        temperature: 0 takes the most likely token, 1 samples from the model's distribution.
        top_k: Keep the k most likely tokens.
        top_p: Keep the fewest most likely tokens whose probabilities sum to this.
        min_p: Keep tokens with at least this share of the greatest probability.
        repetition_penalty: Divides the logits of earlier tokens if positive, multiplies them if negative.
        stop_string: A string that ends the text; repeat the option for several. The model's end tokens always end it.
        seed: Seed of the random numbers; the same seed gives the same text.
        int8: Store the weights in 8 bits: faster, and slightly less exact.
        device: Device, as torch names it; on "cpu" in float32, elsewhere in the dtype of the weights.
    """
    import torch

    from fastlm import load
    from fastlm.generation import KernelStep, stream
    from fastlm.model.files import load_model

    with fetched(location(model)) as folder:
        model_folder(folder)
        try:
            loaded = load(tokenizer or folder)
        except FileNotFoundError:
            if tokenizer is not None:
                raise
            raise FileNotFoundError(f"no tokenizer in {model}: give --tokenizer") from None
        lm = load_model(folder, loaded, device=device, dtype=torch.float32 if device == "cpu" else None)
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
        stop_strings=stop_string,
        seed=seed,
        step=KernelStep(lm, int8=True) if int8 else None,
    )
    # a terminal acts on control characters; a file or pipe gets the text as it is
    is_terminal = sys.stdout.isatty()
    for piece in itertools.chain([prompt], pieces):
        sys.stdout.write(escaped(piece, keep="\n\t") if is_terminal else piece)
        sys.stdout.flush()
    sys.stdout.write("\n")

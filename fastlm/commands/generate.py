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
    lookup: int = 0,
    num_threads: Annotated[int, arg(aliases=["--threads"], metavar="INT")] = 1,
    device: Annotated[str, arg(metavar="DEVICE")] = "cpu",
) -> None:
    """Continue a prompt, and print the text while it is generated.

    Args:
        model: Directory of the model, or its address such as s3://bucket/name: model.json and model.safetensors, or
            config.json and the weights of transformers.
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
        lookup: Maximum number of tokens to propose from an earlier occurrence of the last tokens: faster for texts that
            repeat themselves, and the same text. For a model on "cpu".
        num_threads: Number of threads that compute a token, on "cpu".
        device: Device, as torch names it; on "cpu" in float32, elsewhere in the dtype of the weights.
    """
    import torch

    from fastlm import load
    from fastlm.generation import KernelStep, stream
    from fastlm.model.files import load_model
    from fastlm.model.hf import import_llama

    with fetched(location(model)) as folder:
        read = load_model
        if (folder / "config.json").exists() and not (folder / "model.json").exists():
            read = import_llama
        else:
            model_folder(folder)
        try:
            loaded = load(tokenizer or folder)
        except FileNotFoundError:
            if tokenizer is not None:
                raise
            raise FileNotFoundError(f"no tokenizer in {model}: give --tokenizer") from None
        lm = read(folder, loaded, device=device, dtype=torch.float32 if device == "cpu" else None)
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
        step=KernelStep(lm, int8=int8, num_threads=num_threads) if int8 or num_threads > 1 else None,
        lookup=lookup,
    )
    # a terminal acts on control characters; a file or pipe gets the text as it is
    is_terminal = sys.stdout.isatty()
    for piece in itertools.chain([prompt], pieces):
        sys.stdout.write(escaped(piece, keep="\n\t") if is_terminal else piece)
        sys.stdout.flush()
    sys.stdout.write("\n")

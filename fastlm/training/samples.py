"""Texts that a model writes while it is trained."""

from __future__ import annotations

from fastlm.generation import generate
from fastlm.model.transformer import TransformerLM
from fastlm.tokenizer import Tokenizer
from fastlm.training.config import TrainingConfig


def check_samples(config: TrainingConfig, tokenizer: Tokenizer | None) -> None:
    """Refuses samples that a run cannot make, before its first step.

    Raises:
        ValueError: The run has no tokenizer, or shards its weights, or a prompt fills the context.
    """
    if config.sample_every is None:
        return
    if tokenizer is None:
        raise ValueError(f"sample_every is {config.sample_every}, but no tokenizer is given; expected `tokenizer`")
    if config.parallel == "fsdp":
        raise ValueError("sample_every does not go with parallel = 'fsdp'; expected 'ddp'")
    for prompt in config.sample_prompts:
        length = len(tokenizer.encode(prompt))
        if not 0 < length < config.model.context_length:
            raise ValueError(
                f"sample_prompts has {prompt!r}, {length} tokens; expected 1 to {config.model.context_length - 1}"
            )


def make_samples(config: TrainingConfig, model: TransformerLM, tokenizer: Tokenizer) -> list[dict[str, str]]:
    """Continues each prompt of a run. The same weights give the same texts, and no state of the run changes."""
    was_training = model.training
    found = []
    for prompt in config.sample_prompts:
        completion = generate(
            model, prompt, tokenizer, max_new_tokens=config.sample_tokens, temperature=0.8, top_p=0.95, seed=config.seed
        )
        found.append({"prompt": prompt, "text": completion.text or ""})
    model.train(was_training)
    return found

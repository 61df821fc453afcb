"""The model that a run leaves."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from fastlm.model.config import ModelConfig, SpecialTokenIds
from fastlm.model.files import save_model
from fastlm.model.transformer import TransformerLM
from fastlm.tokenizer import Tokenizer
from fastlm.training.run_data import RunData


def save_trained(
    folder: Path,
    config: ModelConfig,
    tensors: dict[str, Tensor],
    tokenizer: Tokenizer | None,
    fingerprint: str | None,
    special_token_ids: SpecialTokenIds,
) -> None:
    """Writes the model of a run, with its tokenizer if there is one.

    Args:
        folder: The folder to write.
        config: The configuration of the model.
        tensors: Weights by name, with the prefix `model.`, as a checkpoint has them.
        tokenizer: The tokenizer.
        fingerprint: The fingerprint of the tokenizer that made the ids.
        special_token_ids: The ids that begin and end a text.

    Raises:
        OSError: A file cannot be written.
    """
    model = TransformerLM.from_config(config, device="cpu", dtype=torch.float32)
    weights = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    model.load_state_dict(weights, rope_layout=config.rope_layout)
    model.tokenizer_fingerprint = fingerprint
    model.special_token_ids = special_token_ids
    save_model(model, folder, tokenizer)
    if tokenizer is not None:
        tokenizer.save(folder)


def end_ids(data: RunData) -> SpecialTokenIds:
    """The ids between documents, which end a text."""
    known = [data.end_of_text, *data.train.end_of_text_ids]
    ids = dict.fromkeys(token_id for token_id in known if token_id is not None)
    return SpecialTokenIds(eos=tuple(ids))

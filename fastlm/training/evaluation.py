"""Loss, perplexity and bits per byte on validation data.

B batch, T sequence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fastlm._types import Int64Array
from fastlm.tokenizer import Tokenizer
from fastlm.training.data import TokenFiles
from fastlm.training.parallel import Processes


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        loss: Mean loss in nats per token.
        perplexity: exp(loss).
        bits_per_byte: Bits per byte of the text, where a tokenizer tells the bytes of tokens.
    """

    loss: float
    perplexity: float
    bits_per_byte: float | None


def bytes_of_ids(tokenizer: Tokenizer, vocab_size: int) -> Tensor:
    """Counts the bytes of text of each id.

    Args:
        tokenizer: The tokenizer.
        vocab_size: Number of the model's ids.

    Returns:
        Numbers of bytes, (vocab_size), int64; 0 for special tokens, which are no text.

    Raises:
        ValueError: The tokenizer has an id that the model lacks.
    """
    lengths = torch.zeros(vocab_size, dtype=torch.int64)
    special = set(tokenizer.special_tokens.values())
    for token_id, token in tokenizer.vocab.items():
        if token_id >= vocab_size:
            raise ValueError(f"the tokenizer has the id {token_id}; the model's vocab_size is {vocab_size}")
        if token_id not in special:
            lengths[token_id] = len(token)
    return lengths


@torch.no_grad()
def evaluate(
    loss_of: nn.Module,
    data: TokenFiles,
    processes: Processes,
    *,
    batch_size: int,
    most: int | None = None,
    documents_of: Callable[[Int64Array, Tensor], Tensor | None] = lambda starts, inputs: None,
    token_bytes: Tensor | None = None,
) -> Evaluation:
    """Evaluates a model on windows that do not overlap.

    Args:
        loss_of: Computes the mean loss of inputs, targets and document ids, (B, T) each.
        data: The ids.
        processes: The processes that share the batches. Each gets the result.
        batch_size: B.
        most: Maximum number of windows, spread evenly over the data; None for all.
        documents_of: Computes document ids from the starts of windows, (B), and their inputs, (B, T).
        token_bytes: The result of `bytes_of_ids`.

    Returns:
        The result.
    """
    starts = data.spread(most)
    batches = np.split(starts, range(batch_size, len(starts), batch_size))
    sums = torch.zeros(3, dtype=torch.float64)  # nats, tokens, bytes
    for first in range(0, len(batches), processes.count):
        # FSDP needs all processes in every forward pass: one without a batch computes the last and discards the result
        number = first + processes.rank
        batch = batches[min(number, len(batches) - 1)]
        windows = data.windows(batch)
        inputs, targets = windows[:, :-1], windows[:, 1:]
        documents = documents_of(batch, inputs)
        documents = None if documents is None else documents.to(processes.device)
        loss = float(loss_of(inputs.to(processes.device), targets.to(processes.device), documents))
        if number < len(batches):
            text = 0 if token_bytes is None else int(token_bytes[targets].sum())
            sums += torch.tensor([loss * targets.numel(), targets.numel(), text], dtype=torch.float64)
    if processes.count > 1:
        sums = processes.sum(sums.to(processes.device))
    nats, tokens, text_bytes = sums.tolist()
    mean = nats / tokens
    bits = nats / math.log(2) / text_bytes if text_bytes else None
    return Evaluation(mean, math.exp(min(mean, 700.0)), bits)

"""Loss, perplexity and bits per byte on data that is not trained on.

B batch, T sequence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fastlm.tokenizer import Tokenizer
from fastlm.training.data import TokenFiles, document_ids
from fastlm.training.parallel import Processes


@dataclass(frozen=True)
class Evaluation:
    """Mean loss in nats a token, exp of it, and bits for each byte of the text where a tokenizer says its bytes."""

    loss: float
    perplexity: float
    bits_per_byte: float | None


def bytes_of_ids(tokenizer: Tokenizer, vocab_size: int) -> Tensor:
    """Number of bytes of text that each id stands for, (vocab_size); 0 for special tokens, which are no text.

    Raises ValueError for a tokenizer that has ids which the model does not know.
    """
    lengths = torch.zeros(vocab_size, dtype=torch.int64)
    special = set(tokenizer.special_tokens.values())
    for id, token in tokenizer.vocab.items():
        if id >= vocab_size:
            raise ValueError(f"the tokenizer has the id {id}; the model's vocab_size is {vocab_size}")
        if id not in special:
            lengths[id] = len(token)
    return lengths


@torch.no_grad()
def evaluate(
    loss_of: nn.Module,
    data: TokenFiles,
    processes: Processes,
    *,
    batch_size: int,
    most: int | None = None,
    end_of_text: int | None = None,
    token_bytes: Tensor | None = None,
) -> Evaluation:
    """Evaluates on windows that do not overlap, all of them or the `most` that are wanted, spread over the data.

    Args:
        loss_of: Mean loss of inputs, targets, (B, T), and document ids.
        data: Of which the windows are.
        processes: Which share the batches; each gets the result.
        batch_size: B.
        most: The most windows; None for all.
        end_of_text: Id between documents, see document_ids; None for no regard to them.
        token_bytes: Of bytes_of_ids.
    """
    starts = data.spread(most)
    batches = [starts[first : first + batch_size] for first in range(0, len(starts), batch_size)]
    sums = torch.zeros(3, dtype=torch.float64)  # nats, tokens, bytes
    for first in range(0, len(batches), processes.count):
        # shards need all processes in every forward pass: one that has no batch left computes, and discards, the last
        number = first + processes.rank
        windows = data.windows(batches[min(number, len(batches) - 1)])
        inputs, targets = windows[:, :-1].to(processes.device), windows[:, 1:]
        documents = None if end_of_text is None else document_ids(inputs, end_of_text)
        loss = float(loss_of(inputs, targets.to(processes.device), documents))
        if number < len(batches):
            text = 0 if token_bytes is None else int(token_bytes[targets].sum())
            sums += torch.tensor([loss * targets.numel(), targets.numel(), text], dtype=torch.float64)
    nats, tokens, text_bytes = processes.sum(sums.to(processes.device)).tolist()
    mean = nats / tokens
    bits = nats / math.log(2) / text_bytes if text_bytes else None
    return Evaluation(mean, math.exp(min(mean, 700.0)), bits)

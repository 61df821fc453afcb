"""A training loop as one writes it first: whole logits, torch's own loss and optimizer, nothing accumulated."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def learning_rate(t: int, highest: float, lowest: float, warmup: int, cycle: int) -> float:
    """As CS336's handout defines it."""
    if t < warmup:
        return t / warmup * highest
    if t <= cycle:
        return lowest + (1 + math.cos((t - warmup) / (cycle - warmup) * math.pi)) / 2 * (highest - lowest)
    return lowest


def clip(parameters: Iterable[nn.Parameter], most: float) -> None:
    """As CS336's handout defines it."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = math.sqrt(sum(float((gradient.double() ** 2).sum()) for gradient in gradients))
    if norm >= most:
        for gradient in gradients:
            gradient *= most / (norm + 1e-6)


def losses(
    model: nn.Module, batches: Iterable[Tensor], *, highest: float, lowest: float, warmup: int, cycle: int
) -> list[float]:
    """Trains a model on batches of windows, (B, T + 1), and returns the loss of each."""
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=highest, betas=(0.9, 0.95), eps=1e-8)
    found = []
    for step, windows in enumerate(batches, 1):
        logits = model(windows[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        clip(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, highest, lowest, warmup, cycle)
        optimizer.step()
        found.append(loss.item())
    return found

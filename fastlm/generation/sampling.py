"""Which token comes next: what temperature, penalty and filters leave of the logits, and the draw from it.

B sequences, V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is chosen. What is given applies in this order, as in transformers.

    Args:
        repetition_penalty: Logits of tokens that prompt or result have are divided by it where they are positive and
            multiplied where they are negative (Keskar et al. 2019, https://arxiv.org/abs/1909.05858).
        temperature: Divides the logits; with 0 the most likely token is taken, of equals the first, and what follows
            has no effect.
        top_k: Only tokens at least as likely as the k-th most likely one.
        top_p: Only the fewest of the most likely tokens that together have a probability of p or more (Holtzman et al.
            2019, https://arxiv.org/abs/1904.09751); of equals those with smaller ids.
        min_p: Only tokens whose probability is at least p times that of the most likely one (Nguyen et al. 2024,
            https://arxiv.org/abs/2407.01082).

    Raises ValueError that names the field, its value and what was expected.
    """

    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def __post_init__(self) -> None:
        if not (self.repetition_penalty > 0 and math.isfinite(self.repetition_penalty)):
            raise ValueError(f"repetition_penalty is {self.repetition_penalty!r}; expected a positive number")
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise ValueError(f"temperature is {self.temperature!r}; expected zero or a positive number")
        if self.top_k is not None and (type(self.top_k) is not int or self.top_k < 1):
            raise ValueError(f"top_k is {self.top_k!r}; expected a positive integer")
        for name in ("top_p", "min_p"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ValueError(f"{name} is {value!r}; expected a number above 0, at most 1")

    @property
    def takes_greatest(self) -> bool:
        """Whether the greatest of the logits, as they come, is all that is asked of them."""
        return self.temperature == 0 and self.repetition_penalty == 1

    def filtered(self, logits: Tensor) -> Tensor:
        """The logits (B, V) by temperature, above 0, and filters: -inf where a token is left out."""
        # less the greatest first: a temperature near zero then makes -inf of the others, and never infinity or nan
        temperature = max(self.temperature, torch.finfo(logits.dtype).tiny)
        logits = (logits - logits.amax(-1, keepdim=True)) / temperature
        if self.top_k is not None:
            logits = keep_top_k(logits, self.top_k)
        if self.top_p is not None:
            logits = keep_top_p(logits, self.top_p)
        if self.min_p is not None:
            logits = keep_min_p(logits, self.min_p)
        return logits


def penalise_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits (B, V), those of seen tokens, booleans (B, V), brought down; see Sampling."""
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Logits (..., V) with -inf for all below the k-th greatest."""
    least = logits.topk(min(k, logits.shape[-1]), -1).values[..., -1:]
    return logits.masked_fill(logits < least, -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Logits (B, V) with -inf for all but the fewest of the greatest whose probabilities add up to p or more."""
    if p == 1:
        return logits  # where a sum is rounded up to 1 not a token is lost
    descending = _descending(logits)
    summed = (descending - descending[:, :1]).double().exp().cumsum(-1)
    needed = p * summed[:, -1:]
    kept = (summed[:, :-1] < needed).sum(-1, keepdim=True) + 1
    least = descending.gather(-1, kept - 1)
    above, equal = logits > least, logits == least
    # of equals the first
    chosen = above | (equal & (equal.cumsum(-1) <= kept - above.sum(-1, keepdim=True)))
    return logits.masked_fill(~chosen, -math.inf)


def _descending(logits: Tensor) -> Tensor:
    if logits.device.type == "cpu":
        # ten times as fast as torch, which sorts what it came from along with each number
        return torch.from_numpy(np.sort(logits.detach().numpy(), -1)).flip(-1)
    return logits.sort(-1, descending=True).values


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Logits (..., V) with -inf where a probability is below p times the greatest."""
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(p), -math.inf)


class Sampler:
    """Chooses the next token of each of B sequences, each with a random stream of its own.

    The stream of sequence b depends on `seed` and b alone, so that what is drawn for it does not depend on the others.
    """

    def __init__(self, sampling: Sampling, prompts: Sequence[Sequence[int]], vocab_size: int, seed: int) -> None:
        self.sampling = sampling
        self._seen = None
        if sampling.repetition_penalty != 1:
            self._seen = torch.zeros(len(prompts), vocab_size, dtype=torch.bool)
            for row, prompt in zip(self._seen, prompts, strict=True):
                row[list(prompt)] = True
        if type(seed) is not int or seed < 0:
            raise ValueError(f"seed is {seed!r}; expected an integer that is not negative")
        self._streams = []
        for number in range(len(prompts)):
            state = np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)
            self._streams.append(torch.Generator().manual_seed(int(state[0])))

    def __call__(self, logits: Tensor) -> Tensor:
        """The chosen ids, (B,), given logits (B, V); ValueError for nan, +inf, or nothing but -inf in them."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self._seen is not None:
            self._seen = self._seen.to(logits.device)
            logits = penalise_repetition(logits, self._seen, self.sampling.repetition_penalty)
        greatest, ids = logits.max(-1)
        if not all(map(math.isfinite, greatest.tolist())):
            raise ValueError("the model's logits are nan or infinite; expected finite numbers")
        if self.sampling.temperature > 0:
            ids = self._draw(self.sampling.filtered(logits).softmax(-1))
        if self._seen is not None:
            self._seen.scatter_(-1, ids.unsqueeze(-1), True)
        return ids

    def _draw(self, probabilities: Tensor) -> Tensor:
        """Ids (B,) by the inverse of the distribution function: one number of a stream for a token."""
        uniform = torch.stack([torch.rand((), dtype=torch.float64, generator=stream) for stream in self._streams])
        summed = probabilities.cumsum(-1, dtype=torch.float64)
        # always below the sum: a number is at most 1 - 2^-53, and no such product is rounded up to its factor
        reached = uniform.to(summed.device) * summed[:, -1]
        # to the right of equals: a token with no probability is never where the sum first exceeds what is reached
        return torch.searchsorted(summed, reached.unsqueeze(-1), right=True).squeeze(-1)

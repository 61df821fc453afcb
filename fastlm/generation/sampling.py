"""Sampling of the next token: repetition penalty, temperature, filters, and the random draw.

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
    """The way to choose a token. The fields apply in this order, as in transformers.

    Args:
        repetition_penalty: Divides the positive logits of tokens in prompt or result, and multiplies the negative ones
            (Keskar et al. 2019, https://arxiv.org/abs/1909.05858).
        temperature: Divides the logits. 0 takes the most likely token (of equals the first) and ignores the filters.
        top_k: Keeps tokens at least as likely as the k-th most likely one.
        top_p: Keeps the fewest most likely tokens whose probabilities sum to p or more (Holtzman et al. 2019,
            https://arxiv.org/abs/1904.09751); of equals those with smaller ids.
        min_p: Keeps tokens with at least p times the probability of the most likely one (Nguyen et al. 2024,
            https://arxiv.org/abs/2407.01082).

    Raises:
        ValueError: A field is out of range. The message names the field, the value and the expected values.
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
        """Whether only the greatest of the unchanged logits is needed."""
        return self.temperature == 0 and self.repetition_penalty == 1

    def filtered(self, logits: Tensor) -> Tensor:
        """Applies a temperature above 0 and the filters to logits, (B, V). Logits of excluded tokens become -inf."""
        # the greatest is subtracted first: a temperature near zero then gives -inf for the others, never inf or nan
        temperature = max(self.temperature, torch.finfo(logits.dtype).tiny)
        logits = (logits - logits.amax(-1, keepdim=True)) / temperature
        if self.top_k is not None:
            logits = keep_top_k(logits, self.top_k)
        if self.top_p is not None:
            logits = keep_top_p(logits, self.top_p)
        if self.min_p is not None:
            logits = keep_min_p(logits, self.min_p)
        return logits


def penalize_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Lowers the logits, (B, V), of seen tokens, booleans (B, V); see Sampling."""
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Replaces logits, (..., V), below the k-th greatest by -inf."""
    least = logits.topk(min(k, logits.shape[-1]), -1).values[..., -1:]
    return logits.masked_fill(logits < least, -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keeps the fewest greatest logits, (B, V), whose probabilities sum to p or more; the others become -inf."""
    if p == 1:
        return logits  # a rounded sum could exclude a token
    descending = _descending(logits)
    summed = (descending - descending[:, :1]).double().exp().cumsum(-1)
    needed = p * summed[:, -1:]
    kept = (summed[:, :-1] < needed).sum(-1, keepdim=True) + 1
    least = descending.gather(-1, kept - 1)
    above, equal = logits > least, logits == least
    # of equal logits the first
    chosen = above | (equal & (equal.cumsum(-1) <= kept - above.sum(-1, keepdim=True)))
    return logits.masked_fill(~chosen, -math.inf)


def _descending(logits: Tensor) -> Tensor:
    if logits.device.type == "cpu":
        # ten times as fast as torch, which sorts indices together with the numbers
        return torch.from_numpy(np.sort(logits.detach().numpy(), -1)).flip(-1)
    return logits.sort(-1, descending=True).values


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Replaces logits, (..., V), whose probability is below p times the greatest by -inf."""
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(p), -math.inf)


class Sampler:
    """Chooses the next token of each of B sequences, each with its own random stream.

    The stream of sequence b depends on `seed` and b only, so that its tokens do not depend on other sequences.

    Args:
        sampling: The way to choose a token.
        prompts: The ids of B prompts, which count as seen for the repetition penalty.
        vocab_size: Number of ids, V.
        seed: A non-negative integer.
        allowed: Booleans, (V), False for ids that are never chosen. None allows all.

    Raises:
        ValueError: The seed is no non-negative integer.
    """

    def __init__(
        self,
        sampling: Sampling,
        prompts: Sequence[Sequence[int]],
        vocab_size: int,
        seed: int,
        allowed: Tensor | None = None,
    ) -> None:
        self.sampling = sampling
        self._allowed = allowed
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

    @property
    def takes_greatest(self) -> bool:
        """Whether only the greatest of the unchanged logits is needed."""
        return self.sampling.takes_greatest and self._allowed is None

    def __call__(self, logits: Tensor) -> Tensor:
        """Chooses a token for each sequence.

        Args:
            logits: Logits, (B, V).

        Returns:
            Ids, (B,), int64.

        Raises:
            ValueError: A row contains nan or +inf, or only -inf.
        """
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self._allowed is not None:
            self._allowed = self._allowed.to(logits.device)
            logits = logits.masked_fill(~self._allowed, -math.inf)
        if self._seen is not None:
            self._seen = self._seen.to(logits.device)
            logits = penalize_repetition(logits, self._seen, self.sampling.repetition_penalty)
        greatest, ids = logits.max(-1)
        if not all(map(math.isfinite, greatest.tolist())):
            raise ValueError("the model's logits are nan or infinite; expected finite numbers")
        if self.sampling.temperature > 0:
            ids = self._draw(self.sampling.filtered(logits).softmax(-1))
        if self._seen is not None:
            self._seen.scatter_(-1, ids.unsqueeze(-1), True)
        return ids

    def _draw(self, probabilities: Tensor) -> Tensor:
        """Draws ids, (B,), by inverting the distribution function, with one random number per token."""
        uniform = torch.stack([torch.rand((), dtype=torch.float64, generator=stream) for stream in self._streams])
        summed = probabilities.cumsum(-1, dtype=torch.float64)
        # always below the sum: the number is at most 1 - 2^-53, and the product is not rounded up to the sum
        reached = uniform.to(summed.device) * summed[:, -1]
        # right=True: the sum never first exceeds `reached` at a token of probability 0
        return torch.searchsorted(summed, reached.unsqueeze(-1), right=True).squeeze(-1)

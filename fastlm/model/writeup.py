"""The GPT-2 accounting of the write-up of CS336's first assignment from which fastlm started, with each figure computed
and compared.

It counts as the assignment does: three matrices of 4 d_model in the feed-forward network, an output layer that is not
tied, all T x T scores.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from fastlm.model.flops import flops_by_part, forward_flops
from fastlm.model.memory import disk_bytes
from fastlm.model.parameters import num_parameters
from fastlm.model.presets import PRESETS


@dataclass(frozen=True)
class Claim:
    """A figure of the write-up: what it counts, the printed value, the computed value, and the reason of an error."""

    what: str
    printed: float
    computed: int
    slip: str = ""

    def to_dict(self) -> dict[str, str | float | bool]:
        """The fields and the verdict, with values that JSON can represent."""
        return {**asdict(self), "right": self.right}

    @property
    def right(self) -> bool:
        """Whether the printed value is the computed one, rounded to the printed digits."""
        digits = f"{self.printed:.17g}".rstrip("0")
        significant = max(2, sum(character.isdigit() for character in digits.split("e")[0].strip("0.")))
        return float(f"{self.computed:.{significant - 1}e}") == self.printed


def claims() -> list[Claim]:
    """All figures of the write-up's accounting."""
    xl = PRESETS["gpt2-xl"]
    long = replace(xl, context_length=16_384)
    found = [
        Claim("GPT-2 XL: parameters", 2_127_057_600, num_parameters(xl)),
        Claim("GPT-2 XL: bytes in float32", 8.5e9, disk_bytes(xl)),
        Claim("GPT-2 XL: forward FLOPs, 1,024 tokens", 4_513_336_524_800, forward_flops(xl)),
        Claim("GPT-2 XL: feed-forward", 3.0e12, flops_by_part(xl)["feed-forward"]),
        Claim("GPT-2 XL: attention", 1.33e12, _attention("gpt2-xl")),
    ]
    printed = {
        "gpt2": ("small", 82_141_249_536, 173_946_175_488),
        "gpt2-medium": ("medium", 257_698_037_760, 618_475_290_624),
        "gpt2-large": ("large", 555_661_393_920, 1_449_551_462_400),
    }
    slip = "leaves out the output projection, which the figure for XL includes"
    for name, (words, attention, feed_forward) in printed.items():
        found.append(Claim(f"GPT-2 {words}: attention", attention, _attention(name), slip))
        computed = flops_by_part(PRESETS[name])["feed-forward"]
        found.append(Claim(f"GPT-2 {words}: feed-forward", feed_forward, computed))
    parts = flops_by_part(long)
    return [
        *found,
        Claim("GPT-2 XL, 16,384 tokens: forward FLOPs", 1.495227957e14, forward_flops(long)),
        Claim(
            "GPT-2 XL, 16,384 tokens: attention",
            9.856949944e13,
            parts["attention projections"] + parts["attention scores"],
        ),
        Claim(
            "GPT-2 XL, 16,384 tokens: feed-forward",
            4.830658560e12,
            parts["feed-forward"],
            "ten times too small, and of 16,380 tokens",
        ),
    ]


def _attention(name: str) -> int:
    parts = flops_by_part(PRESETS[name])
    return parts["attention projections"] + parts["attention scores"]


def table(found: list[Claim]) -> str:
    """Formats the claims as aligned lines of text."""
    width = max(len(claim.what) for claim in found)
    lines = []
    for claim in found:
        verdict = "right" if claim.right else f"SLIP: {claim.slip}"
        figures = f"printed {_figure(claim.printed):>19}  is {claim.computed:>19,}"
        lines.append(f"{claim.what:<{width}}  {figures}  {verdict}")
    return "\n".join(lines)


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.10g}"

"""The cost of a model: parameters, FLOPs, memory, time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fastlm._arguments import instance_of
from fastlm.model.config import ModelConfig
from fastlm.model.flops import Convention, Part, flops_by_part, forward_flops, matrix_products, train_flops_per_token
from fastlm.model.memory import (
    BYTES,
    ComputeType,
    Kernel,
    Optimizer,
    TrainingMemory,
    cache_bytes,
    disk_bytes,
    largest_batch,
    training_memory,
)
from fastlm.model.parameters import num_parameters

# dense FLOP/s of one device, by its maker's specification
PEAKS = {
    "a100-float32": 19.5e12,
    "a100-bfloat16": 312e12,
    "h100-float32": 67e12,
    "h100-bfloat16": 989e12,
}


@dataclass(frozen=True)
class Account:
    """The cost of a model in FLOPs, bytes and seconds.

    `flops` lists each matrix product of a sequence, forward and backward. `forward_flops` and `train_flops_per_token`
    are sums by the convention of counting attention's scores: all T x T ("full"), or keys up to the query ("causal").
    """

    config: ModelConfig
    length: int
    batch: int
    compute: ComputeType
    parameters: int
    embedding_parameters: int
    flops: dict[str, dict[str, int]]
    parts: dict[Part, int]
    forward_flops: dict[Convention, int]
    train_flops_per_token: dict[Convention, int]
    memory: TrainingMemory
    device_memory: int
    largest_batch: int
    cache_bytes: int
    disk_bytes: dict[str, int]
    tokens: int
    peak_flops: float
    mfu: float
    train_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, with values that JSON can represent."""
        fields = asdict(self)
        fields["memory"]["total"] = self.memory.total
        return fields


def account(
    config: ModelConfig,
    *,
    length: int | None = None,
    batch: int = 1,
    compute: ComputeType = "bfloat16",
    optimizer: Optimizer = "adamw",
    kernel: Kernel = "sdpa",
    checkpointing: bool = False,
    device_memory: int = 80 * 10**9,
    tokens: int | None = None,
    peak_flops: float = PEAKS["h100-bfloat16"],
    mfu: float = 0.4,
) -> Account:
    """Computes the cost of training and decoding with a model.

    Args:
        config: The model.
        length: Tokens in a sequence; context_length by default.
        batch: Sequences in a training step.
        compute: Dtype of the products; parameters, gradients and moments are float32.
        optimizer, kernel, checkpointing: See memory.training_memory.
        device_memory: Memory of a device in bytes, for the largest batch.
        tokens: Tokens of a training run; by default 20 per parameter (Hoffmann et al. 2022,
            https://arxiv.org/abs/2203.15556).
        peak_flops: Peak FLOP/s of the device.
        mfu: Model FLOPs utilization, the fraction of the peak that training reaches, by the full convention.

    Returns:
        The cost.

    Raises:
        ValueError: The length exceeds the model's context, or a number is out of range.
    """
    instance_of(config, ModelConfig, "config")
    if not isinstance(compute, str) or compute not in BYTES:
        raise ValueError(f"compute is {compute!r}; expected one of {', '.join(BYTES)}")
    length = config.context_length if length is None else length
    if not 1 <= length <= config.context_length:
        raise ValueError(f"length is {length}; expected 1 to the context length, {config.context_length}")
    if batch < 1:
        raise ValueError(f"batch is {batch}; expected at least 1")
    if not 0 < mfu <= 1:
        raise ValueError(f"mfu is {mfu}; expected more than 0 and at most 1")
    if not peak_flops > 0:
        raise ValueError(f"peak_flops is {peak_flops}; expected a positive number")
    parameters = num_parameters(config)
    tokens = 20 * parameters if tokens is None else tokens
    options: dict[str, Any] = {
        "compute": compute,
        "optimizer": optimizer,
        "kernel": kernel,
        "checkpointing": checkpointing,
    }
    per_token: dict[Convention, int] = {
        "full": train_flops_per_token(config, length),
        "causal": train_flops_per_token(config, length, "causal"),
    }
    return Account(
        config=config,
        length=length,
        batch=batch,
        compute=compute,
        parameters=parameters,
        embedding_parameters=config.vocab_size * config.d_model,
        flops={
            product.name: {"forward": product.flops, "backward": product.backward_flops}
            for product in matrix_products(config, length)
        },
        parts=flops_by_part(config, length),
        forward_flops={"full": forward_flops(config, length), "causal": forward_flops(config, length, "causal")},
        train_flops_per_token=per_token,
        memory=training_memory(config, batch, length, **options),
        device_memory=device_memory,
        largest_batch=largest_batch(config, device_memory, length, **options),
        cache_bytes=cache_bytes(config, 1, length, number=BYTES[compute]),
        disk_bytes={name: disk_bytes(config, BYTES[name]) for name in ("float32", "bfloat16")},
        tokens=tokens,
        peak_flops=peak_flops,
        mfu=mfu,
        train_seconds=tokens * per_token["full"] / (peak_flops * mfu),
    )


def table(found: Account) -> str:
    """Formats the cost as aligned lines of text."""
    forward = found.forward_flops["full"]
    rows: list[tuple[str, str, str]] = [
        ("parameters", f"{found.parameters:,}", f"{found.embedding_parameters:,} of them the token embedding"),
        *((f"on disk, {name}", size(count), f"{count:,} bytes of weights") for name, count in found.disk_bytes.items()),
        ("", "", ""),
        (f"forward FLOPs, {found.length:,} tokens", "", ""),
        *(
            (f"  {name}", f"{flops['forward']:,}", f"{share(flops['forward'], forward)}")
            for name, flops in found.flops.items()
        ),
        ("  all, full attention", f"{forward:,}", "all T x T scores"),
        ("  all, causal attention", f"{found.forward_flops['causal']:,}", "scores of keys not after the query"),
        *((f"  {part}", f"{flops:,}", share(flops, forward)) for part, flops in found.parts.items()),
        ("training FLOPs a token", f"{found.train_flops_per_token['full']:,}", "full; backward is twice forward"),
        ("", f"{found.train_flops_per_token['causal']:,}", "causal"),
        ("", "", ""),
        (f"training memory, batch {found.batch}", size(found.memory.total), f"products in {found.compute}"),
        *(
            (f"  {name}", size(getattr(found.memory, name)), "")
            for name in ("parameters", "gradients", "optimizer", "activations", "loss")
        ),
        ("largest batch", f"{found.largest_batch:,}", f"in {size(found.device_memory)}"),
        ("key-value cache", size(found.cache_bytes), f"of one sequence of {found.length:,}, {found.compute}"),
        ("", "", ""),
        (
            "training time",
            duration(found.train_seconds),
            f"{found.tokens:,} tokens at {100 * found.mfu:.0f} % of {found.peak_flops / 1e12:,.1f} TFLOP/s",
        ),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = (f"{name:<{widths[0]}}  {value:>{widths[1]}}  {note}".rstrip() for name, value, note in rows)
    return "\n".join(lines)


def share(part: int, whole: int) -> str:
    """`part` as percent of `whole`."""
    return f"{100 * part / whole:.1f} %"


def size(count: int) -> str:
    """A number of bytes in decimal units."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:,.2f} {name}"
    return f"{count} B"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, name in ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:.1f} seconds"

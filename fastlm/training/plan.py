"""What a run will do and cost, computed before its first step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from fastlm.model.account import duration, size
from fastlm.model.flops import train_flops_per_token
from fastlm.model.memory import TrainingMemory, disk_bytes, training_memory
from fastlm.model.parameters import num_parameters
from fastlm.text.plural import plural
from fastlm.training.config import TrainingConfig

# the share of the peak that `fastlm account` assumes too
ASSUMED_MFU = 0.4


@dataclass(frozen=True)
class RunPlan:
    """The size and the cost of a run.

    Attributes:
        parameters: Number of trainable weights.
        steps: Number of steps.
        step_tokens: Tokens per step, over all processes.
        train_tokens: Number of training ids; None if unknown.
        validation_tokens: Number of validation ids; None if there are none.
        flops_per_token: FLOPs of the matrix products, forward and backward.
        memory: Memory of one process; see model.memory.
        checkpoint_bytes: Size of a checkpoint on disk.
        kept_checkpoints: Number of checkpoints on disk.
        processes: Number of processes.
        device: Type of the device.
        precision: Dtype of the products.
        peak_flops: FLOP/s of all devices at full utilization.
        mfu: Assumed fraction of the peak.
    """

    parameters: int
    steps: int
    step_tokens: int
    train_tokens: int | None
    validation_tokens: int | None
    flops_per_token: int
    memory: TrainingMemory
    checkpoint_bytes: int
    kept_checkpoints: int
    processes: int
    device: str
    precision: str
    peak_flops: float
    mfu: float = ASSUMED_MFU

    @property
    def tokens(self) -> int:
        """Tokens of the whole run."""
        return self.steps * self.step_tokens

    @property
    def epochs(self) -> float | None:
        """Tokens of the run divided by the number of training ids; None if that is unknown."""
        return None if self.train_tokens is None else self.tokens / self.train_tokens

    def seconds(self, steps: int | None = None) -> float:
        """Computed time of a number of steps, by default of all, without evaluations and checkpoints."""
        tokens = (self.steps if steps is None else steps) * self.step_tokens
        return tokens * self.flops_per_token / (self.peak_flops * self.mfu)

    def first_line(self) -> str:
        """The size of the model and where it is trained."""
        return f"{self.parameters:,} parameters, {self.precision} on {self.processes} x {self.device}"

    def cost_lines(self, done: int = 0) -> Iterator[str]:
        """The cost of the run as lines of text, after a number of steps."""
        epochs = "" if self.epochs is None else f"; {self.epochs:.3g} times the {self.train_tokens:,} ids of the data"
        steps = plural(self.steps, "step", ",")
        yield f"{plural(self.tokens, 'token', ',')} in {steps} of {self.step_tokens:,}{epochs}"
        total = self.tokens * self.flops_per_token
        yield f"{self.flops_per_token:,} training FLOPs per token, {total:.3g} in all"
        memory = self.memory
        yield (
            f"{size(memory.total)} of memory per process: weights {size(memory.parameters)}, gradients "
            f"{size(memory.gradients)}, optimizer {size(memory.optimizer)}, activations {size(memory.activations)}, "
            f"loss {size(memory.loss)}; checkpoints {size(self.checkpoint_bytes * self.kept_checkpoints)} on disk"
        )
        if done < self.steps:
            yield (
                f"about {duration(self.seconds(self.steps - done))} at {100 * self.mfu:.0f} % of "
                f"{self.peak_flops / 1e12:,.3g} TFLOP/s"
            )

    def to_dict(self) -> dict[str, Any]:
        """All figures by name, with values that JSON can represent."""
        found = asdict(self)
        found["memory"]["total"] = self.memory.total
        return found | {"tokens": self.tokens, "epochs": self.epochs, "seconds": self.seconds()}


def plan_run(
    config: TrainingConfig,
    *,
    train_tokens: int | None,
    validation_tokens: int | None,
    micro_batch_size: int,
    processes: int,
    device: str,
    precision: str,
    peak_flops: float,
) -> RunPlan:
    """Computes the plan of a run.

    Args:
        config: The configuration.
        train_tokens: Number of training ids; None if unknown.
        validation_tokens: Number of validation ids; None if there are none.
        micro_batch_size: Sequences that a process computes at once.
        processes: Number of processes.
        device: Type of the device.
        precision: "float32" or "bfloat16".
        peak_flops: FLOP/s of all devices at full utilization.
    """
    memory = training_memory(
        config.model,
        micro_batch_size,
        compute="bfloat16" if precision == "bfloat16" else "float32",
        optimizer=config.optimizer,
        checkpointing=config.checkpoint_activations,
    )
    return RunPlan(
        parameters=num_parameters(config.model),
        steps=config.steps,
        step_tokens=config.batch_size * config.model.context_length,
        train_tokens=train_tokens,
        validation_tokens=validation_tokens,
        flops_per_token=train_flops_per_token(config.model),
        memory=memory,
        # a checkpoint has the weights and the optimizer states
        checkpoint_bytes=disk_bytes(config.model) + memory.optimizer,
        kept_checkpoints=config.keep_checkpoints,
        processes=processes,
        device=device,
        precision=precision,
        peak_flops=peak_flops,
    )

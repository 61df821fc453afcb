"""The training loop.

B batch, T sequence.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from fastlm.files.atomic import remove_unfinished, write_files
from fastlm.files.remote import Location, location
from fastlm.model.files import refuse_other_tokenizer
from fastlm.tokenizer_files import load
from fastlm.training import parallel
from fastlm.training.batches import Batch, BatchReader
from fastlm.training.checkpoint import first_not_finite, restore, snapshot
from fastlm.training.checkpoint_rotation import CheckpointRotation
from fastlm.training.config import TrainingConfig
from fastlm.training.data import TokenFiles
from fastlm.training.evaluation import Evaluation, bytes_of_ids, evaluate
from fastlm.training.first_model import first_model
from fastlm.training.hardware import autocast_type, measured_flops
from fastlm.training.identity import check_processes, check_resumed, run_identity, tokenizer_fingerprint
from fastlm.training.initial_model import initial_tokenizer
from fastlm.training.log import RunLog
from fastlm.training.mean_loss import MeanLoss
from fastlm.training.optimizer import clip_gradients, make_optimizers, set_learning_rate
from fastlm.training.parallel import Processes
from fastlm.training.plan import RunPlan, plan_run
from fastlm.training.remote_run import run_folder
from fastlm.training.resuming import Resumed, newest_checkpoint
from fastlm.training.run_data import RunData
from fastlm.training.samples import check_samples, make_samples
from fastlm.training.schedule import learning_rate_of
from fastlm.training.speed import Speed
from fastlm.training.stop_signals import StopSignals
from fastlm.training.summary import write_summary
from fastlm.training.trained_model import end_ids, save_trained


def train(config: TrainingConfig) -> Location:
    """Trains a model, or resumes a run that was stopped.

    A run writes to `config.out`: config.toml, log.jsonl, checkpoints/, and finally model/. If there are checkpoints of
    the run it resumes from the newest. On one machine, losses and weights then equal, bit for bit, the ones of a run
    that was never stopped, unless `steps` grew or a learning rate was lowered. After SIGINT or SIGTERM the run finishes
    its step, writes a checkpoint, and ends with KeyboardInterrupt or SystemExit. Under torchrun all processes call
    this.

    Args:
        config: The configuration.

    Returns:
        The folder of the model.

    Raises:
        ValueError: Configuration, data, tokenizer, checkpoints and processes do not fit together, or the loss, the
            gradient or a weight is no longer finite.
        OSError: A file cannot be read or written.
    """
    with (
        parallel.processes(config.device, config.allow_tf32) as processes,
        run_folder(config) as (local_config, folder),
    ):
        TrainingRun(local_config, processes, folder.upload).train()
        if processes.rank == 0:
            folder.upload()
    return location(config.out) / "model"


class TrainingRun:
    """All parts of a training run, checked before its first step.

    Args:
        config: The configuration.
        processes: The processes of the run.
        saved: Called after each checkpoint.

    Raises:
        ValueError, OSError: As `train`.
    """

    def __init__(self, config: TrainingConfig, processes: Processes, saved: Callable[[], None] = lambda: None):
        self.config, self.processes, self.saved = config, processes, saved
        self.micro_batch_size = _micro_batch_size(config, processes.count)
        self.data = RunData.open(config)
        self.tokenizer = load(config.tokenizer) if config.tokenizer is not None else None
        if config.tokenizer is None and config.init_from is not None:
            self.tokenizer = initial_tokenizer(config.init_from)
        check_samples(config, self.tokenizer)
        vocab_size = config.model.vocab_size
        self.token_bytes = None if self.tokenizer is None else bytes_of_ids(self.tokenizer, vocab_size)
        self.checkpoints = CheckpointRotation(Path(config.out) / "checkpoints", config.keep_checkpoints)
        self.resumed = newest_checkpoint(self.checkpoints)
        self.autocast_type = self._autocast_type()
        self.model = first_model(config)
        self.fingerprint = tokenizer_fingerprint(config, self.data, self.tokenizer, self.model)
        precision = precision_of(self.autocast_type)
        self.identity = run_identity(config, self.data, precision, self.fingerprint, self.model)
        check_resumed(self.resumed, self.identity)
        if self.tokenizer is None:
            refuse_other_tokenizer(Path(config.out) / "model", self.fingerprint)
        check_processes(processes, config.out, self.resumed, self.identity, self.model)
        self.peak_flops = config.peak_flops or measured_flops(processes.device, self.autocast_type or torch.float32)
        self.plan = self._plan()

        self.model = self.model.to(processes.device)
        self.model.checkpoint_activations = config.checkpoint_activations
        self.loss_of = MeanLoss(self.model, processes.device, self.autocast_type)
        self.loss_to_train: nn.Module = self.loss_of
        if config.compile:
            self.loss_to_train = parallel.compiled(self.loss_to_train, processes.device)
        if processes.count > 1:
            self.loss_to_train = parallel.distributed(self.loss_to_train, self.model.layers, config.parallel)
        self.optimizers = make_optimizers(self.model, config)
        self.signals = StopSignals()

    def train(self) -> None:
        """Does all remaining steps, then writes the model."""
        config, processes = self.config, self.processes
        done, seconds = self._restore()
        speed = Speed(
            step=done,
            seconds=seconds,
            step_tokens=self.plan.step_tokens,
            step_flops=self.plan.step_tokens * self.plan.flops_per_token,
            peak_flops=self.plan.peak_flops,
        )
        reader = BatchReader(config, self.data, processes, self.micro_batch_size)
        logging = self._log(done) if processes.rank == 0 else nullcontext()
        with logging as log:
            with self.signals.caught(), closing(reader.steps(done + 1, config.steps)) as steps:
                self._train_steps(steps, speed, log)
            self._save_model()
            if log:
                log.say(write_summary(config, self.plan))

    def _train_steps(self, steps: Iterator[tuple[int, list[Batch]]], speed: Speed, log: RunLog | None) -> None:
        """Does steps, with their evaluations, samples and checkpoints."""
        config = self.config
        for step, batches in steps:
            loss, norm, stop = self._update(step, batches)
            if self._is_due(step, config.log_every) and log:
                values = {"loss": loss, "gradient_norm": norm, "learning_rate": learning_rate_of(config, step)}
                values |= {"tokens": step * speed.step_tokens, "seconds": speed.seconds}
                log.write(step, values | speed.since_last(step))
            with speed.paused():
                if self.data.validation and self._is_due(step, config.eval_every):
                    self._check_weights(step)
                    evaluation = self._evaluate(self.data.validation)
                    if log:
                        log.write(step, {f"valid_{name}": value for name, value in asdict(evaluation).items()})
                if config.sample_every is not None and log and self._is_due(step, config.sample_every):
                    assert self.tokenizer is not None
                    log.write_samples(step, make_samples(config, self.model, self.tokenizer))
                if self._is_due(step, config.checkpoint_every) or stop:
                    self._save(step, speed.seconds, log)
            if log:
                log.advance()
            if stop:
                message = f"{config.out}: stopped after step {step}, which is saved; the same command resumes"
                self.signals.end(message)

    # --- parts that are checked before the first step ---

    def _autocast_type(self) -> torch.dtype | None:
        """The dtype of autocast: with "auto" the one that the run began with."""
        chosen = autocast_type(self.config, self.processes.device)
        begun = self.resumed.document["run"].get("precision") if self.resumed else None
        if self.config.precision != "auto" or begun not in ("float32", "bfloat16"):
            return chosen
        kept = torch.bfloat16 if begun == "bfloat16" else None
        if kept != chosen:
            warnings.warn(
                f"the run began with precision {begun!r} and keeps it; for a new run 'auto' would choose "
                f"{precision_of(chosen)!r} on this device",
                stacklevel=2,
            )
        return kept

    # --- steps ---

    def _update(self, step: int, batches: list[Batch]) -> tuple[float, float, bool]:
        """Does one step. Returns the mean loss over the batch, the gradient's norm, and whether the run shall stop."""
        config, processes = self.config, self.processes
        mean = torch.zeros((), device=processes.device)
        for number, batch in enumerate(batches, 1):
            with parallel.defer_gradient_sync(self.loss_to_train, number < len(batches)):
                loss = self.loss_to_train(*batch.to(processes.device)) / len(batches)
                loss.backward()
            mean += loss.detach()
        norm = parallel.gathered(clip_gradients(self.model.parameters(), config.max_gradient_norm or math.inf))
        # one exchange for the loss and for a signal that any process has got
        sums = processes.sum(torch.stack([mean, torch.full_like(mean, float(self.signals.received > 0))]))
        found = self._finite(step, "loss", float(sums[0]) / processes.count)
        found_norm = self._finite(step, "gradient norm", float(norm))
        set_learning_rate(self.optimizers, learning_rate_of(config, step))
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return found, found_norm, bool(sums[1] > 0)

    def _is_due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.config.steps

    def _finite(self, step: int, what: str, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError(f"{self.config.out}: the {what} of step {step} is {value}; {self._advice()}")
        return value

    def _check_weights(self, step: int) -> None:
        """Refuses weights that are not finite, which the update of a finite gradient can leave."""
        weights = {name: parallel.local(weight.detach()) for name, weight in self.model.named_parameters()}
        self._refuse_not_finite(step, first_not_finite(weights))

    def _refuse_not_finite(self, step: int, name: str | None) -> None:
        if name is not None:
            raise ValueError(f"{self.config.out}: {name} is not finite after step {step}; {self._advice()}")

    def _advice(self) -> str:
        newest = self.checkpoints.newest()
        resumes = "" if newest is None else f"; the run resumes from {newest.name}"
        return f"try a lower learning_rate{resumes}"

    def _evaluate(self, data: TokenFiles) -> Evaluation:
        return evaluate(
            self.loss_of,
            data,
            self.processes,
            batch_size=self.micro_batch_size,
            most=self.config.eval_sequences,
            documents_of=self.data.numbering(data),
            token_bytes=self.token_bytes,
        )

    def _plan(self) -> RunPlan:
        return plan_run(
            self.config,
            train_tokens=len(self.data.train),
            validation_tokens=None if self.data.validation is None else len(self.data.validation),
            micro_batch_size=self.micro_batch_size,
            processes=self.processes.count,
            device=self.processes.device.type,
            precision=precision_of(self.autocast_type),
            peak_flops=self.peak_flops * self.processes.count,
        )

    # --- files ---

    def _log(self, done: int) -> RunLog:
        out = Path(self.config.out)
        for directory in (out, self.checkpoints.directory, out / "model"):
            remove_unfinished(directory)
        write_files(out, {"config.toml": self.config.to_toml().encode()})
        log = RunLog(self.config, done)
        steps = self.config.steps
        rest = f"steps {done + 1:,} to {steps:,}" if done < steps else f"all {steps:,} steps are done"
        resumed = f", resumed from {self.resumed.path.name}" if self.resumed else ""
        log.say(f"{self.config.out}: {self.plan.first_line()}, {rest}{resumed}")
        for line in self.plan.cost_lines(done):
            log.say(f"  {line}")
        if extension := self._extension(done):
            log.say(f"  {extension}")
        return log

    def _extension(self, done: int) -> str | None:
        """What more steps than the run began with mean for its schedule; None if there are not more."""
        begun = self.resumed.document["run"].get("steps") if self.resumed else None
        if type(begun) is not int or begun >= self.config.steps:
            return None
        now, before = (learning_rate_of(self.config, done, steps=steps) for steps in (self.config.steps, begun))
        return (
            f"extended from {begun:,} to {self.config.steps:,} steps: from step {done + 1:,} on the learning rate "
            f"follows the schedule of {self.config.steps:,} steps, which has {now:.3g} at step {done:,}; the schedule "
            f"of {begun:,} steps had {before:.3g}"
        )

    def _restore(self) -> tuple[int, float]:
        """Restores the state of the checkpoint; returns the steps done and their seconds."""
        if self.resumed is None:
            return 0, 0.0
        resumed, self.resumed = self.resumed, Resumed(self.resumed.path, {}, self.resumed.document)
        restore(str(resumed.path), resumed.tensors, resumed.document, self.model, self.optimizers)
        return resumed.step, float(resumed.document["run"]["seconds"])

    def _save(self, step: int, seconds: float, log: RunLog | None) -> None:
        state = snapshot(self.model, self.optimizers, step, {**self.identity, "seconds": seconds})
        self._refuse_not_finite(step, first_not_finite(state[0]))
        if log:
            log.sync()
            self.checkpoints.save(step, state)
            self.saved()

    def _save_model(self) -> None:
        tensors, _ = snapshot(self.model, [], self.config.steps, {})
        if self.processes.rank == 0:
            ids = self.model.special_token_ids or end_ids(self.data)
            folder = Path(self.config.out) / "model"
            save_trained(folder, self.config.model, tensors, self.tokenizer, self.fingerprint, ids)
        self.processes.wait()


def precision_of(dtype: torch.dtype | None) -> str:
    """The precision that a dtype of autocast gives."""
    return "float32" if dtype is None else "bfloat16"


def _micro_batch_size(config: TrainingConfig, processes: int) -> int:
    share, rest = divmod(config.batch_size, processes)
    if rest:
        raise ValueError(f"batch_size is {config.batch_size}, which {processes} processes do not divide")
    size = config.micro_batch_size or share
    if share % size:
        raise ValueError(f"micro_batch_size is {size}, which does not divide the {share} sequences of a process")
    return size

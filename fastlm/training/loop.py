"""The training loop.

B batch, T sequence.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from fastlm.files.atomic import remove_unfinished, write_files
from fastlm.model.files import save_model
from fastlm.model.flops import train_flops_per_token
from fastlm.model.loss import linear_cross_entropy
from fastlm.model.transformer import TransformerLM
from fastlm.tokenizer import load
from fastlm.training import parallel
from fastlm.training.checkpoint import read_checkpoint, restore, snapshot
from fastlm.training.config import TrainingConfig
from fastlm.training.data import TokenFiles, document_ids, window_starts
from fastlm.training.evaluation import Evaluation, bytes_of_ids, evaluate
from fastlm.training.hardware import autocast_type, measured_flops
from fastlm.training.log import RunLog
from fastlm.training.optimizer import clip_gradients, make_optimizers, set_learning_rate
from fastlm.training.parallel import Processes
from fastlm.training.rotation import Checkpoints
from fastlm.training.schedule import cosine_schedule
from fastlm.training.speed import Speed


def train(config: TrainingConfig) -> Path:
    """Trains a model, or goes on with a run that was stopped, and returns the folder of the model.

    A run writes to `config.out`: config.toml, log.jsonl, checkpoints/, and in the end model/. Where it finds
    checkpoints of its own it goes on from the newest; losses and weights are then, bit for bit on one machine, those of
    a run that was never stopped. Under torchrun all processes call it.

    Raises ValueError where configuration, data, tokenizer and checkpoints do not fit together, or the loss is no
    longer a finite number; OSError for files that cannot be read or written.
    """
    with parallel.processes(config.device) as processes:
        Run(config, processes).train()
    return Path(config.out) / "model"


class MeanLoss(nn.Module):
    """Mean cross-entropy of a model's predictions, in nats; products are of `autocast_type` where it is not None."""

    def __init__(self, model: TransformerLM, device: torch.device, autocast_type: torch.dtype | None):
        super().__init__()
        self.model = model
        self.device_type = device.type
        self.autocast_type = autocast_type

    def forward(self, inputs: Tensor, targets: Tensor, document_ids: Tensor | None = None) -> Tensor:
        """Of inputs, targets and document ids, all (B, T)."""
        with torch.autocast(self.device_type, self.autocast_type, enabled=self.autocast_type is not None):
            hidden = self.model.hidden(inputs, document_ids=document_ids)  # (B, T, D)
            return linear_cross_entropy(hidden, self.model.lm_head.weight, targets)


class Run:
    """All that takes part in a run, checked before its first step. Raises as `train`."""

    def __init__(self, config: TrainingConfig, processes: Processes):
        self.config, self.processes = config, processes
        shape = config.model
        self.data = TokenFiles(config.train_data, shape.vocab_size, shape.context_length)
        self.valid = (
            TokenFiles(config.valid_data, shape.vocab_size, shape.context_length) if config.valid_data else None
        )
        self.tokenizer = None if config.tokenizer is None else load(config.tokenizer)
        self.token_bytes = None if self.tokenizer is None else bytes_of_ids(self.tokenizer, shape.vocab_size)
        self.micro_batch_size = _micro_batch_size(config, processes.count)
        self.autocast_type = autocast_type(config, processes.device)

        # on the CPU, so that first weights are the same on every device
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(config.seed)
            self.model = TransformerLM.from_config(shape, device="cpu", dtype=torch.float32).to(processes.device)
        self.model.checkpoint_activations = config.checkpoint_activations
        self.loss_of = MeanLoss(self.model, processes.device, self.autocast_type)
        self.loss_to_train: nn.Module = self.loss_of
        if config.compile:
            self.loss_to_train = parallel.compiled(self.loss_to_train, processes.device)
        if processes.count > 1:
            self.loss_to_train = parallel.distributed(self.loss_to_train, self.model.layers, config.parallel)
        self.optimizers = make_optimizers(self.model, config)
        self.checkpoints = Checkpoints(Path(config.out) / "checkpoints", config.keep_checkpoints)
        # what a checkpoint must have been made with for this run to go on from it
        self.identity = {
            **config.deciding(),
            "data": self.data.fingerprint(),
            "tokenizer": None if self.tokenizer is None else self.tokenizer.vocabulary.fingerprint,
        }

    def train(self) -> None:
        """All steps that are left, then the model."""
        config, processes = self.config, self.processes
        done, seconds = self._resume()
        speed = self._speed(done, seconds)
        with self._log(done) if processes.rank == 0 else nullcontext() as log:
            for step in range(done + 1, config.steps + 1):
                loss, norm = self._update(step)
                if self._is_due(step, config.log_every):
                    values = {"loss": self._finite(step, loss), "gradient_norm": float(norm)}
                    values |= {"learning_rate": self._learning_rate(step), "tokens": step * speed.step_tokens}
                    values |= {"seconds": speed.seconds, **speed.since_last(step)}
                    if log:
                        log.write(step, values)
                with speed.paused():
                    if self.valid and self._is_due(step, config.eval_every):
                        evaluation = self._evaluate(self.valid)
                        if log:
                            log.write(step, {f"valid_{name}": value for name, value in asdict(evaluation).items()})
                    if self._is_due(step, config.checkpoint_every):
                        self._finite(step, loss)
                        self._save(step, speed.seconds, log)
                if log:
                    log.advance()
        self._save_model()

    def _update(self, step: int) -> tuple[Tensor, Tensor]:
        """One step: the mean loss over the batch, and the norm of its gradient."""
        config, processes = self.config, self.processes
        starts = window_starts(config.seed, step, config.batch_size, self.data.places)
        parts = torch.split(self.data.windows(starts[processes.rank :: processes.count]), self.micro_batch_size)
        mean = torch.zeros((), device=processes.device)
        for number, windows in enumerate(parts, 1):
            windows = windows.to(processes.device)
            inputs, targets = windows[:, :-1], windows[:, 1:]  # (B, T)
            documents = None if config.end_of_text is None else document_ids(inputs, config.end_of_text)
            with parallel.gradients_later(self.loss_to_train, number < len(parts)):
                loss = self.loss_to_train(inputs, targets, documents) / len(parts)
                loss.backward()
            mean += loss.detach()
        norm = parallel.whole(clip_gradients(self.model.parameters(), config.max_gradient_norm or math.inf))
        set_learning_rate(self.optimizers, self._learning_rate(step))
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return processes.sum(mean) / processes.count, norm

    def _learning_rate(self, step: int) -> float:
        config = self.config
        return cosine_schedule(step, config.learning_rate, config.min_learning_rate, config.warmup_steps, config.steps)

    def _is_due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.config.steps

    def _finite(self, step: int, loss: Tensor) -> float:
        if not math.isfinite(value := float(loss)):
            raise ValueError(f"{self.config.out}: the loss of step {step} is {value}; try a lower learning_rate")
        return value

    def _evaluate(self, data: TokenFiles) -> Evaluation:
        config = self.config
        return evaluate(
            self.loss_of,
            data,
            self.processes,
            batch_size=self.micro_batch_size,
            most=config.eval_sequences,
            end_of_text=config.end_of_text,
            token_bytes=self.token_bytes,
        )

    def _speed(self, done: int, seconds: float) -> Speed:
        config, processes = self.config, self.processes
        peak = config.peak_flops or measured_flops(processes.device, self.autocast_type or torch.float32)
        tokens = config.batch_size * config.model.context_length
        flops = tokens * train_flops_per_token(config.model)
        return Speed(
            step=done, seconds=seconds, step_tokens=tokens, step_flops=flops, peak_flops=peak * processes.count
        )

    def _log(self, done: int) -> RunLog:
        out = Path(self.config.out)
        for directory in (out, self.checkpoints.directory, out / "model"):
            remove_unfinished(directory)
        write_files(out, {"config.toml": self.config.to_toml().encode()})
        return RunLog(self.config, done)

    def _resume(self) -> tuple[int, float]:
        """Steps done and seconds that they took, by the newest checkpoint, whose state the run then has."""
        path = self.checkpoints.newest()
        if path is None:
            return 0, 0.0
        where, tensors, document = read_checkpoint(path)
        run = document["run"]
        for name, value in self.identity.items():
            if run.get(name) != value:
                raise ValueError(
                    f"{where}: made with {name} {run.get(name)!r}, not {value!r}; give another directory as out"
                )
        restore(where, tensors, document, self.model, self.optimizers)
        return document["iteration"], float(run["seconds"])

    def _save(self, step: int, seconds: float, log: RunLog | None) -> None:
        state = snapshot(self.model, self.optimizers, step, {**self.identity, "seconds": seconds})
        if log:
            log.sync()
            self.checkpoints.save(step, state)

    def _save_model(self) -> None:
        tensors, _ = snapshot(self.model, [], self.config.steps, {})
        if self.processes.rank == 0:
            model = TransformerLM.from_config(self.config.model, device="cpu", dtype=torch.float32)
            model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in tensors.items()})
            save_model(model, Path(self.config.out) / "model", self.tokenizer)
            if self.tokenizer is not None:
                self.tokenizer.save(Path(self.config.out) / "model")
        self.processes.wait()


def _micro_batch_size(config: TrainingConfig, processes: int) -> int:
    share, rest = divmod(config.batch_size, processes)
    if rest:
        raise ValueError(f"batch_size is {config.batch_size}, which {processes} processes do not divide")
    size = config.micro_batch_size or share
    if share % size:
        raise ValueError(f"micro_batch_size is {size}, which does not divide the {share} sequences of a process")
    return size

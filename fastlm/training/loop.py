"""The training loop.

B batch, T sequence.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastlm._types import Int64Array
from fastlm.files.atomic import remove_unfinished, write_files
from fastlm.model.config import SpecialTokenIds
from fastlm.model.files import refuse_other_tokenizer, save_model
from fastlm.model.flops import train_flops_per_token
from fastlm.model.loss import linear_cross_entropy
from fastlm.model.parameters import num_parameters
from fastlm.model.safetensors_file import named_digest, tensor_bytes
from fastlm.model.transformer import TransformerLM
from fastlm.tokenizer_files import load
from fastlm.training import parallel
from fastlm.training.checkpoint import first_not_finite, read_checkpoint, restore, snapshot
from fastlm.training.checkpoint_rotation import CheckpointRotation
from fastlm.training.config import TrainingConfig
from fastlm.training.data import TokenFiles, document_ids, window_starts
from fastlm.training.evaluation import Evaluation, bytes_of_ids, evaluate
from fastlm.training.hardware import autocast_type, measured_flops
from fastlm.training.initial_model import initial_model, initial_tokenizer
from fastlm.training.log import RunLog
from fastlm.training.optimizer import clip_gradients, make_optimizers, set_learning_rate
from fastlm.training.parallel import Processes
from fastlm.training.schedule import cosine_schedule
from fastlm.training.speed import Speed
from fastlm.training.token_source import has_split

TRAIN, VALIDATION = "train", "val"
# the value of end_of_text in a checkpoint if documents are told apart by their recorded ends
RECORDED_ENDS = "recorded ends"


def train(config: TrainingConfig) -> Path:
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
    with parallel.processes(config.device, config.allow_tf32) as processes:
        TrainingRun(config, processes).train()
    return Path(config.out) / "model"


class MeanLoss(nn.Module):
    """Mean cross-entropy of a model's predictions, in nats.

    Args:
        model: The model.
        device: Its device.
        autocast_type: Dtype of autocast for the products; None for float32.
    """

    def __init__(self, model: TransformerLM, device: torch.device, autocast_type: torch.dtype | None):
        super().__init__()
        self.model = model
        self.device_type = device.type
        self.autocast_type = autocast_type

    def forward(self, inputs: Tensor, targets: Tensor, document_ids: Tensor | None = None) -> Tensor:
        """Computes the loss of inputs, targets and document ids, (B, T) each."""
        with torch.autocast(self.device_type, self.autocast_type, enabled=self.autocast_type is not None):
            hidden = self.model.hidden(inputs, document_ids=document_ids)  # (B, T, D)
            return linear_cross_entropy(hidden, self.model.lm_head.weight, targets)


@dataclass(frozen=True)
class Resumed:
    """A checkpoint from which a run resumes."""

    path: Path
    tensors: dict[str, Tensor]
    document: dict[str, Any]

    @property
    def step(self) -> int:
        """Number of steps done."""
        step: int = self.document["iteration"]
        return step


class TrainingRun:
    """All parts of a training run, checked before its first step.

    Args:
        config: The configuration.
        processes: The processes of the run.

    Raises:
        ValueError, OSError: As `train`.
    """

    def __init__(self, config: TrainingConfig, processes: Processes):
        self.config, self.processes = config, processes
        self.micro_batch_size = _micro_batch_size(config, processes.count)
        self._open_data()
        self.tokenizer = load(config.tokenizer) if config.tokenizer is not None else None
        if config.tokenizer is None and config.init_from is not None:
            self.tokenizer = initial_tokenizer(config.init_from)
        vocab_size = config.model.vocab_size
        self.token_bytes = None if self.tokenizer is None else bytes_of_ids(self.tokenizer, vocab_size)
        self.end_of_text, self.has_recorded_ends = self._end_of_text()
        self.checkpoints = CheckpointRotation(Path(config.out) / "checkpoints", config.keep_checkpoints)
        self.resumed = self._newest_checkpoint()
        self.autocast_type = self._autocast_type()
        self.model = self._first_model()
        self.fingerprint = self._fingerprint()
        self.identity = self._identity()
        self._check_resumed()
        if self.tokenizer is None:
            refuse_other_tokenizer(Path(config.out) / "model", self.fingerprint)
        self._check_processes()

        self.model = self.model.to(processes.device)
        self.model.checkpoint_activations = config.checkpoint_activations
        self.loss_of = MeanLoss(self.model, processes.device, self.autocast_type)
        self.loss_to_train: nn.Module = self.loss_of
        if config.compile:
            self.loss_to_train = parallel.compiled(self.loss_to_train, processes.device)
        if processes.count > 1:
            self.loss_to_train = parallel.distributed(self.loss_to_train, self.model.layers, config.parallel)
        self.optimizers = make_optimizers(self.model, config)
        self._stop_signal = 0

    def train(self) -> None:
        """Does all remaining steps, then writes the model."""
        config, processes = self.config, self.processes
        done, seconds = self._restore()
        speed = self._speed(done, seconds)
        with self._log(done) if processes.rank == 0 else nullcontext() as log, self._stopping_at_signals():
            for step in range(done + 1, config.steps + 1):
                loss, norm, stop = self._update(step)
                if self._is_due(step, config.log_every) and log:
                    values = {"loss": loss, "gradient_norm": norm, "learning_rate": self._learning_rate(step)}
                    values |= {"tokens": step * speed.step_tokens, "seconds": speed.seconds}
                    log.write(step, values | speed.since_last(step))
                with speed.paused():
                    if self.validation and self._is_due(step, config.eval_every):
                        self._check_weights(step)
                        evaluation = self._evaluate(self.validation)
                        if log:
                            log.write(step, {f"valid_{name}": value for name, value in asdict(evaluation).items()})
                    if self._is_due(step, config.checkpoint_every) or stop:
                        self._save(step, speed.seconds, log)
                if log:
                    log.advance()
                if stop:
                    self._stop(step, log)
        self._save_model()

    # --- parts that are checked before the first step ---

    def _open_data(self) -> None:
        """Opens the ids, and checks all of them."""
        config, shape = self.config, self.config.model
        options: dict[str, Any] = {"data_dtype": config.data_dtype}
        self.data = TokenFiles(config.train_data, shape.vocab_size, shape.context_length, **options)
        names = config.validation_data or tuple(name for name in config.train_data if has_split(name, VALIDATION))
        self.validation: TokenFiles | None = None
        if names:
            options["splits"] = (VALIDATION, TRAIN)
            self.validation = TokenFiles(names, shape.vocab_size, shape.context_length, **options)
            trained = {file.path.resolve() for file in self.data.files}
            for file in self.validation.files:
                if file.in_folder and file.path.resolve() in trained:
                    raise ValueError(
                        f"{file.path}: is in train_data and validation_data, because its folder has no validation "
                        "split; expected another folder, or files by their names"
                    )
            self.validation.check()
        self.data.check()

    def _end_of_text(self) -> tuple[int | None, bool]:
        """The id between documents, if any, and whether their recorded ends are used instead."""
        configured = self.config.end_of_text
        if configured is None or isinstance(configured, int):
            for known, path in self.data.end_of_text_ids.items():
                if None not in (known, configured) and known != configured:
                    raise ValueError(f"end_of_text is {configured}; {path} has {known}")
            return configured, False
        folders = [file.listing for file in self.data.files if file.in_folder and file.listing is not None]
        ids = {listing.end_of_text_id: str(listing.manifest_path) for listing in folders}
        if len(ids) > 1:
            differing = ", ".join(f"{path} has {token_id}" for token_id, path in ids.items())
            raise ValueError(f"end_of_text is 'auto', but folders differ: {differing}; expected an id or 'none'")
        if not ids or (token_id := next(iter(ids))) is not None:
            return (token_id if ids else None), False
        several = sum(listing.manifest.documents for listing in folders) > 1
        recorded = all(data.has_document_ends for data in (self.data, self.validation) if data is not None)
        return None, several and recorded

    def _newest_checkpoint(self) -> Resumed | None:
        path = self.checkpoints.newest()
        if path is None:
            return None
        try:
            _, tensors, document = read_checkpoint(path)
        except ValueError as error:
            whole = self.checkpoints.whole_before(path)
            if whole is None:
                raise
            step, older = whole
            raise ValueError(f"{error}; {older.name} is whole: remove {path.name} to resume from step {step}") from None
        return Resumed(path, tensors, document)

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
                f"{_name(chosen)!r} on this device",
                stacklevel=2,
            )
        return kept

    def _first_model(self) -> TransformerLM:
        """The model with its first weights, on the CPU, so that random weights are the same on every device."""
        if self.config.init_from is not None:
            return initial_model(self.config.init_from, self.config.model)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.config.seed)
            return TransformerLM.from_config(self.config.model, device="cpu", dtype=torch.float32)

    def _fingerprint(self) -> str | None:
        """The fingerprint of the tokenizer that made the ids; ValueError if data, tokenizer and model differ."""
        known: dict[str, str] = {}
        if self.tokenizer is not None:
            known[self.tokenizer.vocabulary.fingerprint] = f"the tokenizer {self.config.tokenizer or 'of init_from'}"
        if self.model.tokenizer_fingerprint is not None:
            known.setdefault(self.model.tokenizer_fingerprint, f"the model {self.config.init_from}")
        for data in (self.data, self.validation):
            for fingerprint, path in {} if data is None else data.tokenizers.items():
                known.setdefault(fingerprint, path)
        if len(known) > 1:
            (first, source), (second, other) = list(known.items())[:2]
            raise ValueError(
                f"{other}: its tokenizer has the fingerprint {second}, but {source} has {first}; expected ids, "
                "tokenizer and model that belong together"
            )
        return next(iter(known), None)

    def _identity(self) -> dict[str, Any]:
        """All values that a checkpoint must have been made with to resume from it."""
        return {
            **self.config.deciding(),
            "end_of_text": RECORDED_ENDS if self.has_recorded_ends else self.end_of_text,
            "precision": _name(self.autocast_type),
            "data_sha256": self.data.fingerprint(),
            "tokenizer": self.fingerprint,
            "initial_weights": None if self.config.init_from is None else _weights_digest(self.model),
        }

    def _check_resumed(self) -> None:
        """Refuses a checkpoint of another run. Values that an earlier version did not write are not compared."""
        if self.resumed is None:
            return
        run = self.resumed.document["run"]
        for name, value in self.identity.items():
            if name in run and not _may_resume(name, run[name], value):
                raise ValueError(
                    f"{self.resumed.path}: made with {name} {run[name]!r}, not {value!r}; give another directory as out"
                )

    def _check_processes(self) -> None:
        """Refuses processes that would begin with different states."""
        if self.processes.count == 1:
            return
        if self.resumed is None:
            mine = (0, "no checkpoint", _weights_digest(self.model))
        else:
            mine = (self.resumed.step, self.resumed.path.name, named_digest(self.resumed.path))
        states = self.processes.gather((mine, self.identity))
        (first, identity), *_ = states
        for rank, (state, other) in enumerate(states):
            if state != first:
                raise ValueError(
                    f"{self.config.out}: process {rank} would begin after step {state[0]} ({state[1]}, sha256 "
                    f"{state[2]}), process 0 after step {first[0]} ({first[1]}, sha256 {first[2]}); all machines must "
                    "have the same checkpoints in this directory"
                )
            if differing := [name for name in identity if identity[name] != other[name]]:
                name = differing[0]
                raise ValueError(f"process {rank} has {name} {other[name]!r}, process 0 {identity[name]!r}")

    # --- steps ---

    def _update(self, step: int) -> tuple[float, float, bool]:
        """Does one step. Returns the mean loss over the batch, the gradient's norm, and whether the run shall stop."""
        config, processes = self.config, self.processes
        starts = window_starts(config.seed, step, config.batch_size, self.data.num_starts)
        starts = starts[processes.rank :: processes.count]
        parts = torch.split(self.data.windows(starts), self.micro_batch_size)
        mean = torch.zeros((), device=processes.device)
        for number, windows in enumerate(parts):
            inputs, targets = windows[:, :-1], windows[:, 1:]  # (B, T)
            documents = self._documents(self.data)(starts[number * self.micro_batch_size :][: len(windows)], inputs)
            batch = [None if ids is None else ids.to(processes.device) for ids in (inputs, targets, documents)]
            with parallel.defer_gradient_sync(self.loss_to_train, number < len(parts) - 1):
                loss = self.loss_to_train(*batch) / len(parts)
                loss.backward()
            mean += loss.detach()
        norm = parallel.gathered(clip_gradients(self.model.parameters(), config.max_gradient_norm or math.inf))
        # one exchange for the loss and for a signal that any process has got
        sums = processes.sum(torch.stack([mean, torch.full_like(mean, float(self._stop_signal > 0))]))
        found = self._finite(step, "loss", float(sums[0]) / processes.count)
        found_norm = self._finite(step, "gradient norm", float(norm))
        set_learning_rate(self.optimizers, self._learning_rate(step))
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return found, found_norm, bool(sums[1] > 0)

    def _documents(self, data: TokenFiles) -> Callable[[Int64Array, Tensor], Tensor | None]:
        """The function that numbers the documents of windows, from their starts and inputs."""
        if self.has_recorded_ends:
            return lambda starts, inputs: data.window_documents(starts)
        if (end_of_text := self.end_of_text) is None:
            return lambda starts, inputs: None
        return lambda starts, inputs: document_ids(inputs, end_of_text)

    def _learning_rate(self, step: int) -> float:
        config = self.config
        return cosine_schedule(step, config.learning_rate, config.min_learning_rate, config.warmup_steps, config.steps)

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
            documents_of=self._documents(data),
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

    # --- files ---

    def _log(self, done: int) -> RunLog:
        out = Path(self.config.out)
        for directory in (out, self.checkpoints.directory, out / "model"):
            remove_unfinished(directory)
        write_files(out, {"config.toml": self.config.to_toml().encode()})
        log = RunLog(self.config, done)
        steps = self.config.steps
        log.say(
            f"{self.config.out}: {num_parameters(self.config.model):,} parameters, {_name(self.autocast_type)} on "
            f"{self.processes.count} x {self.processes.device.type}, "
            f"{f'steps {done + 1:,} to {steps:,}' if done < steps else f'all {steps:,} steps are done'}"
            f"{f', resumed from {self.resumed.path.name}' if self.resumed else ''}"
        )
        return log

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

    def _save_model(self) -> None:
        tensors, _ = snapshot(self.model, [], self.config.steps, {})
        if self.processes.rank == 0:
            model = TransformerLM.from_config(self.config.model, device="cpu", dtype=torch.float32)
            model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in tensors.items()})
            model.tokenizer_fingerprint = self.fingerprint
            model.special_token_ids = self.model.special_token_ids or self._special_token_ids()
            save_model(model, Path(self.config.out) / "model", self.tokenizer)
            if self.tokenizer is not None:
                self.tokenizer.save(Path(self.config.out) / "model")
        self.processes.wait()

    def _special_token_ids(self) -> SpecialTokenIds:
        """The id between documents, which is the one that ends a text."""
        known = [self.end_of_text, *self.data.end_of_text_ids]
        ids = dict.fromkeys(token_id for token_id in known if token_id is not None)
        return SpecialTokenIds(eos=tuple(ids))

    # --- signals ---

    @contextlib.contextmanager
    def _stopping_at_signals(self) -> Iterator[None]:
        """Lets the first SIGINT or SIGTERM end the run after its step. A second one has its usual effect."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def stop(number: int, frame: Any) -> None:
            self._stop_signal = number
            signal.signal(number, before[number])

        for number in before:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, step: int, log: RunLog | None) -> None:
        message = f"{self.config.out}: stopped after step {step}, which is saved; the same command resumes"
        if self._stop_signal == signal.SIGTERM:
            if log:
                log.say(message)
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt(message)


def _name(dtype: torch.dtype | None) -> str:
    """The precision that a dtype of autocast gives."""
    return "float32" if dtype is None else "bfloat16"


def _may_resume(name: str, begun: Any, value: Any) -> bool:
    """Whether a run may resume with another value than it began with."""
    numbers = isinstance(begun, int | float) and isinstance(value, int | float)
    if name == "steps" and numbers:
        return bool(begun <= value)
    if name in ("learning_rate", "min_learning_rate") and numbers:
        return bool(value <= begun)
    if name == "tokenizer" and None in (begun, value):
        return True
    if name == "precision" and begun == "auto":  # as an earlier version wrote it
        return True
    return bool(begun == value)


def _weights_digest(model: nn.Module) -> str:
    """sha256 of the weights of a model in main memory."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor_bytes(weight.contiguous()))
    return digest.hexdigest()


def _micro_batch_size(config: TrainingConfig, processes: int) -> int:
    share, rest = divmod(config.batch_size, processes)
    if rest:
        raise ValueError(f"batch_size is {config.batch_size}, which {processes} processes do not divide")
    size = config.micro_batch_size or share
    if share % size:
        raise ValueError(f"micro_batch_size is {size}, which does not divide the {share} sequences of a process")
    return size

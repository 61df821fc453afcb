"""The stage `evaluation`: losses of the model on validation data, and texts that it continues."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from fastlm.files.atomic import write_files
from fastlm.generation import generate
from fastlm.model.files import load_model
from fastlm.model.transformer import TransformerLM
from fastlm.recipes.recipe import EvaluationOptions, Recipe
from fastlm.recipes.stage import Stage, StageJob, StageResult
from fastlm.tokenizer import Tokenizer
from fastlm.tokenizer_files import load
from fastlm.training.config import TrainingConfig, load_config
from fastlm.training.evaluation import Evaluation, bytes_of_ids, evaluate
from fastlm.training.hardware import autocast_type
from fastlm.training.mean_loss import MeanLoss
from fastlm.training.parallel import processes
from fastlm.training.run_data import RunData

LOSSES, SAMPLES = "losses.json", "samples.json"
_BATCH = 16


def _work(job: StageJob) -> StageResult:
    run = job.finished("training")
    config = load_config(run / "config.toml")
    tokenizer = load(run / "model")
    found = _losses(config, run / "model", tokenizer, job.recipe.evaluation.sequences)
    samples = _samples(load_model(run / "model", tokenizer, dtype=torch.float32), tokenizer, job.recipe.evaluation)
    losses = None if found is None else asdict(found)
    contents = {LOSSES: losses, SAMPLES: samples}
    write_files(job.folder, {name: f"{json.dumps(value, indent=1)}\n".encode() for name, value in contents.items()})
    summary = "no validation data"
    if found is not None:
        bits = "" if found.bits_per_byte is None else f", {found.bits_per_byte:.4f} bits per byte"
        summary = f"validation loss {found.loss:.4f}, perplexity {found.perplexity:.2f}{bits}"
    return StageResult([LOSSES, SAMPLES], {"validation": losses, "samples": samples}, summary)


def _losses(config: TrainingConfig, model: Path, tokenizer: Tokenizer, most: int | None) -> Evaluation | None:
    """The losses on the validation data, computed as in training; None if there is no such data."""
    with processes(config.device, config.allow_tf32) as here:
        data = RunData.open(config)
        if data.validation is None:
            return None
        loaded = load_model(model, tokenizer, device=here.device, dtype=torch.float32)
        return evaluate(
            MeanLoss(loaded, here.device, autocast_type(config, here.device)),
            data.validation,
            here,
            batch_size=_BATCH,
            most=most,
            documents_of=data.numbering(data.validation),
            token_bytes=bytes_of_ids(tokenizer, config.model.vocab_size),
        )


def _samples(model: TransformerLM, tokenizer: Tokenizer, options: EvaluationOptions) -> list[dict[str, str | None]]:
    """The continuation of each prompt."""
    found = []
    for number, prompt in enumerate(options.prompts):
        completion = generate(
            model,
            prompt,
            tokenizer,
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            seed=options.seed + number,
        )
        found.append({"prompt": prompt, "text": completion.text, "finish_reason": completion.finish_reason})
    return found


def _options(recipe: Recipe) -> object:
    return asdict(recipe.evaluation)


EVALUATION = Stage("evaluation", ("shards", "training"), _work, _options)

"""The stage `training`: the model, trained on the shards."""

from __future__ import annotations

import dataclasses

from fastlm.files.atomic import write_files
from fastlm.model.parameters import num_parameters
from fastlm.recipes.recipe import Recipe
from fastlm.recipes.stage import Stage, StageJob, StageResult
from fastlm.tokenizer_files import load
from fastlm.training.log import read_log
from fastlm.training.loop import train


def _work(job: StageJob) -> StageResult:
    vocab_size = load(job.finished("tokenizer")).vocab_size
    config = job.recipe.training_config(vocab_size, job.run, job.folder)
    train(config)
    named = dataclasses.replace(config, out=str(job.finished("training")))
    write_files(job.folder, {"config.toml": named.to_toml().encode()})
    lines = [line for line in read_log(job.folder / "log.jsonl") if "loss" in line]
    last = lines[-1]
    figures = {
        "parameters": num_parameters(config.model),
        "steps": config.steps,
        "tokens": last["tokens"],
        "loss": last["loss"],
        "seconds": last["seconds"],
        "tokens_per_second": last["tokens"] / last["seconds"],
        "losses": [[line["step"], line["loss"]] for line in lines],
    }
    summary = f"{figures['parameters']:,} parameters, {figures['tokens']:,} tokens, loss {figures['loss']:.4f}"
    return StageResult(["model"], figures, summary)


def _options(recipe: Recipe) -> object:
    return {"model": recipe.model, "training": recipe.training, "end_of_text": recipe.shards.end_of_text}


TRAINING = Stage("training", ("tokenizer", "shards"), _work, _options)

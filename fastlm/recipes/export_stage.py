"""The stage `export`: the model for other programs."""

from __future__ import annotations

from dataclasses import asdict

from fastlm.files.atomic import write_files
from fastlm.formats import llama2c
from fastlm.model.files import load_model
from fastlm.model.hf import export_llama
from fastlm.model.llama2c import export_llama2c
from fastlm.recipes.recipe import Recipe
from fastlm.recipes.stage import Stage, StageJob, StageResult
from fastlm.tokenizer_files import load


def _work(job: StageJob) -> StageResult:
    source = job.finished("training") / "model"
    tokenizer = load(source)
    model = load_model(source, tokenizer)
    formats = list(dict.fromkeys(job.recipe.export.formats))
    for name in formats:
        folder = job.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        if name == "llama":
            export_llama(model, folder, tokenizer)
        else:
            export_llama2c(model, folder / "model.bin")
            write_files(folder, llama2c.write(tokenizer.vocabulary, model.config.vocab_size))
    return StageResult(list(formats), {"formats": formats}, ", ".join(formats) or "no formats")


def _options(recipe: Recipe) -> object:
    return asdict(recipe.export)


EXPORT = Stage("export", ("training",), _work, _options)

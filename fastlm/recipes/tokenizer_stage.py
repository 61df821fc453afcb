"""The stage `tokenizer`: a tokenizer trained on the corpus."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import asdict

from fastlm.bpe_training.trainer import train_bpe
from fastlm.recipes.corpus_stage import source_versions, training_corpus
from fastlm.recipes.recipe import Recipe
from fastlm.recipes.stage import Stage, StageJob, StageResult

_CHECKPOINT = "checkpoint"


def _work(job: StageJob) -> StageResult:
    checkpoint = job.folder / _CHECKPOINT
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tokenizer = train_bpe(
            training_corpus(job.recipe, job.finished("corpus")),
            **asdict(job.recipe.tokenizer),
            checkpoint=checkpoint,
            resume=True,
        )
    saved = [path.name for path in tokenizer.save(job.folder)]
    shutil.rmtree(checkpoint, ignore_errors=True)
    tokens = f"{tokenizer.vocab_size:,} tokens"
    summary = "; ".join([tokens, *(str(warning.message) for warning in caught)])
    return StageResult(saved, {"vocab_size": tokenizer.vocab_size, "merges": len(tokenizer.merges)}, summary)


def _options(recipe: Recipe) -> object:
    return {**asdict(recipe.tokenizer), "reading": asdict(recipe.corpus.reading)}


TOKENIZER = Stage("tokenizer", ("corpus",), _work, _options, source_versions)

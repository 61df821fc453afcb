"""The stage `shards`: the corpus as token ids."""

from __future__ import annotations

import functools
from dataclasses import asdict
from pathlib import Path

from fastlm.corpus.encode_corpus import encode_corpus
from fastlm.corpus.manifest import Manifest
from fastlm.corpus.read import Corpus
from fastlm.corpus.shuffle import encode_shuffled
from fastlm.recipes.corpus_stage import source_versions, training_corpus, validation_corpus
from fastlm.recipes.recipe import Recipe
from fastlm.recipes.stage import Stage, StageJob, StageResult
from fastlm.tokenizer import Tokenizer
from fastlm.tokenizer_files import load

TRAIN, VALIDATION = "train", "validation"


def _work(job: StageJob) -> StageResult:
    tokenizer = load(job.finished("tokenizer"))
    corpora = {TRAIN: training_corpus(job.recipe, job.finished("corpus")), VALIDATION: validation_corpus(job.recipe)}
    outputs: list[str] = []
    figures: dict[str, int] = {}
    for name, corpus in corpora.items():
        if corpus is None:
            continue
        manifest = _encoded(job, tokenizer, corpus, job.folder / name, name == TRAIN)
        outputs += [
            f"{name}/{file}" for shards in manifest.splits.values() for shard in shards for file in shard.sha256
        ]
        splits = {split: sum(shard.tokens for shard in shards) for split, shards in manifest.splits.items()}
        figures |= {
            f"{name}_tokens": splits["train"],
            f"{name}_documents": manifest.documents,
            **({"validation_tokens": splits["val"]} if "val" in splits else {}),
        }
    summary = f"{figures['train_tokens']:,} training tokens, {figures.get('validation_tokens', 0):,} validation tokens"
    return StageResult(outputs, figures, summary)


def _encoded(job: StageJob, tokenizer: Tokenizer, corpus: Corpus, out: Path, splits: bool) -> Manifest:
    options = job.recipe.shards
    seed = options.shuffle if splits else None
    encoded = encode_corpus if seed is None else functools.partial(encode_shuffled, seed=seed)
    return encoded(
        tokenizer,
        corpus,
        out,
        format=options.format,
        shard_tokens=options.shard_tokens,
        end_of_text=options.end_of_text,
        validation_fraction=options.validation_fraction if splits else 0.0,
        resume=True,
    )


def _options(recipe: Recipe) -> object:
    return {**asdict(recipe.shards), "reading": asdict(recipe.corpus.reading)}


SHARDS = Stage("shards", ("corpus", "tokenizer"), _work, _options, source_versions)

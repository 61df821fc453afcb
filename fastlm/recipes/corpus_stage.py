"""The stage `corpus`: the text that a run is made of, with its checksums."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastlm.corpus.read import Corpus
from fastlm.corpus.sources import STDIN, SourceFile, find_files
from fastlm.demo.texts import prose
from fastlm.files.atomic import replacing, write_files
from fastlm.files.checksum import sha256_of_stream
from fastlm.recipes.recipe import CorpusOptions, Recipe
from fastlm.recipes.stage import Stage, StageJob, StageResult

EMBEDDED = "embedded.jsonl"
SOURCES = "sources.json"


def training_corpus(recipe: Recipe, corpus: Path) -> Corpus:
    """The text to train on, from the folder of the stage."""
    inputs = [str(corpus / EMBEDDED)] if recipe.corpus.embedded else recipe.corpus.inputs
    return Corpus(list(inputs), **vars(recipe.corpus.reading))


def validation_corpus(recipe: Recipe) -> Corpus | None:
    """The text for evaluation only, if the recipe has such."""
    inputs = recipe.corpus.validation_inputs
    return Corpus(list(inputs), **vars(recipe.corpus.reading)) if inputs else None


def source_versions(recipe: Recipe, run: Path) -> Any:
    """Names, sizes and times of the files that are read, which a checkpoint of a tokenizer or of shards records."""
    corpora = [training_corpus(recipe, run / CORPUS.name), validation_corpus(recipe)]
    found = [source for corpus in corpora if corpus is not None for source in find_files(corpus.inputs)]
    return [[source.name, source.size, source.version] for source in found]


def _options(recipe: Recipe) -> Any:
    """The inputs with sizes and versions: a file with the same ones is not read again to know its checksum."""
    if recipe.corpus.embedded:
        return {"embedded": platform.python_version()}
    found: dict[str, Any] = asdict(recipe.corpus.reading)
    for name in ("inputs", "validation_inputs"):
        sources = _found(getattr(recipe.corpus, name), recipe.corpus)
        found[name] = [[source.name, source.size, source.version] for source in sources]
    return found


def _found(names: Sequence[str], options: CorpusOptions) -> list[SourceFile]:
    """The files of a corpus. For a missing one, the message has the command that fetches it."""
    if STDIN in names:
        raise ValueError(
            "corpus.inputs: a recipe reads its inputs more than once; expected files, found standard input"
        )
    try:
        return find_files(list(names))
    except FileNotFoundError as error:
        if not options.fetch:
            raise
        name = error.filename or error
        raise FileNotFoundError(f"{name}: the corpus is missing; this fetches it: {options.fetch}") from None


def _work(job: StageJob) -> StageResult:
    if job.recipe.corpus.embedded:
        documents = prose()
        with replacing(job.folder / EMBEDDED) as file:
            file.writelines(f"{json.dumps({'text': text})}\n".encode() for text in documents)
        size = (job.folder / EMBEDDED).stat().st_size
        figures = {"documents": len(documents), "bytes": size}
        return StageResult(
            [EMBEDDED], figures, f"{size / 1e6:,.2f} MB of prose of CPython, {len(documents):,} documents"
        )
    listed = {
        name: [_described(source) for source in _found(getattr(job.recipe.corpus, name), job.recipe.corpus)]
        for name in ("inputs", "validation_inputs")
    }
    write_files(job.folder, {SOURCES: f"{json.dumps(listed, indent=1)}\n".encode()})
    count = sum(map(len, listed.values()))
    size = sum(source["size"] or 0 for sources in listed.values() for source in sources)
    return StageResult([SOURCES], {"files": count, "bytes": size}, f"{size / 1e6:,.2f} MB in {count:,} files")


def _described(source: SourceFile) -> dict[str, Any]:
    """Name, size and checksum of a file. A remote file has its version in place of a checksum."""
    if "://" in source.name:
        return {"name": source.name, "size": source.size, "version": source.version}
    with source.open() as file:
        return {"name": source.name, "size": source.size, "sha256": sha256_of_stream(file)}


CORPUS = Stage("corpus", (), _work, _options)

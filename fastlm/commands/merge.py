"""`fastlm merge`: merges the parts of several ranks."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import Positional, arg

from fastlm.commands.inputs import PathOrAddress, folder_to_write, save_tokenizer
from fastlm.commands.logs import resumes_with
from fastlm.commands.output import say
from fastlm.files.remote import location
from fastlm.progress import shown
from fastlm.text.plural import plural


def merge(
    parts: Annotated[Positional[tuple[str, ...]], arg(metavar="PART...", help_behavior_hint="(required)")],
    /,
    out: PathOrAddress,
    resume: bool = False,
) -> None:
    """Merge the parts that `fastlm encode --rank` or `fastlm train-tokenizer --rank` wrote.

    Shards, manifest and tokenizer are the ones that a single process writes, byte for byte.

    Args:
        parts: Directories of all parts, or a directory that holds them, or its address such as s3://bucket/name.
        out: Directory for the shards or the tokenizer, or its address such as s3://bucket/name.
        resume: Continue an interrupted merge of shards, or start one if there is none.
    """
    from fastlm.bpe_training.rank_counts import COUNTS, train_from_counts
    from fastlm.corpus.merge_shards import merge_shards, parts_in
    from fastlm.corpus.ranks import read_part

    if not parts:
        raise ValueError("give at least one PART")
    target = location(out)
    folder_to_write(target)
    folders = [folder for part in parts for folder in parts_in(location(part))]
    if not folders:
        raise ValueError(f"no part in {', '.join(parts)}: give the folders that --rank wrote")
    names = [str(folder) for folder in folders]
    if COUNTS in read_part(folders[0]).job:
        with shown() as report:
            tokenizer = train_from_counts(names, report)
        save_tokenizer(tokenizer, target)
        say(f"{plural(tokenizer.vocab_size, 'token')} in {target}")
        return
    with resumes_with(f"--resume continues from the last checkpoint in {target}"), shown() as report:
        manifest = merge_shards(
            names, str(target), resume=resume, progress=lambda done, total: report("merge shards", done, total)
        )
    number = plural(sum(map(len, manifest.splits.values())), "shard")
    say(f"{plural(manifest.tokens, 'id')} of {plural(manifest.documents, 'document')} in {number} in {target}")

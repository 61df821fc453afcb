"""`fastlm verify`: checks shards against their manifest."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import Positional, arg

from fastlm.commands.inputs import shard_folder
from fastlm.commands.output import say
from fastlm.files.remote import RemotePath, location
from fastlm.progress import shown
from fastlm.text.plural import plural


def verify(path: Annotated[Positional[str], arg(metavar="DIR|FILE|ADDRESS")], /) -> None:
    """Check the shards of a directory: the manifest, the sha256 of each file, the ids, and the ends of documents.

    A dataset of Megatron-LM has no manifest: check its index, the size of its ids, and that none is negative.

    Args:
        path: Directory that `fastlm encode` wrote, or its address such as s3://bucket/name, or a .bin or .idx file of
            Megatron-LM, or a directory of these.
    """
    from fastlm.corpus.verify import megatron_datasets, verify_megatron, verify_shards

    target = location(path)
    datasets = [] if isinstance(target, RemotePath) else megatron_datasets(target)
    if datasets:
        for file in datasets:
            index = verify_megatron(file)
            sequences = plural(len(index.lengths), "sequence")
            documents = plural(index.documents, "document")
            say(f"{file}: {plural(index.tokens, 'id')} of {index.dtype} in {sequences} of {documents} match the index")
        return
    with shown() as report:
        manifest = verify_shards(shard_folder(target), lambda done, total: report("verify", done, total))
    number = plural(sum(map(len, manifest.splits.values())), "shard")
    say(f"{plural(manifest.tokens, 'id')} of {plural(manifest.documents, 'document')} in {number} match the manifest")

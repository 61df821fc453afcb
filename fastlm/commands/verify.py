"""`fastlm verify`: checks shards against their manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from fastlm.commands.output import plural, say


def verify(folder: Annotated[Positional[Path], arg(metavar="DIR")], /) -> None:
    """Check the shards of a directory: the manifest, the sha256 of each file, the ids, and the ends of documents.

    Args:
        folder: Directory that `fastlm encode` wrote.
    """
    from fastlm.corpus.verify import verify_shards

    manifest = verify_shards(folder)
    number = plural(sum(map(len, manifest.splits.values())), "shard")
    say(f"{plural(manifest.tokens, 'id')} of {plural(manifest.documents, 'document')} in {number} match the manifest")

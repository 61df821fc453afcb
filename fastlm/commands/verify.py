"""`fastlm verify`: whether shards are what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


def verify(folder: Annotated[Positional[Path], arg(metavar="DIR")], /) -> None:
    """Read all shards again and check their sha256, their ids, and where documents end.

    Args:
        folder: Directory that `fastlm encode` wrote.
    """
    from fastlm.corpus.verify import verify_shards

    manifest = verify_shards(folder)
    number = sum(map(len, manifest.splits.values()))
    print(f"{manifest.tokens} ids of {manifest.documents} documents in {number} shards are as the manifest says")

"""tiktoken's encodings: the constructor of each, and the address of its published ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastlm.compat.tiktoken.load import data_gym_to_mergeable_bpe_ranks, load_tiktoken_bpe
from fastlm.pretokenize.patterns import CL100K, O200K, R50K
from fastlm.vocabulary import published

_PLACE = "https://openaipublic.blob.core.windows.net"
_GPT2_PLACE = f"{_PLACE}/gpt-2/encodings/main"
_VOCAB_BPE_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
_ENCODER_JSON_SHA256 = "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"

_KNOWN = {encoding.name: encoding for encoding in published.ENCODINGS}


def _ranks(name: str) -> dict[bytes, int]:
    """Reads the ranks of a published file."""
    return load_tiktoken_bpe(f"{_PLACE}/encodings/{name}.tiktoken", expected_hash=_KNOWN[name].sha256)


def _gpt2_ranks() -> dict[bytes, int]:
    """Reads GPT-2's ranks from its own two files, or from r50k_base, which has the same ranks."""
    try:
        return data_gym_to_mergeable_bpe_ranks(
            vocab_bpe_file=f"{_GPT2_PLACE}/vocab.bpe",
            encoder_json_file=f"{_GPT2_PLACE}/encoder.json",
            vocab_bpe_hash=_VOCAB_BPE_SHA256,
            encoder_json_hash=_ENCODER_JSON_SHA256,
        )
    except FileNotFoundError:
        return _ranks("r50k_base")


def _constructor(
    name: str, pattern: str, ranks: Callable[[], dict[bytes, int]], like: str, explicit_n_vocab: int | None = None
) -> Callable[[], dict[str, Any]]:
    """A function that returns the arguments of an Encoding, with the special tokens of the encoding `like`."""

    def construct() -> dict[str, Any]:
        return {
            "name": name,
            "pat_str": pattern,
            "mergeable_ranks": ranks(),
            "special_tokens": dict(_KNOWN[like].special_tokens),
            "explicit_n_vocab": explicit_n_vocab,
        }

    return construct


ENCODING_CONSTRUCTORS: dict[str, Callable[[], dict[str, Any]]] = {
    "gpt2": _constructor("gpt2", R50K, _gpt2_ranks, "r50k_base", 50257),
    "r50k_base": _constructor("r50k_base", R50K, lambda: _ranks("r50k_base"), "r50k_base", 50257),
    "p50k_base": _constructor("p50k_base", R50K, lambda: _ranks("p50k_base"), "p50k_base", 50281),
    "p50k_edit": _constructor("p50k_edit", R50K, lambda: _ranks("p50k_base"), "p50k_edit"),
    "cl100k_base": _constructor("cl100k_base", CL100K, lambda: _ranks("cl100k_base"), "cl100k_base"),
    "o200k_base": _constructor("o200k_base", O200K, lambda: _ranks("o200k_base"), "o200k_base"),
    "o200k_harmony": _constructor("o200k_harmony", O200K, lambda: _ranks("o200k_base"), "o200k_harmony"),
}
"""Name -> function that returns the arguments of an Encoding. It raises the errors of `load.load_tiktoken_bpe`."""

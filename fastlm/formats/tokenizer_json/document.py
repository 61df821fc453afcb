"""A tokenizer.json as its components. Both `fastlm.load` and `fastlm.compat.tokenizers` read files through here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from fastlm.files.reading import decoded, parse_json
from fastlm.formats.tokenizer_json.added_tokens import AddedTokenEntry, parse_added_tokens
from fastlm.formats.tokenizer_json.decoders import Decoder, parse_decoder
from fastlm.formats.tokenizer_json.lengths import PaddingEntry, TruncationEntry, parse_padding, parse_truncation
from fastlm.formats.tokenizer_json.models import BPE, parse_model
from fastlm.formats.tokenizer_json.normalizers import NormalizerComponent, parse_normalizer
from fastlm.formats.tokenizer_json.post_processors import PostProcessor, parse_post_processor
from fastlm.formats.tokenizer_json.pre_tokenizers import PreTokenizerComponent, parse_pre_tokenizer

VERSION = "1.0"

_ENTRIES = (
    *("version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder"),
    "model",
)

_SECTIONS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
# arrays and objects within each other; published files have six
MOST_NESTED = 64

Part = TypeVar("Part")


@dataclass(frozen=True)
class Document:
    """The components of a tokenizer.json."""

    model: BPE
    added_tokens: tuple[AddedTokenEntry, ...] = ()
    normalizer: NormalizerComponent | None = None
    pre_tokenizer: PreTokenizerComponent | None = None
    post_processor: PostProcessor | None = None
    decoder: Decoder | None = None
    truncation: TruncationEntry | None = None
    padding: PaddingEntry | None = None


def parse_document(text: str | bytes) -> Document:
    """Parses the text of a tokenizer.json.

    What `tokenizers` 0.23 refuses is refused: another version, an unknown entry, an added token without its flags.
    So is an option that fastlm does not follow.

    Args:
        text: The JSON, as str or UTF-8.

    Returns:
        The components. Ids of added tokens are those in the file.

    Raises:
        ValueError: For malformed content, naming the component.
        UnsupportedComponentError: For a component that fastlm does not follow, naming it.
    """
    return document_of(parse_json(decoded(text) if isinstance(text, bytes) else text))


def document_of(content: Any) -> Document:
    """The components of the JSON value of a tokenizer.json. Raises as `parse_document`."""
    if not isinstance(content, dict):
        raise ValueError(f"expected an object with a 'model' object in it, found {type(content).__name__}")
    unknown = [name for name in content if name not in _ENTRIES]
    if unknown:
        raise ValueError(f"unknown entry {unknown[0]!r}")
    if content.get("version", VERSION) != VERSION:
        raise ValueError(f"Unknown tokenizer version {content['version']!r}, expected {VERSION!r}")
    for name in _SECTIONS:
        if _is_deeper(content.get(name), MOST_NESTED):
            raise ValueError(f"{name}: components nested more than {MOST_NESTED} deep")
    if content.get("model") is None:
        raise ValueError("Model missing: expected an object with a 'model' object in it")

    def part(name: str, parse: Callable[[Any], Part]) -> Part | None:
        found = content.get(name)
        return None if found is None else parse(found)

    return Document(
        model=parse_model(content["model"]),
        added_tokens=parse_added_tokens(content.get("added_tokens", [])),
        normalizer=part("normalizer", parse_normalizer),
        pre_tokenizer=part("pre_tokenizer", parse_pre_tokenizer),
        post_processor=part("post_processor", parse_post_processor),
        decoder=part("decoder", parse_decoder),
        truncation=parse_truncation(content.get("truncation")),
        padding=parse_padding(content.get("padding")),
    )


def _is_deeper(content: Any, depth: int) -> bool:
    """Whether arrays and objects are nested more than `depth` deep."""
    if not isinstance(content, dict | list):
        return False
    items = content.values() if isinstance(content, dict) else content
    return depth == 0 or any(_is_deeper(item, depth - 1) for item in items)

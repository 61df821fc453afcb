"""tekken.json, Mistral's tokenizers: ranked tokens in base64, the pattern, and special tokens, whose ids come first.

Only the first ranked tokens are used: as many as the vocabulary size leaves after the special tokens.
"""

from __future__ import annotations

import base64
import binascii
import os
from typing import Any

from fastlm.files.reading import begins_with, read_json
from fastlm.pretokenize.patterns import find_pattern
from fastlm.vocabulary.from_ranks import vocabulary_from_ranks
from fastlm.vocabulary.vocabulary import Vocabulary

FILE = "tekken.json"

# the number in Mistral's own files; a larger one needs a list of the tokens
UNLISTED_SPECIAL_TOKENS = 1000
# the names by id, for files without a list of special tokens
_FIRST_SPECIAL_TOKENS = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]"),
    *("[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]"),
    *("[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
)


def is_tekken(path: str | os.PathLike[str]) -> bool:
    """Whether a JSON file begins as a tekken.json does."""
    start = begins_with(path, 4096)
    return b'"config"' in start and b'"model"' not in start and b'"added_tokens"' not in start


def read(path: str | os.PathLike[str]) -> Vocabulary:
    """The vocabulary of a file. Raises OSError, or ValueError naming the file and the malformed entry."""
    content = read_json(path)
    try:
        return _parse(content)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path}: {reason}") from None


def _parse(content: Any) -> Vocabulary:
    if not isinstance(content, dict):
        raise ValueError(f"expected an object with a 'config' object in it, found {type(content).__name__}")
    config = content["config"]
    listed = content.get("special_tokens")
    most = max(UNLISTED_SPECIAL_TOKENS, len(listed or ()))
    size, num_special = (_size(config, key) for key in ("default_vocab_size", "default_num_special_tokens"))
    if num_special > most:
        raise ValueError(f"config.default_num_special_tokens is {num_special}, expected at most {most}")
    if not num_special <= size <= num_special + len(content["vocab"]):
        raise ValueError(
            f"{size} tokens, {num_special} of them special, are more than the {len(content['vocab'])} ranks"
        )
    ranks: dict[bytes, int] = {}
    for rank, entry in enumerate(content["vocab"][: size - num_special]):
        if not isinstance(entry, dict) or entry.get("rank") != rank:
            raise ValueError(f"vocab entry {rank} is {entry!r:.80}, expected an object with rank {rank}")
        try:
            token = base64.b64decode(entry["token_bytes"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise ValueError(f"vocab entry {rank} has token_bytes {entry['token_bytes']!r:.80}, not base64") from None
        if token in ranks:
            raise ValueError(f"vocab entry {rank} repeats the token {token!r}")
        ranks[token] = rank + num_special
    return vocabulary_from_ranks(ranks, _special_tokens(content, num_special), find_pattern(config["pattern"]))


def _special_tokens(content: Any, number: int) -> dict[str, int]:
    listed = content.get("special_tokens")
    names = {token_id: f"<SPECIAL_{token_id}>" for token_id in range(number)}
    if listed is None:
        names |= {token_id: name for token_id, name in enumerate(_FIRST_SPECIAL_TOKENS) if token_id < number}
    else:
        for entry in listed:
            if not isinstance(entry["token_str"], str) or entry["rank"] not in names:
                raise ValueError(f"special token {entry!r:.80} has no rank below {number}")
            names[entry["rank"]] = entry["token_str"]
    special = {name: token_id for token_id, name in names.items()}
    if len(special) < number:
        raise ValueError("two special tokens have the same name")
    return special


def _size(config: Any, key: str) -> int:
    value = config[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"config.{key} is {value!r}, expected a non-negative integer")
    return value

"""tokenizer_config.json of transformers, which tells AutoTokenizer the special tokens of a tokenizer.json."""

from __future__ import annotations

import json
from typing import Any

from fastlm.vocabulary.token_lookup import TokenLookup
from fastlm.vocabulary.vocabulary import Vocabulary

FILE = "tokenizer_config.json"


def write(vocabulary: Vocabulary) -> dict[str, bytes]:
    """Name -> content of the file: a text begins and ends as the vocabulary says, or else with its end of text."""
    end = TokenLookup(vocabulary).end_of_text_id()
    begin = vocabulary.rules.begin[0] if vocabulary.rules.begin else end
    return {FILE: content(vocabulary, begin, end, None)}


def content(
    vocabulary: Vocabulary, begin: int | None, end: int | None, pad: int | None, length: int | None = None
) -> bytes:
    """The content of the file.

    Args:
        vocabulary: The vocabulary.
        begin, end, pad: The ids that begin and end a text and pad a batch, or None. Ids of other tokens than added ones
            count as None.
        length: The context length of the model, or None.
    """
    names = {token_id: token for token, token_id in vocabulary.special_tokens.items()}
    fields: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if length is not None:
        fields["model_max_length"] = length
    fields["clean_up_tokenization_spaces"] = False
    fields["bos_token"] = None if begin is None else names.get(begin)
    fields["eos_token"] = None if end is None else names.get(end)
    if pad in names:
        fields["pad_token"] = names[pad]
    return (json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode()

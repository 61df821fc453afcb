"""The special token ids that a model is written with for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastlm.model.config import SpecialTokenIds

if TYPE_CHECKING:
    from fastlm.tokenizer import Tokenizer

_END_OF_TEXT = "<|endoftext|>"


def exported_ids(known: SpecialTokenIds, tokenizer: Tokenizer | None) -> SpecialTokenIds:
    """Completes a model's special token ids.

    Args:
        known: The ids that the model knows.
        tokenizer: The tokenizer that makes the ids, if it is known.

    Returns:
        The model's ids. A model that knows none begins and ends a text as the tokenizer's template does, else with its
        <|endoftext|>, at which fastlm's generation stops too.
    """
    if tokenizer is None:
        return known
    rules = tokenizer.vocabulary.rules
    usual = tokenizer.special_tokens.get(_END_OF_TEXT)
    begin = rules.begin[0] if rules.begin else usual
    end = rules.end[-1] if rules.end else usual
    # a model that knows how a text ends begins it with no id unless it has one, so that an import changes nothing
    return SpecialTokenIds(known.bos if known else begin, known.eos or (() if end is None else (end,)), known.pad)

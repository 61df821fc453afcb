"""Vocabularies: tokens, merges, added tokens, the pattern, and the rules that decide ids."""

from fastlm.vocabulary.vocabulary import AddedToken, Rules, Vocabulary

__all__ = ["AddedToken", "Rules", "Vocabulary"]

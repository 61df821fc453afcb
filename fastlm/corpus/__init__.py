"""Corpora: sources in many formats become text blocks, and text blocks become shards of token ids."""

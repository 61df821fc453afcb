"""The pre-tokenizers of `tokenizers`: steps that split a text, and some of which change it."""

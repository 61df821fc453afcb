"""Demonstrations from text to tokenizer, ids and model, on text that ships with CPython."""

"""Faces of other tokenizer libraries, for code that is written for them: import one by its name."""

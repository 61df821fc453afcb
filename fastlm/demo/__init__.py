"""The whole road on text that ships with CPython."""

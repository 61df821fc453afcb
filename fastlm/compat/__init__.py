"""Interfaces of other tokenizer libraries. Import the module that has the name of the library."""

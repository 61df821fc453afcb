"""Splitting text into pretokens: the named patterns, their scanners, and where a text may be cut."""

"""Estimates of the time and memory of training on a corpus and encoding it."""

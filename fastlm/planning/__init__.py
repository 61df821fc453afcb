"""Estimates of the time and memory that a corpus takes."""

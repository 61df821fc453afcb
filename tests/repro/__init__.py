"""Small programs that each showed a fault: `python -m tests.repro [FOLDER]` runs them all and counts the right ones."""

"""Corpora: texts in many forms and places to blocks, and blocks to shards of ids."""

"""Text before it is split: UTF-8, normalization, and added tokens."""

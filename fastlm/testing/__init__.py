"""Comparisons of tokenizers and trainers with other libraries."""

from fastlm.testing.compare import compare
from fastlm.testing.markdown import markdown_of
from fastlm.testing.results import Comparison, Cost, Difference, MergeDifference, Result, TrainingResult

__all__ = ["Comparison", "Cost", "Difference", "MergeDifference", "Result", "TrainingResult", "compare", "markdown_of"]

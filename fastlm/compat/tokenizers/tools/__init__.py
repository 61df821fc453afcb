"""The visualizer of `tokenizers`, which is refused by name."""

from fastlm.compat.tokenizers.tools.visualizer import Annotation, EncodingVisualizer

__all__ = ["Annotation", "EncodingVisualizer"]

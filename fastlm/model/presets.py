"""Configurations of well-known models."""

from __future__ import annotations

from fastlm.model.config import ModelConfig


def _gpt2(d_model: int, num_layers: int, num_heads: int) -> ModelConfig:
    """GPT-2's widths and depths in this architecture, as CS336's accounting counts them.

    The feed-forward network has three matrices of 4 d_model, and the output layer is not tied. OpenAI's models have two
    matrices and a tied output layer.
    """
    return ModelConfig(
        vocab_size=50_257,
        context_length=1024,
        d_model=d_model,
        num_layers=num_layers,
        num_heads=num_heads,
        d_ff=4 * d_model,
    )


PRESETS = {
    "gpt2": _gpt2(768, 12, 12),
    "gpt2-medium": _gpt2(1024, 24, 16),
    "gpt2-large": _gpt2(1280, 36, 20),
    "gpt2-xl": _gpt2(1600, 48, 25),
    # CS336, assignment 1, problem learning_rate
    "tinystories": ModelConfig(
        vocab_size=10_000, context_length=256, d_model=512, num_layers=4, num_heads=16, d_ff=1344
    ),
    # from the config.json of Meta's published weights
    "llama2-7b": ModelConfig(
        vocab_size=32_000, context_length=4096, d_model=4096, num_layers=32, num_heads=32, d_ff=11_008
    ),
    "llama3-8b": ModelConfig(
        vocab_size=128_256,
        context_length=8192,
        d_model=4096,
        num_layers=32,
        num_heads=32,
        num_kv_heads=8,
        d_ff=14_336,
        rope_theta=500_000.0,
    ),
}

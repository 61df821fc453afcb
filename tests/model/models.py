"""Tiny models for the tests of the model side."""

import torch
from hypothesis import strategies as st

from fastlm.model import ModelConfig, TransformerLM

TINY = ModelConfig(vocab_size=300, context_length=16, d_model=8, num_layers=2, num_heads=2, d_ff=12)


def made(config: ModelConfig = TINY, dtype: torch.dtype = torch.float32, seed: int = 5, **options) -> TransformerLM:
    """A model with weights drawn from a seed, the gains of its norms too, so that none of them could be left out."""
    torch.manual_seed(seed)
    model = TransformerLM.from_config(config, dtype=dtype, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(0.5, 1.5)
    return model


def same_weights(a: TransformerLM, b: TransformerLM) -> bool:
    mine, other = a.state_dict(), b.state_dict()
    return mine.keys() == other.keys() and all(
        mine[name].dtype == other[name].dtype and torch.equal(mine[name], other[name]) for name in mine
    )


@st.composite
def llamas(draw) -> ModelConfig:
    """Shapes that a LlamaForCausalLM can have."""
    kv_heads, groups, width = draw(st.integers(1, 3)), draw(st.integers(1, 3)), 2 * draw(st.integers(1, 4))
    heads = kv_heads * groups
    own_width = draw(st.booleans())
    return ModelConfig(
        vocab_size=draw(st.integers(1, 40)),
        context_length=draw(st.integers(1, 12)),
        d_model=heads * (draw(st.integers(1, 5)) if own_width else width),
        num_layers=draw(st.integers(1, 3)),
        num_heads=heads,
        d_ff=draw(st.integers(1, 20)),
        rope_theta=draw(st.sampled_from([10_000, 10_000.0, 500_000.0, 7.5])),
        rope_layout=draw(st.sampled_from(["half", "interleaved"])),
        num_kv_heads=kv_heads if groups > 1 else draw(st.sampled_from([None, kv_heads])),
        d_head=width if own_width else draw(st.sampled_from([None, width])),
        norm_eps=draw(st.sampled_from([1e-5, 1e-6, 0.1])),
        tie_embeddings=draw(st.booleans()),
    )


def some_ids(config: ModelConfig, batch: int = 2, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (batch, config.context_length), generator=generator)

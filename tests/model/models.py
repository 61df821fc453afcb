"""Tiny models for the tests of the model side."""

import pytest
import torch
from hypothesis import strategies as st

from fastlm.model import ModelConfig, TransformerLM
from fastlm.model.state import to_layout

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


def llama_of(model: TransformerLM):
    """transformers' Llama with the weights of a model."""
    transformers = pytest.importorskip("transformers")
    config = model.config
    llama = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=config.d_ff,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.kv_heads,
            head_dim=config.head_width,
            max_position_embeddings=config.context_length,
            rms_norm_eps=config.norm_eps,
            rope_parameters={"rope_theta": config.rope_theta, "rope_type": "default"},
            tie_word_embeddings=config.tie_embeddings,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).to(model.lm_head.weight.dtype)
    names = {
        "token_embeddings": "model.embed_tokens",
        "layers": "model.layers",
        "attn": "self_attn",
        "output_proj": "o_proj",
        "ffn": "mlp",
        "w1": "gate_proj",
        "w2": "down_proj",
        "w3": "up_proj",
        "ln1": "input_layernorm",
        "ln2": "post_attention_layernorm",
        "ln_final": "model.norm",
    }
    state = to_layout(model.state_dict(), config, config.rope_layout, "half")
    state = {".".join(names.get(part, part) for part in key.split(".")): value for key, value in state.items()}
    llama.load_state_dict(state, strict=True)
    return llama.eval()


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

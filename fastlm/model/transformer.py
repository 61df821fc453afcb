"""The decoder-only Transformer.

B batch, T sequence, D d_model, V vocab_size.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fastlm.model.attention import AttentionKernel, MultiHeadSelfAttention
from fastlm.model.config import CHOICES, FeedForward, ModelConfig, Norm, RopeLayout
from fastlm.model.layers import Device, Embedding, Linear, RMSNorm, SiLUFeedForward, SwiGLU
from fastlm.model.rope import RotaryPositionalEmbedding


class TransformerBlock(nn.Module):
    """Attention, then a feed-forward network, each added to what came in.

    Args:
        d_model: Width of input and output.
        num_heads: Number of query heads.
        d_ff: Width within the feed-forward network.
        max_seq_len: Number of positions.
        rope_theta: Base of the angles of rotary positions; None for none.
        rope_layout, num_kv_heads, d_head, norm, norm_eps, ffn, qk_norm: See ModelConfig.
        kernel, rope: See MultiHeadSelfAttention.

    Raises ValueError for sizes that do not fit together and for an unknown variant.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int,
        *,
        max_seq_len: int,
        rope_theta: float | None,
        rope_layout: RopeLayout = "half",
        num_kv_heads: int | None = None,
        d_head: int | None = None,
        norm: Norm = "pre",
        norm_eps: float = 1e-5,
        ffn: FeedForward = "swiglu",
        qk_norm: bool = False,
        kernel: AttentionKernel = "sdpa",
        rope: RotaryPositionalEmbedding | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        for name, value in (("norm", norm), ("ffn", ffn)):
            if value not in CHOICES[name]:
                raise ValueError(f"{name} is {value!r}; expected one of {', '.join(CHOICES[name])}")
        self.post_norm = norm == "post"
        self.attn = MultiHeadSelfAttention(
            d_model,
            num_heads,
            rope_theta=rope_theta,
            max_seq_len=max_seq_len,
            rope_layout=rope_layout,
            num_kv_heads=num_kv_heads,
            d_head=d_head,
            qk_norm=qk_norm,
            norm_eps=norm_eps,
            kernel=kernel,
            rope=rope,
            device=device,
            dtype=dtype,
        )
        self.ffn = (SwiGLU if ffn == "swiglu" else SiLUFeedForward)(d_model, d_ff, device, dtype)
        self.ln1 = nn.Identity() if norm == "none" else RMSNorm(d_model, norm_eps, device, dtype)
        self.ln2 = nn.Identity() if norm == "none" else RMSNorm(d_model, norm_eps, device, dtype)

    def forward(self, x: Tensor, token_positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The block's result for x, (B, T, D); positions and mask as MultiHeadSelfAttention takes them."""
        if self.post_norm:
            x = self.ln1(x + self.attn(x, token_positions, mask))
            x = self.ln2(x + self.ffn(x))
        else:
            x = x + self.attn(self.ln1(x), token_positions, mask)
            x = x + self.ffn(self.ln2(x))
        return x


class TransformerLM(nn.Module):
    """A language model: token embedding, blocks, RMSNorm, output layer.

    Takes the arguments of `ModelConfig`, those with no default in this order, and

        kernel: Of attention, see MultiHeadSelfAttention.
        device: Where parameters are made.
        dtype: Of the parameters; torch's default type where it is None.

    Keys of its state dict are those of CS336: token_embeddings, layers.{i}.{ln1, attn, ln2, ffn}, ln_final, lm_head. A
    state dict whose weights are for the other layout of rotary positions is brought to this one by `state.to_layout`.

    `tokenizer_fingerprint` names the tokenizer of a model that was read from files, where they name it. Where
    `checkpoint_activations` is set to True, the backward pass computes what lies within blocks again (Chen et al. 2016,
    https://arxiv.org/abs/1604.06174).
    """

    tokenizer_fingerprint: str | None = None

    def __init__(
        self,
        vocab_size: int,
        context_length: int,
        d_model: int,
        num_layers: int,
        num_heads: int,
        d_ff: int,
        rope_theta: float | None,
        *,
        rope_layout: RopeLayout = "half",
        num_kv_heads: int | None = None,
        d_head: int | None = None,
        norm: Norm = "pre",
        norm_eps: float = 1e-5,
        ffn: FeedForward = "swiglu",
        tie_embeddings: bool = False,
        qk_norm: bool = False,
        kernel: AttentionKernel = "sdpa",
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.checkpoint_activations = False
        self.config = config = ModelConfig(
            vocab_size=vocab_size,
            context_length=context_length,
            d_model=d_model,
            num_layers=num_layers,
            num_heads=num_heads,
            d_ff=d_ff,
            rope_theta=rope_theta,
            rope_layout=rope_layout,
            num_kv_heads=num_kv_heads,
            d_head=d_head,
            norm=norm,
            norm_eps=norm_eps,
            ffn=ffn,
            tie_embeddings=tie_embeddings,
            qk_norm=qk_norm,
        )
        # one pair of tables serves all layers
        rope = (
            None
            if rope_theta is None
            else RotaryPositionalEmbedding(rope_theta, config.head_width, context_length, device, layout=rope_layout)
        )
        self.token_embeddings = Embedding(vocab_size, d_model, device, dtype)
        self.layers = nn.ModuleList(
            TransformerBlock(
                d_model,
                num_heads,
                d_ff,
                max_seq_len=context_length,
                rope_theta=rope_theta,
                rope_layout=rope_layout,
                num_kv_heads=num_kv_heads,
                d_head=d_head,
                norm=norm,
                norm_eps=norm_eps,
                ffn=ffn,
                qk_norm=qk_norm,
                kernel=kernel,
                rope=rope,
                device=device,
                dtype=dtype,
            )
            for _ in range(num_layers)
        )
        self.ln_final = nn.Identity() if norm == "none" else RMSNorm(d_model, norm_eps, device, dtype)
        self.lm_head = Linear(d_model, vocab_size, device, dtype)
        if tie_embeddings:
            # the output layer's variance: with the embedding's, logits would begin with a deviation of sqrt(d_model)
            self.token_embeddings.weight = self.lm_head.weight

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        *,
        kernel: AttentionKernel = "sdpa",
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """A model of the shape of `config`, with new weights."""
        return cls(**config.to_dict(), kernel=kernel, device=device, dtype=dtype)

    def forward(
        self, token_ids: Tensor, token_positions: Tensor | None = None, document_ids: Tensor | None = None
    ) -> Tensor:
        """Logits, (B, T, V), of the token after each one of token_ids, (B, T).

        Arguments and errors are those of `hidden`.
        """
        logits: Tensor = self.lm_head(self.hidden(token_ids, token_positions, document_ids))
        return logits

    def hidden(
        self, token_ids: Tensor, token_positions: Tensor | None = None, document_ids: Tensor | None = None
    ) -> Tensor:
        """What the output layer is applied to, (B, T, D).

        Args:
            token_ids: Integer ids, (B, T) or (T), T at most context_length.
            token_positions: Positions, (T) or (B, T); 0 .. T - 1 where they are None.
            document_ids: Numbers, (B, T); a token sees only those of its own document. One document where it is None.

        Raises ValueError for a shape that does not fit, TypeError for ids that are not integers, and, where ids lie in
        main memory, IndexError for an id out of range.
        """
        self._check_shapes(token_ids, token_positions, document_ids)
        mask = None if document_ids is None else document_mask(document_ids)
        x: Tensor = self.token_embeddings(token_ids)
        for layer in self.layers:
            if self.checkpoint_activations and torch.is_grad_enabled():
                # nothing in a block is random
                x = checkpoint(layer, x, token_positions, mask, use_reentrant=False, preserve_rng_state=False)
            else:
                x = layer(x, token_positions, mask)
        x = self.ln_final(x)
        return x

    def _check_shapes(self, token_ids: Tensor, token_positions: Tensor | None, document_ids: Tensor | None) -> None:
        shape = tuple(token_ids.shape)
        if not 1 <= len(shape) <= 2 or not 1 <= shape[-1] <= self.config.context_length:
            raise ValueError(
                f"token ids have the shape {shape}; expected (batch, sequence) "
                f"with a sequence of 1 to {self.config.context_length}"
            )
        if token_positions is not None and tuple(token_positions.shape) not in (shape, shape[-1:]):
            raise ValueError(f"token positions have the shape {tuple(token_positions.shape)}, token ids {shape}")
        if document_ids is not None and tuple(document_ids.shape) != shape:
            raise ValueError(f"document ids have the shape {tuple(document_ids.shape)}, token ids {shape}")


def document_mask(document_ids: Tensor) -> Tensor:
    """For packed documents, booleans (..., 1, T, T), True where the key is of the query's document and not after it."""
    same = document_ids.unsqueeze(-1) == document_ids.unsqueeze(-2)
    return same.tril().unsqueeze(-3)

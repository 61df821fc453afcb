"""The decoder-only Transformer.

B batch, T sequence, D d_model, V vocab_size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self, Unpack

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fastlm._arguments import instance_of
from fastlm.model.attention import AttentionKernel, MultiHeadSelfAttention
from fastlm.model.config import NO_IDS, LayerVariants, ModelConfig, ModelVariants, RopeLayout, SpecialTokenIds
from fastlm.model.layers import Device, Embedding, Linear, RMSNorm, SiLUFeedForward, SwiGLU
from fastlm.model.layout_guard import with_layout
from fastlm.model.rope import RotaryPositionalEmbedding


class TransformerBlock(nn.Module):
    """One layer of a Transformer: attention, then a feed-forward network, each added to its input.

    Args:
        d_model: Width of input and output.
        num_heads: Number of query heads.
        d_ff: Width of the feed-forward network's hidden layer.
        max_seq_len: Number of positions.
        rope_theta: Base of the rotary position angles; None for no positions.
        kernel: See MultiHeadSelfAttention.
        rope: Position tables to use instead of new ones.
        device: Device of the parameters.
        dtype: Dtype of the parameters; None for torch's default.
        **variants: The fields of LayerVariants; see ModelConfig.

    Raises:
        ValueError: Sizes do not fit together, or a variant is unknown.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int,
        *,
        max_seq_len: int,
        rope_theta: float | None,
        kernel: AttentionKernel = "sdpa",
        rope: RotaryPositionalEmbedding | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **variants: Unpack[LayerVariants],
    ):
        super().__init__()
        config = ModelConfig(
            vocab_size=1,
            context_length=max_seq_len,
            d_model=d_model,
            num_layers=1,
            num_heads=num_heads,
            d_ff=d_ff,
            rope_theta=rope_theta,
            **variants,
        )
        self.norm = config.norm
        self.attn = MultiHeadSelfAttention.from_config(config, kernel=kernel, rope=rope, device=device, dtype=dtype)
        self.ffn = (SwiGLU if config.ffn == "swiglu" else SiLUFeedForward)(d_model, d_ff, device, dtype)
        self.ln1 = _norm(config, device, dtype)
        self.ln2 = _norm(config, device, dtype)

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        layer: int = 0,
        *,
        kernel: AttentionKernel = "sdpa",
        rope: RotaryPositionalEmbedding | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Makes one layer of a model, with new weights.

        Args:
            config: The configuration of the model.
            layer: Number of the layer.
            kernel, rope, device, dtype: See the class.
        """
        theta = config.rope_theta_of(layer)
        return cls(
            config.d_model,
            config.num_heads,
            config.d_ff,
            max_seq_len=config.context_length,
            rope_theta=theta,
            kernel=kernel,
            rope=None if theta is None else rope,
            device=device,
            dtype=dtype,
            **config.layer_variants(layer),
        )

    def forward(self, x: Tensor, token_positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Applies the layer.

        Args:
            x: Input, (B, T, D).
            token_positions: See MultiHeadSelfAttention.
            mask: See MultiHeadSelfAttention.

        Returns:
            Output, (B, T, D).
        """
        x = self.with_sublayer(x, self.ln1, lambda normed: self.attn(normed, token_positions, mask))
        return self.with_sublayer(x, self.ln2, self.ffn)

    def with_sublayer(self, x: Tensor, norm: nn.Module, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """Adds a sublayer to the residual stream x, (B, T, D), with its norm in the place that the model has it."""
        if self.norm == "post":
            x = norm(x + sublayer(x))
        elif self.norm == "output":
            x = x + norm(sublayer(x))
        else:
            x = x + sublayer(norm(x))
        return x


class TransformerLM(nn.Module):
    """A language model: token embedding, Transformer layers, RMSNorm, output layer.

    The state dict has the keys of CS336: token_embeddings, layers.{i}.{ln1, attn, ln2, ffn}, ln_final, lm_head.
    `load_state_dict` converts weights of the other layout of rotary positions.

    Args:
        vocab_size, context_length, d_model, num_layers, num_heads, d_ff, rope_theta: See ModelConfig.
        kernel: See MultiHeadSelfAttention.
        device: Device of the parameters.
        dtype: Dtype of the parameters; None for torch's default.
        **variants: The optional fields of ModelConfig.

    Attributes:
        config: The configuration.
        tokenizer_fingerprint: Fingerprint of the model's tokenizer, if the model's files contain it.
        special_token_ids: Ids that begin and end a text and pad a batch, if the model's files contain them.
        checkpoint_activations: Whether the backward pass recomputes the activations within layers (Chen et al. 2016,
            https://arxiv.org/abs/1604.06174). False by default.

    Raises:
        ValueError: A field of the configuration is wrong.

    >>> model = TransformerLM(vocab_size=50, context_length=8, d_model=16, num_layers=1, num_heads=2, d_ff=32,
    ...                       rope_theta=10_000.0)
    >>> model(torch.tensor([[3, 1, 4]])).shape
    torch.Size([1, 3, 50])
    """

    tokenizer_fingerprint: str | None = None
    special_token_ids: SpecialTokenIds = NO_IDS

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
        kernel: AttentionKernel = "sdpa",
        device: Device = None,
        dtype: torch.dtype | None = None,
        **variants: Unpack[ModelVariants],
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
            **variants,
        )
        rope = rope_of(config, device, dtype)
        self.token_embeddings = Embedding(vocab_size, d_model, device, dtype)
        self.layers = nn.ModuleList(
            TransformerBlock.from_config(config, layer, kernel=kernel, rope=rope, device=device, dtype=dtype)
            for layer in range(num_layers)
        )
        self.ln_final = _norm(config, device, dtype)
        self.lm_head = Linear(d_model, vocab_size, device, dtype)
        if config.tie_embeddings:
            # The shared weights have the initial variance of the output layer. With the variance of the embedding, the
            # initial logits would have a standard deviation of sqrt(d_model).
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
        """Makes a model of a configuration, with new weights. Other arguments are the same as for the class."""
        return cls(**config.to_dict(), kernel=kernel, device=device, dtype=dtype)

    def load_state_dict(
        self,
        state_dict: Mapping[str, Any],
        strict: bool = True,
        assign: bool = False,
        *,
        rope_layout: RopeLayout | None = None,
    ) -> Any:
        """Loads weights, as torch's modules do, and converts weights of the other layout of rotary positions.

        Args:
            state_dict: The weights. State dicts of fastlm's modules say their layout.
            strict: Whether missing and unknown names are an error.
            assign: Whether the tensors become the parameters, instead of being copied.
            rope_layout: The layout for which the weights were made: "interleaved" for the modules of CS336. None takes
                the layout that the state dict says. Where it says none, weights are loaded as they are, and a model
                whose layout is "half" warns.

        Returns:
            torch's named tuple of missing and unexpected keys.

        Raises:
            RuntimeError: Names or shapes do not fit.
            ValueError: The layout is unknown.
        """
        if rope_layout is not None:
            state_dict = with_layout(state_dict, self, rope_layout)
        return super().load_state_dict(state_dict, strict, assign)

    def forward(
        self, token_ids: Tensor, token_positions: Tensor | None = None, document_ids: Tensor | None = None
    ) -> Tensor:
        """Computes the logits of the token after each token. Arguments and errors are the same as for `hidden`.

        Returns:
            Logits, (B, T, V), of the dtype of the parameters.
        """
        logits: Tensor = self.lm_head(self.hidden(token_ids, token_positions, document_ids))
        return logits

    def hidden(
        self, token_ids: Tensor, token_positions: Tensor | None = None, document_ids: Tensor | None = None
    ) -> Tensor:
        """Computes the input of the output layer.

        Args:
            token_ids: Integer ids, (B, T) or (T), T at most context_length.
            token_positions: Integer positions, (T) or (B, T); 0 .. T - 1 by default.
            document_ids: Document numbers, (B, T). A token sees tokens of its own document only. None for one document.

        Returns:
            Hidden states, (B, T, D).

        Raises:
            ValueError: A shape does not fit.
            TypeError: Ids or positions are not integers.
            IndexError: An id in main memory is out of range.
        """
        self._check_shapes(token_ids, token_positions, document_ids)
        mask = None if document_ids is None else document_mask(document_ids)
        x: Tensor = self.token_embeddings(token_ids)
        for layer in self.layers:
            if self.checkpoint_activations and torch.is_grad_enabled():
                # no operation of a layer draws random numbers
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


def check_model(model: TransformerLM) -> None:
    """Raises TypeError unless an argument is a TransformerLM, or the result of torch.compile for one."""
    instance_of(getattr(model, "_orig_mod", model), TransformerLM, "model")


def rope_of(config: ModelConfig, device: Device, dtype: torch.dtype | None) -> RotaryPositionalEmbedding | None:
    """Makes the position tables that all layers of a model of this dtype share; None for a model without positions."""
    if config.rope_theta is None:
        return None
    return RotaryPositionalEmbedding(
        config.rope_theta,
        config.head_width,
        config.context_length,
        device,
        layout=config.rope_layout,
        scaling=config.rope_scaling,
        dtype=dtype,
    )


def document_mask(document_ids: Tensor) -> Tensor:
    """Makes the attention mask of packed documents.

    Args:
        document_ids: Document numbers, (..., T).

    Returns:
        Booleans, (..., 1, T, T), True where the key is in the query's document and not after the query.
    """
    same = document_ids.unsqueeze(-1) == document_ids.unsqueeze(-2)
    return same.tril().unsqueeze(-3)


def _norm(config: ModelConfig, device: Device, dtype: torch.dtype | None) -> nn.Module:
    """The norm of a sublayer, or the identity in a model without norms."""
    return nn.Identity() if config.norm == "none" else RMSNorm(config.d_model, config.norm_eps, device, dtype)

"""The base of the ready-made tokenizers."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from fastlm.compat.tokenizers.added_tokens import AddedToken
from fastlm.compat.tokenizers.encoding import Encoding
from fastlm.compat.tokenizers.tokenizer import Tokenizer


class BaseTokenizer:
    """A tokenizer and its parameters, which printing shows. It has the methods of `Tokenizer`.

    The methods raise ValueError for None in place of texts or ids.
    """

    def __init__(self, tokenizer: Tokenizer, parameters: dict[str, Any] | None = None) -> None:
        self._tokenizer = tokenizer
        self._parameters = {} if parameters is None else parameters

    def __repr__(self) -> str:
        shown = ", ".join([f"{name}={value}" for name, value in self._parameters.items()])
        return f"Tokenizer(vocabulary_size={self.get_vocab_size()}, {shown})"

    # encoding and decoding

    def normalize(self, sequence: str) -> str:
        """The normalized text."""
        normalized: str = self._tokenizer.normalizer.normalize_str(sequence)
        return normalized

    def encode(
        self, sequence: Any, pair: Any = None, is_pretokenized: bool = False, add_special_tokens: bool = True
    ) -> Encoding:
        """See `Tokenizer.encode`."""
        return self._tokenizer.encode(_given(sequence, "sequence"), pair, is_pretokenized, add_special_tokens)

    def encode_batch(
        self, inputs: Any, is_pretokenized: bool = False, add_special_tokens: bool = True
    ) -> list[Encoding]:
        """See `Tokenizer.encode_batch`."""
        return self._tokenizer.encode_batch(_given(inputs, "inputs"), is_pretokenized, add_special_tokens)

    async def async_encode_batch(
        self, inputs: Any, is_pretokenized: bool = False, add_special_tokens: bool = True
    ) -> list[Encoding]:
        """See `Tokenizer.async_encode_batch`."""
        return await self._tokenizer.async_encode_batch(_given(inputs, "inputs"), is_pretokenized, add_special_tokens)

    async def async_encode_batch_fast(
        self, inputs: Any, is_pretokenized: bool = False, add_special_tokens: bool = True
    ) -> list[Encoding]:
        """See `Tokenizer.async_encode_batch_fast`."""
        encodings: Awaitable[list[Encoding]] = self._tokenizer.async_encode_batch_fast(
            _given(inputs, "inputs"), is_pretokenized, add_special_tokens
        )
        return await encodings

    def decode(self, ids: Any, skip_special_tokens: bool = True) -> str:
        """See `Tokenizer.decode`."""
        return self._tokenizer.decode(_given(ids, "ids"), skip_special_tokens)

    def decode_batch(self, sequences: Any, skip_special_tokens: bool = True) -> list[str]:
        """See `Tokenizer.decode_batch`."""
        return self._tokenizer.decode_batch(_given(sequences, "sequences"), skip_special_tokens)

    async def async_decode_batch(self, sequences: Any, skip_special_tokens: bool = True) -> list[str]:
        """See `Tokenizer.async_decode_batch`."""
        return await self._tokenizer.async_decode_batch(_given(sequences, "sequences"), skip_special_tokens)

    def post_process(
        self, encoding: Encoding, pair: Encoding | None = None, add_special_tokens: bool = True
    ) -> Encoding:
        """See `Tokenizer.post_process`."""
        return self._tokenizer.post_process(encoding, pair, add_special_tokens)

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        """See `Tokenizer.num_special_tokens_to_add`."""
        return self._tokenizer.num_special_tokens_to_add(is_pair)

    # padding and truncation

    def enable_padding(
        self,
        direction: str = "right",
        pad_to_multiple_of: int | None = None,
        pad_id: int = 0,
        pad_type_id: int = 0,
        pad_token: str = "[PAD]",
        length: int | None = None,
    ) -> None:
        """See `Tokenizer.enable_padding`."""
        self._tokenizer.enable_padding(
            direction=direction,
            pad_to_multiple_of=pad_to_multiple_of,
            pad_id=pad_id,
            pad_type_id=pad_type_id,
            pad_token=pad_token,
            length=length,
        )

    def no_padding(self) -> None:
        """See `Tokenizer.no_padding`."""
        self._tokenizer.no_padding()

    @property
    def padding(self) -> dict[str, Any] | None:
        """See `Tokenizer.padding`."""
        return self._tokenizer.padding

    def enable_truncation(self, max_length: int, stride: int = 0, strategy: str = "longest_first") -> None:
        """See `Tokenizer.enable_truncation`; cuts at the right."""
        self._tokenizer.enable_truncation(max_length, stride=stride, strategy=strategy)

    def no_truncation(self) -> None:
        """See `Tokenizer.no_truncation`."""
        self._tokenizer.no_truncation()

    @property
    def truncation(self) -> dict[str, Any] | None:
        """See `Tokenizer.truncation`."""
        return self._tokenizer.truncation

    # vocabulary

    def get_vocab(self, with_added_tokens: bool = True) -> dict[str, int]:
        """See `Tokenizer.get_vocab`."""
        return self._tokenizer.get_vocab(with_added_tokens)

    def get_vocab_size(self, with_added_tokens: bool = True) -> int:
        """See `Tokenizer.get_vocab_size`."""
        return self._tokenizer.get_vocab_size(with_added_tokens)

    def token_to_id(self, token: str) -> int | None:
        """See `Tokenizer.token_to_id`."""
        return self._tokenizer.token_to_id(token)

    def id_to_token(self, id: int) -> str | None:  # noqa: A002 - the name in tokenizers
        """See `Tokenizer.id_to_token`."""
        return self._tokenizer.id_to_token(id)

    def add_tokens(self, tokens: list[str | AddedToken]) -> int:
        """See `Tokenizer.add_tokens`."""
        return self._tokenizer.add_tokens(tokens)

    def add_special_tokens(self, special_tokens: list[str | AddedToken]) -> int:
        """See `Tokenizer.add_special_tokens`."""
        return self._tokenizer.add_special_tokens(special_tokens)

    def get_added_tokens_decoder(self) -> dict[int, AddedToken]:
        """See `Tokenizer.get_added_tokens_decoder`."""
        return self._tokenizer.get_added_tokens_decoder()

    # files

    def save(self, path: str, pretty: bool = True) -> None:
        """See `Tokenizer.save`."""
        self._tokenizer.save(path, pretty)

    def to_str(self, pretty: bool = False) -> str:
        """See `Tokenizer.to_str`."""
        return self._tokenizer.to_str(pretty)

    def save_model(self, directory: str, prefix: str | None = None) -> list[str]:
        """See `BPE.save`."""
        paths: list[str] = self._tokenizer.model.save(directory, prefix=prefix)
        return paths

    # components

    @property
    def model(self) -> Any:
        """See `Tokenizer.model`."""
        return self._tokenizer.model

    @model.setter
    def model(self, model: Any) -> None:
        self._tokenizer.model = model

    @property
    def normalizer(self) -> Any:
        """See `Tokenizer.normalizer`."""
        return self._tokenizer.normalizer

    @normalizer.setter
    def normalizer(self, normalizer: Any) -> None:
        self._tokenizer.normalizer = normalizer

    @property
    def pre_tokenizer(self) -> Any:
        """See `Tokenizer.pre_tokenizer`."""
        return self._tokenizer.pre_tokenizer

    @pre_tokenizer.setter
    def pre_tokenizer(self, pre_tokenizer: Any) -> None:
        self._tokenizer.pre_tokenizer = pre_tokenizer

    @property
    def post_processor(self) -> Any:
        """See `Tokenizer.post_processor`."""
        return self._tokenizer.post_processor

    @post_processor.setter
    def post_processor(self, post_processor: Any) -> None:
        self._tokenizer.post_processor = post_processor

    @property
    def decoder(self) -> Any:
        """See `Tokenizer.decoder`."""
        return self._tokenizer.decoder

    @decoder.setter
    def decoder(self, decoder: Any) -> None:
        self._tokenizer.decoder = decoder


def _given(value: Any, name: str) -> Any:
    if value is None:
        raise ValueError(f"`{name}` can't be `None`")
    return value

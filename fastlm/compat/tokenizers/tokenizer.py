"""Tokenizer, with the interface of Hugging Face's `tokenizers`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from fastlm._types import Int64Array
from fastlm.compat.tokenizers.added_tokens import (
    AddedToken,
    AddedVocabulary,
    added_token,
    content_of,
    given_tokens,
    name_of,
    names_by_id,
)
from fastlm.compat.tokenizers.arguments import boolean, is_instance, sequence, string, unsigned
from fastlm.compat.tokenizers.arguments import ids as id_array
from fastlm.compat.tokenizers.call_settings import CallSettings, post_processed
from fastlm.compat.tokenizers.component import (
    SHORT,
    WHOLE,
    Component,
    parsed_of,
    shown,
    supported,
    to_json,
    unsupported,
)
from fastlm.compat.tokenizers.decoders import ByteLevel as ByteLevelDecoder
from fastlm.compat.tokenizers.decoders import Decoder, decoder_of
from fastlm.compat.tokenizers.encoding import Encoding
from fastlm.compat.tokenizers.event_loop import in_thread
from fastlm.compat.tokenizers.inputs import one_of_words, one_text, single_texts, text_or_pair, words_or_pair
from fastlm.compat.tokenizers.lengths import Padding, Truncation
from fastlm.compat.tokenizers.models import BPE, Model, model_of
from fastlm.compat.tokenizers.normalizers import Normalizer, normalizer_of
from fastlm.compat.tokenizers.pipeline import ByteDecoder, Pipeline
from fastlm.compat.tokenizers.pre_tokenizers import PreTokenizer, pre_tokenizer_of
from fastlm.compat.tokenizers.processors import PostProcessor, processor_of
from fastlm.compat.tokenizers.trainers import BpeTrainer, Trainer
from fastlm.files import hub
from fastlm.files.atomic import write_files
from fastlm.forks import ForkSafeLock
from fastlm.formats.tokenizer_json import FILE
from fastlm.formats.tokenizer_json.document import parse_document
from fastlm.formats.tokenizer_json.normalizers import steps_of
from fastlm.formats.tokenizer_json.vocabularies import require_supported
from fastlm.normalizers import Normalizer as NormalizerStep

if TYPE_CHECKING:
    from asyncio import Future


class Tokenizer:
    """A byte-level BPE tokenizer that is made of components, as in `tokenizers`.

    Setting a component takes effect with the next call. A call keeps the settings that it began with, so any number of
    threads may share a tokenizer. It survives pickle, copy and fork.

    Calls raise TypeError for arguments of a wrong type, OverflowError for integers that do not fit, ValueError for
    malformed content, and NotImplementedError with the name of a feature that is not byte-level BPE.
    """

    def __init__(self, model: Model) -> None:
        is_instance(model, Model)
        self._model: Any = model
        self._normalizer: Normalizer | None = None
        self._pre_tokenizer: PreTokenizer | None = None
        self._post_processor: PostProcessor | None = None
        self._decoder: Decoder | None = None
        self._added = AddedVocabulary()
        self._truncation: Truncation | None = None
        self._padding: Padding | None = None
        self._encode_special_tokens = False
        self._built: tuple[int, Pipeline] | None = None
        self._decoding: tuple[int, ByteDecoder] | None = None
        self._lock = ForkSafeLock()

    # from and to files

    @staticmethod
    def from_str(json: str) -> Tokenizer:
        """The tokenizer that the text of a tokenizer.json describes."""
        return _from_json(string(json))

    @staticmethod
    def from_file(path: str) -> Tokenizer:
        """The tokenizer of a tokenizer.json. Raises OSError where it cannot be read."""
        with open(string(path), "rb") as file:
            content = file.read()
        try:
            return _from_json(content)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @staticmethod
    def from_buffer(buffer: bytes) -> Tokenizer:
        """The tokenizer that the bytes of a tokenizer.json describe."""
        is_instance(buffer, bytes)
        return _from_json(buffer)

    @staticmethod
    def from_pretrained(identifier: str, revision: str = "main", token: str | None = None) -> Tokenizer:
        """The tokenizer of a directory, or of a model in the local cache of the Hub. Nothing is fetched.

        Args:
            identifier: A directory with a tokenizer.json, or the name of a model, such as "gpt2".
            revision: Branch, tag or commit of the model.
            token: Accepted as in `tokenizers`; reading the cache needs none.

        Returns:
            The tokenizer.

        Raises:
            FileNotFoundError: The directory, or the cache for this name and revision, has no tokenizer.json.
            ValueError: `identifier` is neither a directory nor the name of a model, or the file is malformed.
        """
        name, revision = string(identifier), string(revision)
        if token is not None:
            string(token)
        if os.path.isdir(name):
            return Tokenizer.from_file(os.path.join(name, FILE))
        folder = hub.cached_snapshot(name, revision)
        if folder is None or not (folder / FILE).is_file():
            raise hub.missing(name, revision, FILE)
        return Tokenizer.from_file(str(folder / FILE))

    def to_str(self, pretty: bool = False) -> str:
        """The text of a tokenizer.json."""
        return to_json(self._content(), boolean(pretty))

    def save(self, path: str, pretty: bool = True) -> None:
        """Writes a tokenizer.json, completely or not at all. Raises OSError."""
        from pathlib import Path

        target = Path(string(path))
        if not target.parent.is_dir():
            raise FileNotFoundError(f"{target.parent} is no directory")
        write_files(target.parent, {target.name: self.to_str(pretty).encode()})

    def _content(self) -> dict[str, Any]:
        parts = (self._normalizer, self._pre_tokenizer, self._post_processor, self._decoder)
        normalizer, pre_tokenizer, post_processor, decoder = (
            None if part is None else part.json_value() for part in parts
        )
        return {
            "version": "1.0",
            "truncation": self._truncation.content() if self._truncation else None,
            "padding": self._padding.content() if self._padding else None,
            "added_tokens": content_of(self._added),
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": post_processor,
            "decoder": decoder,
            "model": self._model.json_value(),
        }

    def __getstate__(self) -> bytes:
        return self.to_str().encode()

    def __setstate__(self, state: bytes) -> None:
        self.__dict__.update(_from_json(state, check=False).__dict__)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Model], bytes]:
        return type(self), (BPE(),), self.__getstate__()

    type_name = "Tokenizer"

    def shown_fields(self) -> dict[str, Any]:
        """Name -> value of the fields that printing shows."""
        return {
            "version": "1.0",
            "truncation": self._truncation,
            "padding": self._padding,
            "added_tokens": content_of(self._added),
            "normalizer": self._normalizer,
            "pre_tokenizer": self._pre_tokenizer,
            "post_processor": self._post_processor,
            "decoder": self._decoder,
            "model": self._model,
        }

    def __repr__(self) -> str:
        return shown(self, WHOLE)

    def __str__(self) -> str:
        return shown(self, SHORT)

    # components

    @property
    def model(self) -> Any:
        """The model."""
        return self._model

    @model.setter
    def model(self, model: Model) -> None:
        is_instance(model, Model)
        self._set(_model=model)

    @property
    def normalizer(self) -> Any:
        """The normalizer, or None."""
        return self._normalizer

    @normalizer.setter
    def normalizer(self, normalizer: Normalizer | None) -> None:
        if normalizer is not None:
            is_instance(normalizer, Normalizer)
        self._set(_normalizer=normalizer)

    @property
    def pre_tokenizer(self) -> Any:
        """The pre-tokenizer, or None."""
        return self._pre_tokenizer

    @pre_tokenizer.setter
    def pre_tokenizer(self, pretok: PreTokenizer | None) -> None:
        if pretok is not None:
            is_instance(pretok, PreTokenizer)
        self._set(_pre_tokenizer=pretok)

    @property
    def post_processor(self) -> Any:
        """The post-processor, or None."""
        return self._post_processor

    @post_processor.setter
    def post_processor(self, processor: PostProcessor | None) -> None:
        if processor is not None:
            is_instance(processor, PostProcessor)
        self._post_processor = processor

    @property
    def decoder(self) -> Any:
        """The decoder, or None."""
        return self._decoder

    @decoder.setter
    def decoder(self, decoder: Decoder | None) -> None:
        if decoder is not None:
            is_instance(decoder, Decoder)
        self._decoder = decoder

    def _set(self, **parts: Any) -> None:
        with self._lock:
            self.__dict__.update(parts)
            self._built = self._decoding = None

    def _stamp(self) -> int:
        """A number that is larger after any change of the components that encoding depends on."""
        parts: list[Component | None] = [self._model, self._normalizer, self._pre_tokenizer]
        return max([part.stamp() for part in parts if part is not None])

    def _pipeline(self) -> Pipeline:
        built = self._built
        if built and built[0] == self._stamp():
            return built[1]
        with self._lock:
            stamp = self._stamp()
            pipeline = Pipeline(self._model, self._normalizer, self._pre_tokenizer, self._added)
            self._built = stamp, pipeline
        return pipeline

    def _byte_decoder(self) -> ByteDecoder:
        decoding = self._decoding
        if decoding and decoding[0] == self._stamp():
            return decoding[1]
        with self._lock:
            stamp = self._stamp()
            names = names_by_id(self._added, self._normalizers())
            decoder = ByteDecoder(self._model.tokens, names, self._added.special)
            self._decoding = stamp, decoder
        return decoder

    @property
    def encode_special_tokens(self) -> bool:
        """Whether special tokens in a text are encoded as text."""
        return self._encode_special_tokens

    @encode_special_tokens.setter
    def encode_special_tokens(self, value: bool) -> None:
        self._encode_special_tokens = boolean(value)

    # vocabulary

    def get_vocab(self, with_added_tokens: bool = True) -> dict[str, int]:
        """token -> id."""
        return {**self._model.vocab, **(self._added.ids if boolean(with_added_tokens) else {})}

    def get_vocab_size(self, with_added_tokens: bool = True) -> int:
        """The number of tokens."""
        model: dict[str, int] = self._model.vocab
        added = self._added.ids if boolean(with_added_tokens) else {}
        return len(model) + sum(token not in model for token in added)

    def token_to_id(self, token: str) -> int | None:
        """The id of a token, or None."""
        token_id = self._added.ids.get(string(token))
        return self._model.vocab.get(token) if token_id is None else token_id

    def id_to_token(self, id: int) -> str | None:  # noqa: A002 - the name in tokenizers
        """The token of an id, or None."""
        number = unsigned(id, 32)
        token = self._added.tokens.get(number)
        if token is None:
            found: str | None = self._model.tokens.get(number)
            return found
        return name_of(token, self._normalizers())

    def _normalizers(self) -> tuple[NormalizerStep, ...]:
        return steps_of(parsed_of(self._normalizer))

    def add_tokens(self, tokens: list[str | AddedToken]) -> int:
        """Adds tokens, and returns the number of tokens that changed the tokenizer."""
        return self._add(given_tokens(tokens, special=False))

    def add_special_tokens(self, tokens: list[str | AddedToken]) -> int:
        """Adds special tokens, and returns the number of tokens that changed the tokenizer."""
        return self._add(given_tokens(tokens, special=True))

    def _add(self, tokens: list[AddedToken]) -> int:
        with self._lock:
            self._added, count = self._added.with_tokens(tokens, self._model.vocab)
            self._built = self._decoding = None
        return count

    def get_added_tokens_decoder(self) -> dict[int, AddedToken]:
        """id -> added token."""
        return {token_id: token.copy() for token_id, token in sorted(self._added.tokens.items())}

    # truncation and padding

    @property
    def truncation(self) -> dict[str, Any] | None:
        """The arguments of enable_truncation, or None."""
        return self._truncation.settings() if self._truncation else None

    def enable_truncation(self, max_length: int, **options: Any) -> None:
        """Cuts encodings to a length. Options: stride, strategy, direction. Raises ValueError for a stride too large.

        strategy "longest_first", "only_first" or "only_second" names the text of a pair that is cut.
        """
        truncation = Truncation.given(max_length, options)
        truncation.check(self.num_special_tokens_to_add(False))
        self._truncation = truncation

    def no_truncation(self) -> None:
        """Turns truncation off."""
        self._truncation = None

    @property
    def padding(self) -> dict[str, Any] | None:
        """The arguments of enable_padding, or None."""
        return self._padding.settings() if self._padding else None

    def enable_padding(self, **options: Any) -> None:
        """Pads encodings. Options: direction, pad_id, pad_type_id, pad_token, length, pad_to_multiple_of."""
        self._padding = Padding.given(options)

    def no_padding(self) -> None:
        """Turns padding off."""
        self._padding = None

    # encoding

    def encode(
        self, sequence: Any, pair: Any = None, is_pretokenized: bool = False, add_special_tokens: bool = True
    ) -> Encoding:
        """The encoding of a text or of a pair. With is_pretokenized each text is a list of words."""
        return self._encoding(sequence, pair, is_pretokenized, add_special_tokens)()

    def _encoding(self, sequence: Any, pair: Any, words: bool, add_special_tokens: bool) -> Callable[[], Encoding]:
        take = one_of_words if boolean(words) else one_text
        given = [take(sequence)] if pair is None else [take(sequence), take(pair)]
        return partial(self._settings_of_call().encode_one, given, words, boolean(add_special_tokens))

    def encode_batch(
        self,
        input: Any,  # noqa: A002 - the name in tokenizers
        is_pretokenized: bool = False,
        add_special_tokens: bool = True,
    ) -> list[Encoding]:
        """The encodings of texts and pairs, on all processors."""
        return self._encodings(input, is_pretokenized, add_special_tokens, keep_columns=True)()

    def encode_batch_fast(
        self,
        input: Any,  # noqa: A002 - the name in tokenizers
        is_pretokenized: bool = False,
        add_special_tokens: bool = True,
    ) -> list[Encoding]:
        """Like `encode_batch`, without the strings, offsets and words of tokens."""
        return self._encodings(input, is_pretokenized, add_special_tokens, keep_columns=False)()

    def _encodings(
        self,
        input: Any,  # noqa: A002 - the name in tokenizers
        words: bool,
        add_special_tokens: bool,
        keep_columns: bool,
    ) -> Callable[[], list[Encoding]]:
        are_words, given = boolean(words), sequence(input)
        texts = None if are_words else single_texts(given)
        if texts is not None:
            return partial(self._settings_of_call().encode_texts, texts, boolean(add_special_tokens), keep_columns)
        one = words_or_pair if are_words else text_or_pair
        inputs = [one(item) for item in given]
        return partial(self._settings_of_call().encode_batch, inputs, words, boolean(add_special_tokens), keep_columns)

    def _settings_of_call(self) -> CallSettings:
        """The settings of a call. A thread that changes them meanwhile changes the next call."""
        pipeline = self._pipeline()
        recognised = pipeline.recognised_as_text if self._encode_special_tokens else pipeline.recognised
        return CallSettings(pipeline, self._post_processor, self._truncation, self._padding, recognised)

    def post_process(
        self, encoding: Encoding, pair: Encoding | None = None, add_special_tokens: bool = True
    ) -> Encoding:
        """The encoding after truncation, post-processing and padding."""
        is_instance(encoding, Encoding)
        if pair is not None:
            is_instance(pair, Encoding)
        given = [encoding.copy()] if pair is None else [encoding.copy(), pair.copy()]
        padding = self._padding
        whole = post_processed(given, self._post_processor, self._truncation, boolean(add_special_tokens))
        if padding:
            padding.pad([whole])
        return whole

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        """The number of tokens that the post-processor adds to a text or to a pair."""
        boolean(is_pair)
        return self._post_processor.num_special_tokens_to_add(is_pair) if self._post_processor else 0

    # decoding

    def decode(self, ids: Any, skip_special_tokens: bool = True) -> str:
        """The text of ids. Unknown ids are ignored."""
        return self._text_of(boolean(skip_special_tokens))(id_array(ids))

    def decode_batch(self, sequences: Any, skip_special_tokens: bool = True) -> list[str]:
        """The text of each sequence of ids."""
        return self._texts_of(sequences, skip_special_tokens)()

    def _texts_of(self, sequences: Any, skip_special_tokens: bool) -> Callable[[], list[str]]:
        text_of = self._text_of(boolean(skip_special_tokens))
        given = [id_array(ids) for ids in sequence(sequences)]
        return lambda: [text_of(ids) for ids in given]

    def _text_of(self, skip: bool) -> Callable[[Int64Array], str]:
        """A function that decodes with the present settings."""
        decoder, special = self._decoder, self._added.special
        if type(decoder) is ByteLevelDecoder:
            return partial(self._byte_decoder().decode, skip_special_tokens=skip)
        of_model, of_added = self._model.tokens, names_by_id(self._added, self._normalizers())

        def text_of(ids: Int64Array) -> str:
            found = (of_added.get(token_id, of_model.get(token_id)) for token_id in ids.tolist())
            tokens = [token for token in found if token is not None and not (skip and token in special)]
            return " ".join(tokens) if decoder is None else "".join(decoder.decode_chain(tokens))

        return text_of

    # training

    def train(self, files: Any, trainer: Trainer | None = None) -> None:
        """Trains the model on files, line by line with line ends. Raises OSError where one cannot be read."""
        paths = [string(path) for path in sequence(files)]
        self._train(_lines(paths), trainer)

    def train_from_iterator(self, iterator: Any, trainer: Trainer | None = None, length: int | None = None) -> None:
        """Trains the model on texts, or on iterables of texts."""
        self._train(_texts(iter(iterator)), trainer)

    def _train(self, texts: Iterable[str], trainer: Trainer | None) -> None:
        if trainer is None:
            trainer = self._model.get_trainer()
        is_instance(trainer, Trainer)
        if not isinstance(trainer, BpeTrainer):
            unsupported(f"training with {type(trainer).__name__}")
        from fastlm.compat.tokenizers.training import trained_vocabulary

        vocab, merges = trained_vocabulary(texts, trainer, self._normalizer, self._pre_tokenizer)
        self._model.set_trained(vocab, merges, trainer.continuing_subword_prefix, trainer.end_of_word_suffix)
        self._add(trainer.special_tokens)

    # in a thread of an event loop, with the arguments and settings at the time of the call

    def async_encode(
        self, sequence: Any, pair: Any = None, is_pretokenized: bool = False, add_special_tokens: bool = True
    ) -> Future[Encoding]:
        """`encode` in another thread, to be awaited. Raises RuntimeError where no event loop runs."""
        return in_thread(self._encoding(sequence, pair, is_pretokenized, add_special_tokens))

    def async_encode_batch(
        self,
        input: Any,  # noqa: A002 - the name in tokenizers
        is_pretokenized: bool = False,
        add_special_tokens: bool = True,
    ) -> Future[list[Encoding]]:
        """`encode_batch` in another thread, to be awaited. Raises RuntimeError where no event loop runs."""
        return in_thread(self._encodings(input, is_pretokenized, add_special_tokens, keep_columns=True))

    def async_encode_batch_fast(
        self,
        input: Any,  # noqa: A002 - the name in tokenizers
        is_pretokenized: bool = False,
        add_special_tokens: bool = True,
    ) -> Future[list[Encoding]]:
        """`encode_batch_fast` in another thread, to be awaited. Raises RuntimeError where no event loop runs."""
        return in_thread(self._encodings(input, is_pretokenized, add_special_tokens, keep_columns=False))

    def async_decode_batch(self, sequences: Any, skip_special_tokens: bool = True) -> Future[list[str]]:
        """`decode_batch` in another thread, to be awaited. Raises RuntimeError where no event loop runs."""
        return in_thread(self._texts_of(sequences, skip_special_tokens))


def _lines(paths: list[str]) -> Iterator[str]:
    for path in paths:
        with open(path, encoding="utf-8", newline="\n") as file:
            yield from file


def _texts(items: Iterator[Any]) -> Iterator[str]:
    """The texts of items that are each a str or an iterable of str."""
    for item in items:
        if isinstance(item, str):
            yield string(item)
        else:
            yield from map(string, item)


def _from_json(text: str | bytes, check: bool = True) -> Tokenizer:
    """The tokenizer of the text of a tokenizer.json.

    `check` refuses a file that asks for what fastlm does not follow.
    """
    document = supported(parse_document, text)
    if check:
        supported(require_supported, document.model, document.pre_tokenizer)
    tokenizer = Tokenizer(model_of(document.model))
    if document.normalizer is not None:
        tokenizer._normalizer = normalizer_of(document.normalizer)
    if document.pre_tokenizer is not None:
        tokenizer._pre_tokenizer = pre_tokenizer_of(document.pre_tokenizer)
    if document.post_processor is not None:
        tokenizer._post_processor = processor_of(document.post_processor)
    if document.decoder is not None:
        tokenizer._decoder = decoder_of(document.decoder)
    tokenizer._truncation = Truncation.of(document.truncation)
    tokenizer._padding = Padding.of(document.padding)
    tokenizer._add([added_token(entry) for entry in document.added_tokens])
    return tokenizer

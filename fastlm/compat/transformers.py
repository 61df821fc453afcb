"""Compatibility layer for `transformers` 5: FastLMTokenizer replaces PreTrainedTokenizerFast.

transformers handles special tokens, chat templates and tensors itself. This module encodes and decodes for it. Nothing
is patched, and nothing is downloaded. It needs the extra [transformers].
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeAlias

from fastlm._extras import install_command
from fastlm.files.reading import check_content, unreadable_model
from fastlm.tokenizer import Tokenizer

try:
    import tokenizers
    import transformers
except ImportError as error:
    raise ImportError(
        f"fastlm.compat.transformers needs transformers: {install_command('transformers')} ({error})"
    ) from error

from fastlm.compat.tokenizers import Tokenizer as CompatTokenizer
from fastlm.compat.transformers_backend import Backend
from fastlm.compat.transformers_defaults import class_defaults

__all__ = ["FastLMTokenizer"]

Source: TypeAlias = Tokenizer | CompatTokenizer | tokenizers.Tokenizer | str | os.PathLike[str]

# the class that loads a saved tokenizer without fastlm
_SAVED_AS = transformers.PreTrainedTokenizerFast.__name__


class FastLMTokenizer(transformers.PreTrainedTokenizerFast):
    """A fast tokenizer of transformers that encodes and decodes with fastlm.

    Any number of threads may share a tokenizer while no thread adds tokens. Each call has its own padding and
    truncation.

    Args:
        source: A Tokenizer of fastlm, of fastlm.compat.tokenizers or of Hugging Face's `tokenizers`, or the path of a
            tokenizer.json. `tokenizer_object` and `tokenizer_file` are other names for it, as in transformers.
        **options: The other arguments of PreTrainedTokenizerFast.

    Raises:
        TypeError: The source is missing or has another type.
        OSError: A file cannot be read.
        ValueError, NotImplementedError: The source is not a byte-level BPE that fastlm supports.

    >>> from fastlm import train_bpe
    >>> tokenizer = FastLMTokenizer(train_bpe(["the cat sat", "the mat"], 260), pad_token="<|endoftext|>")
    >>> tokenizer(["the mat", "the"], padding=True)["attention_mask"]
    [[1, 1, 1, 1], [1, 0, 0, 0]]
    """

    def __init__(self, source: Source | None = None, /, **options: Any) -> None:
        given = [source, options.pop("tokenizer_object", None), options.pop("tokenizer_file", None)]
        chosen = next((one for one in given if one is not None), None)
        if chosen is None:
            raise TypeError("FastLMTokenizer needs a tokenizer or the path of a tokenizer.json")
        super().__init__(tokenizer_object=Backend.of(chosen), **options)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], *inputs: Any, **options: Any) -> FastLMTokenizer:
        """Loads the tokenizer of a directory, or of a model that is in transformers' cache already.

        Args:
            path: The directory, or the name of the model.
            *inputs: See PreTrainedTokenizerFast.
            **options: See PreTrainedTokenizerFast.

        Returns:
            The tokenizer.

        Raises:
            OSError: Neither the directory nor the cache has a tokenizer.json.
            ValueError: The tokenizer.json of the directory is another kind of file, such as a Git LFS pointer.
            NotImplementedError: The options ask for a download.
        """
        if not options.setdefault("local_files_only", True) or options.get("force_download"):
            raise NotImplementedError("nothing is fetched: let huggingface_hub download the files first")
        file = Path(path) / "tokenizer.json"
        if file.is_file():
            # transformers would only say that it is not JSON
            check_content(file)
        tokenizer: FastLMTokenizer = super().from_pretrained(path, *inputs, **options)
        return tokenizer

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **options: Any) -> dict[str, Any]:
        """Makes the options of the constructor from the options that from_pretrained found.

        Args:
            trust_remote_code: Ignored.
            **options: The options that from_pretrained found.

        Returns:
            The options, with the defaults of the class that AutoTokenizer would choose.

        Raises:
            OSError: There is no tokenizer.json.
        """
        file = options.get("tokenizer_file")
        if file is None or not os.path.isfile(file):
            folder = str(options.get("name_or_path"))
            other = unreadable_model(folder) if os.path.isdir(folder) else None
            advice = other or "what fastlm.load reads can be given to FastLMTokenizer"
            raise OSError(f"{folder}: holds no tokenizer.json; {advice}")
        return class_defaults(Path(file).parent) | options

    @classmethod
    def _patch_mistral_regex(cls, tokenizer: Backend, *arguments: Any, **options: Any) -> Backend:
        """Repairs the pattern of some published Mistral tokenizers if the options ask for it, without a download."""
        options["local_files_only"] = True
        if not options.get("fix_mistral_regex"):
            patched: Backend = super()._patch_mistral_regex(tokenizer, *arguments, **options)
            return patched
        real = tokenizers.Tokenizer.from_str(tokenizer.to_str())
        return Backend.of(super()._patch_mistral_regex(real, *arguments, **options))

    def _encode_without_added_tokens(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode_text(text)
        return ids

    def _save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        file_names: tuple[str, ...],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
    ) -> tuple[str, ...]:
        # transformers has written the name of this class, which cannot be imported without fastlm
        config = Path(file_names[0])
        content = json.loads(config.read_text(encoding="utf-8"))
        if content.get("tokenizer_class") == FastLMTokenizer.__name__:
            content["tokenizer_class"] = _SAVED_AS
            spelled = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
            config.write_text(f"{spelled}\n", encoding="utf-8")
        names: tuple[str, ...] = super()._save_pretrained(save_directory, file_names, legacy_format, filename_prefix)
        return names

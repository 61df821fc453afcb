"""The pattern and the special tokens of published rank files, which the files do not contain, by their sha256.

The sha256 is that of the ranks in tiktoken's format. For a file as it was published, that is the sha256 of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

END_OF_TEXT = "<|endoftext|>"
FIM = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
END_OF_PROMPT = "<|endofprompt|>"

_O200K = {END_OF_TEXT: 199999, END_OF_PROMPT: 200018}
_HARMONY_NAMES = {
    199998: "startoftext", 199999: "endoftext", 200002: "return", 200003: "constrain", 200005: "channel",
    200006: "start", 200007: "end", 200008: "message", 200012: "call",
}  # fmt: skip
_HARMONY = {f"<|{_HARMONY_NAMES.get(k, f'reserved_{k}')}|>": k for k in range(199998, 201088)}

_LLAMA3_NAMES = {0: "begin_of_text", 1: "end_of_text", 6: "start_header_id", 7: "end_header_id", 9: "eot_id"}
_LLAMA3_NAMES |= {
    number: f"reserved_special_token_{k}" for k, number in enumerate(n for n in range(256) if n not in _LLAMA3_NAMES)
}
_LLAMA3 = {f"<|{name}|>": 128000 + number for number, name in sorted(_LLAMA3_NAMES.items())}
_QWEN = (
    *(END_OF_TEXT, "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", *FIM, "<|fim_pad|>", "<|repo_name|>"),
    *("<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
)
_QWEN35 = (
    *_QWEN,
    *("<|audio_start|>", "<|audio_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>", "<tts_text_bos_single>"),
    "<|audio_pad|>",
)
_KIMI_K2_NAMES = {
    163584: "[BOS]", 163585: "[EOS]", 163586: "<|im_end|>", 163587: "<|im_user|>", 163588: "<|im_assistant|>",
    163590: "<|start_header_id|>", 163591: "<|end_header_id|>", 163593: "[EOT]", 163594: "<|im_system|>",
    163595: "<|tool_calls_section_begin|>", 163596: "<|tool_calls_section_end|>", 163597: "<|tool_call_begin|>",
    163598: "<|tool_call_argument_begin|>", 163599: "<|tool_call_end|>", 163601: "<|im_middle|>",
    163838: "[UNK]", 163839: "[PAD]",
}  # fmt: skip
_KIMI_K2 = {_KIMI_K2_NAMES.get(k, f"<|reserved_token_{k}|>"): k for k in range(163584, 163840)}

_LLAMA4_NAMES = {
    0: "begin_of_text", 1: "end_of_text", 2: "fim_prefix", 3: "fim_middle", 4: "fim_suffix",
    5: "header_start", 6: "header_end", 7: "eom", 8: "eot", 9: "step",
    16: "python_start", 17: "python_end", 18: "finetune_right_pad",
    80: "image_start", 81: "image_end", 84: "tile_x_separator", 85: "tile_y_separator", 90: "image", 92: "patch",
    1142: "reasoning_thinking_start", 1143: "reasoning_thinking_end",
}  # fmt: skip
# the numbers from 0 up to 2048 that have no name are reserved: kind, first number, stop, counter of the first one
_LLAMA4_RESERVED = (
    ("text_post_train_", 10, 16, 0),
    ("text_post_train_", 19, 80, 8),
    ("vision_", 82, 1134, 0),
    ("reasoning_", 1134, 1142, 0),
    ("", 1144, 2048, 0),
)


def _llama4() -> dict[str, int]:
    names = dict(_LLAMA4_NAMES)
    for kind, first, stop, counter in _LLAMA4_RESERVED:
        unnamed = [number for number in range(first, stop) if number not in _LLAMA4_NAMES]
        names |= {number: f"{kind}reserved_special_token_{k}" for k, number in enumerate(unnamed, counter)}
    return {f"<|{name}|>": 200000 + number for number, name in sorted(names.items())}


@dataclass(frozen=True)
class Encoding:
    """A published encoding: the parts of a tokenizer that its rank file does not contain.

    Attributes:
        name: Its name.
        sha256: The sha256 of its ranks in tiktoken's format.
        pattern: The name of its pattern.
        special_tokens: Special token -> ID.
        normalization: As in Rules.
    """

    name: str
    sha256: str
    pattern: str
    special_tokens: Mapping[str, int] = field(repr=False)
    normalization: Literal["NFC"] | None = None


ENCODINGS = [
    Encoding(
        "r50k_base",
        "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        "r50k_base",
        {END_OF_TEXT: 50256},
    ),
    Encoding(
        "p50k_base",
        "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
        "r50k_base",
        {END_OF_TEXT: 50256},
    ),
    Encoding(
        "p50k_edit",
        "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
        "r50k_base",
        {END_OF_TEXT: 50256} | {token: 50281 + k for k, token in enumerate(FIM)},
    ),
    Encoding(
        "cl100k_base",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        "cl100k_base",
        {token: 100257 + k for k, token in enumerate((END_OF_TEXT, *FIM))} | {END_OF_PROMPT: 100276},
    ),
    Encoding("o200k_base", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d", "o200k_base", _O200K),
    Encoding(
        "o200k_harmony",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        "o200k_base",
        _O200K | _HARMONY,
    ),
    Encoding("llama3", "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55", "llama3", _LLAMA3),
    Encoding("llama4", "d0bdbaf59b0762c8c807617e2d8ea51420eb1b1de266df2495be755c8e0ed6ed", "o200k_base", _llama4()),
    Encoding(
        "qwen2",
        "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186",
        "qwen2",
        {token: 151643 + k for k, token in enumerate(_QWEN)},
        "NFC",
    ),
    Encoding(
        "qwen3.5",
        "8dde380a6405e935f5de16a99eb61c824f3f814dd1ed298784c72babb7a03cdd",
        "qwen3.5",
        {token: 248044 + k for k, token in enumerate(_QWEN35)},
        "NFC",
    ),
    Encoding(
        "kimi-k2",
        "b6c497a7469b33ced9c38afb1ad6e47f03f5e5dc05f15930799210ec050c5103",
        "kimi-k2",
        _KIMI_K2,
    ),
]
"""All published encodings. A file that several have in common is taken for the first of them."""


def find_encoding(sha256: str) -> Encoding | None:
    """Returns the first published encoding with these ranks, or None."""
    return next((encoding for encoding in ENCODINGS if encoding.sha256 == sha256), None)

"""Hostile tokenizers in all formats."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastlm
from tests.hostile_files import readers
from tests.hostile_files.readers import HostileFile, each


@functools.cache
def _tokenizer() -> fastlm.Tokenizer:
    return fastlm.Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")])


@functools.cache
def _saved() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        _tokenizer().save(folder, ["fastlm", "tokenizer.json", "gpt2", "tiktoken", "minbpe"])
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def good_json(**changes: Any) -> bytes:
    return json.dumps(json.loads(_saved()["tokenizer.json"]) | changes).encode()


def _model(**changes: Any) -> bytes:
    content = json.loads(_saved()["tokenizer.json"])
    return json.dumps(content | {"model": content["model"] | changes}).encode()


def _added(*tokens: dict[str, Any]) -> bytes:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return good_json(
        added_tokens=[plain | {"id": 300 + k, "content": f"<{k}>"} | token for k, token in enumerate(tokens)]
    )


def _tekken(ranks: int = 256, **config: Any) -> bytes:
    vocab = [{"rank": k, "token_bytes": base64.b64encode(bytes([k % 256])).decode()} for k in range(ranks)]
    settings = {"pattern": "a+", "default_vocab_size": 256, "default_num_special_tokens": 0} | config
    return json.dumps({"config": settings, "vocab": vocab}).encode()


def _minbpe(special: str, merges: str = "") -> bytes:
    return f"minbpe v1\n\n{special}\n{merges}".encode()


def _forged(change: Callable[[dict[str, Any]], Any]) -> bytes:
    """A tokenizer.fastlm with another header and the right checksum."""
    body = _saved()["tokenizer.fastlm"][:-32]
    end = 16 + int.from_bytes(body[8:16], "little")
    header = json.loads(body[16:end])
    change(header)
    encoded = json.dumps(header).encode()
    forged = body[:8] + len(encoded).to_bytes(8, "little") + encoded + body[end:]
    return forged + hashlib.sha256(forged).digest()


def tokenizer_files() -> list[HostileFile]:
    """Tokenizers in all formats."""
    spelled = json.loads(_saved()["vocab.json"])
    deep = b"[" * 100_000
    jsons = {
        "nested-arrays": deep,
        "nested-objects": b'{"a":' * 100_000,
        "cut-short": good_json()[:-40],
        "key-twice": b'{"model":{},"model":{}}',
        "not-a-number": b'{"version":NaN}',
        "digits": b'{"version":' + b"9" * 100_000 + b"}",
        "lone-surrogate": b'{"version":"\\ud800"}',
        "huge-id": _model(vocab=spelled | {"zz": 1 << 31}),
        "id-beyond-64-bits": _model(vocab=spelled | {"zz": 1 << 70}),
        "negative-id": _model(vocab=spelled | {"zz": -1}),
        "one-id-twice": _model(vocab=spelled | {"zz": 0}),
        "merge-of-nothing": _model(merges=["zz qq"]),
        "merges-of-numbers": _model(merges=[1, 2, 3]),
        "unigram": good_json(model={"type": "Unigram", "vocab": [["a", 0.0]]}),
        "added-token-far-away": _added({"id": 1 << 31}),
        "added-token-of-a-negative-id": _added({"id": -5}),
        "added-tokens-of-a-string": good_json(added_tokens="<a>" * 50_000),
        "added-token-of-100000-characters-without-an-id": _added({"id": None, "content": "<" * 100_000}),
        "expression-without-end": good_json(
            pre_tokenizer={"type": "Split", "pattern": {"Regex": "(" * 5000}, "behavior": "Isolated", "invert": False}
        ),
        "expression-of-many-repeats": good_json(
            pre_tokenizer={
                "type": "Split",
                "pattern": {"Regex": "a{1,999999999}"},
                "behavior": "Isolated",
                "invert": False,
            }
        ),
        "expression-with-recursion": good_json(
            pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a(?R)?b)"}, "behavior": "Isolated", "invert": False}
        ),
        "normalizers-in-normalizers": good_json(
            normalizer=functools.reduce(
                lambda inner, _: {"type": "Sequence", "normalizers": [inner]}, range(300), {"type": "NFC"}
            )
        ),
    }
    files = [
        HostileFile(f"json-{name}", readers.load_tokenizer, {"tokenizer.json": text}) for name, text in jsons.items()
    ]
    compat = {name: jsons[name] for name in ("digits", "nested-arrays", "cut-short", "normalizers-in-normalizers")}
    files += each("compat", readers.load_compat, "tokenizer.json", compat)
    tekken = {
        "special-tokens-10-million": _tekken(default_num_special_tokens=10**7, default_vocab_size=10**7),
        "special-tokens-beyond": _tekken(default_num_special_tokens=10**30, default_vocab_size=10**30),
        "vocab-size-10-million": _tekken(default_vocab_size=10**7),
        "negative-size": _tekken(default_vocab_size=-1),
        "token-twice": _tekken(ranks=300, default_vocab_size=300),
        "ranks-of-null": json.dumps(
            {"config": {"pattern": "a", "default_vocab_size": 1, "default_num_special_tokens": 0}, "vocab": [None]}
        ).encode(),
    }
    files += [
        HostileFile(f"tekken-{name}", readers.load_tokenizer, {"tekken.json": text}) for name, text in tekken.items()
    ]
    minbpe = {
        "special-tokens-10-million": _minbpe("10000000"),
        "number-of-digits": _minbpe("9" * 5000),
        "id-far-away": _minbpe(f"1\n<s> {1 << 31}"),
        "id-of-digits": _minbpe("1\n<s> " + "9" * 5000),
        "merge-doubles": _minbpe("0", "97 97\n" + "".join(f"{k} {k}\n" for k in range(256, 300))),
        "merge-of-later": _minbpe("0", "999 97\n"),
        "superscript": _minbpe("\u00b2"),
    }
    files += each("minbpe", readers.load_tokenizer, "x.model", minbpe)
    ranks = {
        "far-away": b"YQ== 4294967295\n",
        "digits": b"YQ== " + b"9" * 5000 + b"\n",
        "token-twice": b"YQ== 0\nYQ== 1\n",
        "no-base64": b"?? 0\n",
        "superscript": "YQ== \u00b2\n".encode(),
    }
    files += [
        HostileFile(f"ranks-{name}", readers.load_tokenizer, {"x.tiktoken": text}) for name, text in ranks.items()
    ]
    files += [
        HostileFile(f"tiktoken-{name}", readers.load_ranks, {"x.tiktoken": ranks[name]})
        for name in ("digits", "no-base64")
    ]
    merges, vocab = _saved()["merges.txt"], _saved()["vocab.json"]
    far = json.dumps(spelled | {"zz": 1 << 31}).encode()
    gpt2 = {
        "id-far-away": {"vocab.json": far, "merges.txt": merges},
        "list": {"vocab.json": b"[1]", "merges.txt": merges},
        "merge-of-one-line": {"merges.txt": b"a" * 1_000_000, "vocab.json": vocab},
        "merge-of-nothing": {"merges.txt": b"zz qq\n", "vocab.json": vocab},
    }
    files += [HostileFile(f"gpt2-{name}", readers.load_gpt2, contents, True) for name, contents in gpt2.items()]

    def entries(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
        return lambda header: header["entries"].update({name: value})

    native = {
        "entries-2-to-the-60": _forged(entries("token_bytes", 1 << 60)),
        "entries-negative": _forged(entries("merge_left", -1)),
        "entries-of-text": _forged(entries("merge_left", "1")),
        "header-of-an-array": _forged(lambda header: header.update(added_tokens=5)),
        "begin-far-away": _forged(lambda header: header["rules"].update(begin=[1 << 40])),
        "wrong-checksum": _saved()["tokenizer.fastlm"][:-1] + b"?",
        "header-beyond-the-file": b"fastlm\0\2" + (1 << 62).to_bytes(8, "little") + bytes(64),
        "empty": b"",
    }
    return files + each("native", readers.load_tokenizer, "tokenizer.fastlm", native)

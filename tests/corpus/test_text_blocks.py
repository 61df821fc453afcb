"""Texts in blocks: any division gives the pretokens of the whole, and errors say where they are."""

from collections import Counter
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.corpus import text_blocks
from fastlm.corpus.read import Blocks
from fastlm.pretokenize.patterns import find_pattern
from fastlm.pretokenize.text_splitter import TextSplitter, join_surrogates, segments_between
from tests import texts
from tests.reference import bpe

SPECIAL = ["<|endoftext|>", "<|", " x "]
SPLITTER = TextSplitter(SPECIAL, find_pattern("gpt2"))


def pretokens_of(segments: np.ndarray, text: bytes) -> list[bytes]:
    return [piece for start, end in segments.tolist() for piece in bpe.pretokens(bytes(text[start:end]).decode())]


def reference_pretokens(text: str) -> list[bytes]:
    stretches = bpe.split_special(text, SPECIAL)
    return [piece for stretch in stretches if stretch not in SPECIAL for piece in bpe.pretokens(stretch)]


documents = st.lists(st.one_of(texts.strings(20), st.sampled_from([*SPECIAL, "<|endof", "text|>", " x", "   "]))).map(
    "".join
)


@given(documents, documents)
def test_a_cut_text_has_the_pretokens_of_the_whole(text, more):
    encoded = text.encode()
    boundaries, cut = SPLITTER.partial_boundaries(encoded)
    rest = encoded[cut:] + more.encode()
    found = pretokens_of(segments_between(boundaries, cut), encoded)
    found += pretokens_of(segments_between(SPLITTER.boundaries(rest), len(rest)), rest)
    assert found == reference_pretokens(text + more)


@pytest.mark.parametrize("block_bytes", [8, 64, 1000])
def test_files_in_tiny_blocks(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", block_bytes)
    text = "<|endoftext|>".join(
        [*texts.DOCUMENTS[:6], *texts.DOCUMENTS[-2:], "a" * 3000, " " * 3000 + "'s", "中" * 999]
    )
    path = tmp_path / "text"
    path.write_text(text, "utf-8", newline="")
    found: list[bytes] = []
    for block in Blocks(path, SPLITTER):
        found += pretokens_of(block.segments, bytes(block.text))
        block.release()
    assert found == reference_pretokens(text)


def test_a_buffer_is_used_again_once_released(tmp_path, monkeypatch):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 100)
    path = tmp_path / "text"
    path.write_text("word " * 1000)
    free: SimpleQueue[bytearray] = SimpleQueue()
    buffers = set()
    with open(path, "rb", buffering=0) as file:
        for block in text_blocks.text_blocks(file, str(path), SPLITTER, free):
            buffers.add(id(block.text.obj))
            block.release()
    assert len(buffers) == 1


def test_documents_do_not_touch():
    found: Counter[bytes] = Counter()
    for block in Blocks(iter(["ab", b"cd", "<|endof", "text|>", "", "e"]), SPLITTER):
        found.update(pretokens_of(block.segments, block.text))
    assert found == Counter([b"ab", b"cd", b"endof", b"text", b"|>", b"e"])


def test_sources(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("bb")
    assert Blocks(str(tmp_path / "a"), SPLITTER).total_bytes == 1
    assert Blocks([tmp_path / "a", tmp_path / "b"], SPLITTER).total_bytes == 3
    assert Blocks(["text"], SPLITTER).total_bytes is None
    with pytest.raises(ValueError, match=r"give files as pathlib\.Path"):
        Blocks([str(tmp_path / "a")], SPLITTER)
    for wrong in (b"bytes", 3, None):
        with pytest.raises(TypeError, match="input must be a path or an iterable"):
            Blocks(wrong, SPLITTER)
    with pytest.raises(TypeError, match="document 1 must be str, bytes or a path, not int"):
        list(Blocks(["a", 1], SPLITTER))
    with pytest.raises(FileNotFoundError):
        Blocks([Path("no such file")], SPLITTER)
    with pytest.raises(FileNotFoundError):
        list(Blocks(iter([Path("no such file")]), SPLITTER))


def test_documents_keep_their_numbers_among_files(tmp_path):
    (tmp_path / "a").write_text("file text")
    source = ["first", tmp_path / "a", "third", b"fourth"]
    places = [block.location(0) for block in Blocks(source, SPLITTER)]
    assert places == ["document 0: byte 0", f"{tmp_path / 'a'}: byte 0", "document 2: byte 0"]


def test_surrogate_pairs_survive_chunks():
    assert "".join(join_surrogates(iter(["a\ud83d", "\ude00b", "\ud83d"]))) == "a\ud83d\ude00b\ud83d"
    assert all("\ud83d" not in part[-1:] for part in list(join_surrogates(iter(["a\ud83d", "\ude00b"]))))
    with pytest.raises(TypeError, match="chunks must be str, not bytes"):
        list(join_surrogates(iter([b"a"])))

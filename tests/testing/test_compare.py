"""Comparisons with tiktoken and tokenizers: ids, differences of each kind with their reasons, costs, the command."""

import itertools
import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastlm
from fastlm import cli
from fastlm.formats import tokenizer_json
from fastlm.normalizers import UnicodeForm
from fastlm.pretokenize.patterns import PATTERNS
from fastlm.testing import compare, markdown_of
from fastlm.testing.differences import Pair, smaller
from fastlm.testing.merges import Merge, merges_of, reasons, tokens_of
from fastlm.testing.peers import Peer, TokenizersPeer, peer_of
from fastlm.testing.trainers import compare_trainers, first_difference
from fastlm.vocabulary.vocabulary import AddedToken, Rules, vocabulary_from_tokens
from tests import texts
from tests.reference import bpe

tiktoken = pytest.importorskip("tiktoken", reason="it is compared with")
tokenizers = pytest.importorskip("tokenizers", reason="it is compared with")

DOCUMENTS = [*texts.DOCUMENTS, "with a special token<|end|> and `code` | <b>"]
VOCAB = {k: bytes([k]) for k in range(256)} | {256: b"ab", 257: b"bc", 258: b"cd"}
MERGES = [(b"a", b"b"), (b"b", b"c"), (b"c", b"d")]
AB, BC = "“a” + “b”", "“b” + “c”"


@pytest.fixture(scope="module")
def tokenizer():
    return fastlm.train_bpe(texts.DOCUMENTS, 600, ["<|end|>"])


def tokenizers_object(vocabulary, **changes):
    """A tokenizers.Tokenizer of a vocabulary, with changed parts of its tokenizer.json."""
    content = tokenizer_json.content_of(vocabulary)
    for name, value in changes.items():
        content[name] = value
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def only_difference(tokenizer, peer, text):
    """The difference in a text that is between texts without one."""
    found = compare(tokenizer, ["", "equal", text], peers=[peer], rounds=0)
    assert not found.equal
    assert [row.differing_texts for row in found.results] == [1]
    (difference,) = found.results[0].differences
    assert difference.text_index == 1  # empty documents are left out
    assert difference.ours == tokenizer.encode(difference.smallest)
    assert difference.ours != difference.theirs
    return difference


@pytest.mark.parametrize("on_special", ["token", "text"])
def test_equal_ids(tokenizer, on_special):
    found = compare(tokenizer, DOCUMENTS, on_special=on_special, rounds=1)
    assert found.equal
    assert [(row.library, row.differing_texts, row.differences) for row in found.results] == [
        ("tiktoken", 0, []),
        ("tokenizers", 0, []),
    ]
    assert found.skipped == {}
    assert found.texts == len(DOCUMENTS)
    assert found.text_bytes == found.sample_bytes == sum(len(text.encode()) for text in DOCUMENTS)
    assert found.ids == sum(len(tokenizer.encode(text, on_special=on_special)) for text in DOCUMENTS)
    for cost in (found.cost, *(row.cost for row in found.results)):
        assert cost.rounds == 1
        assert cost.wall_seconds > 0
        assert cost.memory_bytes > 0


def test_pretokens_differ():
    vocab = {k: bytes([k]) for k in range(256)} | {256: b"12", 257: b"123", 258: b"1234"}
    merges = [(b"1", b"2"), (b"12", b"3"), (b"123", b"4")]
    tokenizer, other = (fastlm.Tokenizer(vocab, merges, pattern=pattern) for pattern in ("gpt2", "llama3"))
    difference = only_difference(tokenizer, tokenizers_object(other.vocabulary), "about 12345 x")
    assert difference.kind == "pretokens"
    assert difference.smallest == "1234"
    assert (difference.our_pretokens, difference.their_pretokens) == (["1234"], ["123", "4"])
    assert difference.reasons == ["The pretokens differ: fastlm has 1 and tokenizers has 2."]
    page = markdown_of(compare(tokenizer, ["a 1234"], peers=[tokenizers_object(other.vocabulary)], rounds=0))
    assert "| pretokens | `1234` | `123` `4` |" in page


def test_merges_differ():
    tokenizer = fastlm.Tokenizer(VOCAB, MERGES)
    other = fastlm.Tokenizer(VOCAB, [MERGES[1], MERGES[2], MERGES[0]])
    difference = only_difference(tokenizer, tokenizers_object(other.vocabulary), "x abcd x")
    assert difference.smallest == "abc"
    assert difference.kind == "merges"
    assert difference.reasons == [
        "Both have the pretoken “abc”.",
        f"fastlm merges {AB} at rank 0. tokenizers has it at rank 2, but its merge of {BC} at rank 0 comes first.",
        f"tokenizers merges {BC} at rank 0. fastlm has it at rank 1, but its merge of {AB} at rank 0 comes first.",
    ]
    assert (difference.our_tokens, difference.their_tokens) == (["ab", "c"], ["a", "bc"])
    assert (difference.our_merges, difference.their_merges) == ([f"{AB} (rank 0)"], [f"{BC} (rank 0)"])
    assert difference.character == 2
    assert difference.around == "x abcd x"


def test_merges_are_missing_in_tiktoken():
    tokenizer = fastlm.Tokenizer(VOCAB, MERGES)
    ranks = {token: token_id for token_id, token in VOCAB.items() if token != b"ab"}
    encoding = tiktoken.Encoding("other", pat_str=PATTERNS["gpt2"].regex, mergeable_ranks=ranks, special_tokens={})
    difference = only_difference(tokenizer, encoding, "x ab x")
    assert difference.kind == "merges"
    assert difference.reasons[1] == "fastlm merges “a” + “b” at rank 0. tiktoken has no such merge."


def test_normalization_differs(tokenizer):
    v, rules = tokenizer.vocabulary, Rules(normalization=(UnicodeForm("NFC"),))
    composed = fastlm.Tokenizer.from_vocabulary(vocabulary_from_tokens(v.tokens, v.merges, [], v.pattern, rules))
    difference = only_difference(composed, tokenizers_object(composed.vocabulary, normalizer=None), "a cafe\u0301 x")
    assert difference.kind == "normalization"
    assert difference.smallest == "e\u0301"


def test_added_tokens_differ(tokenizer):
    content = tokenizers_object(tokenizer.vocabulary, added_tokens=[])
    difference = only_difference(tokenizer, content, "one two<|end|> three")
    assert difference.kind == "added tokens"
    assert difference.reasons == ["fastlm finds the added token '<|end|>' here, and tokenizers does not."]
    assert difference.smallest == "<|end|>"


class BrokenPeer(TokenizersPeer):
    """A library that raises for some texts, or gives ids that its merges do not make."""

    def __init__(self, tokenizer, fails):
        super().__init__(tokenizer, "a test")
        self.fails = fails

    def encode(self, given, on_special):
        if any(self.fails in text for text in given):
            raise OverflowError("too much of a text")
        return super().encode(given, on_special)


class WrongPeer(TokenizersPeer):
    def encode(self, given, on_special):
        return [[5] * len(text) for text in given]


def test_errors_and_wrong_ids_are_told_apart(tokenizer):
    pair = Pair(tokenizer, BrokenPeer(tokenizers_object(tokenizer.vocabulary), "the"), "token")
    assert pair.differing(["a", "of the x", "b"]) == [1]
    difference = pair.explained("of the x", 1)
    assert (difference.kind, difference.smallest, difference.theirs) == ("error", "the", [])
    assert difference.reasons == ["tokenizers raised OverflowError: too much of a text"]
    pair = Pair(tokenizer, WrongPeer(tokenizers_object(tokenizer.vocabulary), "a test"), "token")
    difference = pair.explained("the", 0)
    assert difference.kind == "ids"
    assert difference.reasons[0].startswith("Pretokens and merges are the same. The merges make ")


def test_ids_with_other_numbers():
    tokenizer = fastlm.Tokenizer(VOCAB, MERGES)
    ranks = {token: 400 - token_id for token_id, token in VOCAB.items() if len(token) == 1}
    ranks |= {token: 400 + token_id for token_id, token in VOCAB.items() if len(token) > 1}
    encoding = tiktoken.Encoding("other", pat_str=PATTERNS["gpt2"].regex, mergeable_ranks=ranks, special_tokens={})
    (difference,) = compare(tokenizer, ["ab"], peers=[encoding], rounds=0).results[0].differences
    assert (difference.kind, difference.smallest) == ("ids", "b")
    assert difference.reasons == [
        "The tokens are the same, with other ids: “b” has id 98 in fastlm and 302 in tiktoken."
    ]
    assert difference.our_tokens == difference.their_tokens == ["b"]


def test_a_vocabulary_that_a_library_cannot_hold_is_skipped_with_the_reason(tokenizer):
    v = tokenizer.vocabulary
    stripping = vocabulary_from_tokens(v.tokens, v.merges, [AddedToken("<|end|>", 0, lstrip=True)], v.pattern)
    found = compare(fastlm.Tokenizer.from_vocabulary(stripping), ["a <|end|>"], rounds=0)
    assert found.skipped == {"tiktoken": "tiktoken has no options of added tokens"}
    assert [row.library for row in found.results] == ["tokenizers"]
    with pytest.raises(ValueError, match="there is no library to compare with: tiktoken: tiktoken has no options"):
        compare(fastlm.Tokenizer.from_vocabulary(stripping), ["a"], peers=["tiktoken"])


def test_bad_arguments(tokenizer):
    with pytest.raises(
        TypeError, match=r"a peer must be a name, a tiktoken.Encoding or a tokenizers.Tokenizer, got dict"
    ):
        compare(tokenizer, ["a"], peers=[{}])
    with pytest.raises(ValueError, match="library must be one of tiktoken, tokenizers, got 'rust'"):
        compare(tokenizer, ["a"], peers=["rust"])
    with pytest.raises(ValueError, match="the input holds no text"):
        compare(tokenizer, ["", ""])
    with pytest.raises(ValueError, match="there is no library to compare with: peers is empty"):
        compare(tokenizer, ["a"], peers=[])


def test_a_limit_of_bytes(tokenizer):
    found = compare(tokenizer, ["é" * 100, "b" * 100], limit_bytes=251, rounds=0)
    assert (found.texts, found.text_bytes) == (2, 251)
    found = compare(tokenizer, ["é" * 100], limit_bytes=151, rounds=0)
    assert found.text_bytes == 150  # no half of a character


def test_peers_read_the_file_of_the_tokenizer(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "all", formats=["tokenizer.json"])
    found = compare(tmp_path / "all", DOCUMENTS, rounds=0)
    assert found.equal
    assert [row.source for row in found.results] == ["the ranks of the vocabulary", "the same file, tokenizer.json"]
    tokenizer.save(tmp_path / "ranks", formats=["tiktoken"])
    (file,) = (tmp_path / "ranks").iterdir()
    found = compare(file, DOCUMENTS, rounds=0, peers=["tiktoken"], pattern="gpt2")
    assert found.equal
    assert [row.source for row in found.results] == ["the same file, tokenizer.tiktoken"]
    tokenizer.save(tmp_path / "native")
    found = compare(tmp_path / "native", DOCUMENTS, rounds=0)
    assert [row.source for row in found.results][1] == "a tokenizer.json of the vocabulary"


@pytest.mark.parametrize("library", ["tiktoken", "tokenizers"])
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k_base", "o200k_base", "starcoder", "deepseek-v3"])
def test_pretokens_of_peers(pattern, library):
    tokenizer = fastlm.train_bpe(texts.DOCUMENTS, 300, pattern=pattern)
    if library == "tiktoken" and len(PATTERNS[pattern].splits) > 1:
        pytest.skip("tiktoken splits by one expression")
    peer = peer_of(library, tokenizer, None)
    assert isinstance(peer, Peer)
    for text in ["it's 12345 of them\n\n  x ", "Grüße, 你好 !!", " "]:
        ends = [0, *tokenizer.vocabulary.pattern.find_ends(text.encode()).tolist()]
        assert peer.pretokens(text) == [text.encode()[a:b] for a, b in itertools.pairwise(ends)]


@given(st.text("abc", max_size=12), st.permutations(["ab", "bc", "ca", "aa", "abc", "bcab"]))
def test_merges_are_those_of_the_definition(text, order):
    rank_of = {}
    for token in order:
        for cut in range(1, len(token)):
            rank_of.setdefault((token[:cut].encode(), token[cut:].encode()), len(rank_of))
    made = merges_of(text.encode(), lambda left, right: rank_of.get((left, right)))
    assert tokens_of(text.encode(), made) == bpe.merge(text.encode(), rank_of) if text else made == []


def test_merges_that_cross():
    merge = Merge(2, b"a", b"b", 0)
    assert merge.crosses(Merge(1, b"x", b"a", 0))
    assert merge.crosses(Merge(3, b"b", b"x", 0))
    assert not merge.crosses(Merge(0, b"x", b"y", 0))
    assert not merge.crosses(Merge(1, b"xa", b"bx", 0))
    assert reasons(b"ab", ("one", lambda *_: 1), ("other", lambda *_: 2)) == []


@given(st.text("ab ", max_size=300), st.text("ab ", min_size=1, max_size=3), st.integers(0, 300))
def test_the_smallest_text_still_differs(text, cause, place):
    whole = text[:place] + cause + text[place:]
    found = smaller(whole, min(place, len(text)), lambda part: cause in part)
    assert found == cause


def test_trainers_agree():
    result = compare_trainers(texts.DOCUMENTS, 700, PATTERNS["gpt2"])
    assert (result.library, result.difference) == ("tokenizers", None)
    assert result.our_merges == result.their_merges == 444
    found = compare(fastlm.Tokenizer(VOCAB, MERGES), texts.DOCUMENTS, rounds=0, train=300)
    assert found.equal
    assert "All 44 merges are equal." in markdown_of(found)


def naive_counts(documents, merges):
    counts = Counter()
    for document in documents:
        for pretoken in bpe.pretokens(document):
            word = tuple(bytes([byte]) for byte in pretoken)
            for merge in merges:
                word = bpe.apply_merge(word, merge)
            counts.update(itertools.pairwise(word))
    return counts


@given(st.lists(st.text("ab c", max_size=15), min_size=1, max_size=6), st.integers(0, 6), st.data())
def test_the_first_merge_that_differs_has_both_counts(documents, shared, data):
    merges = bpe.train(documents, 256 + 10)[1]
    shared = min(shared, len(merges))
    counts = naive_counts(documents, merges[:shared])
    pairs = [None, *sorted(counts)]
    ours, theirs = (data.draw(st.sampled_from(pairs)) for _ in range(2))
    lists = [merges[:shared] + ([pair] if pair else []) for pair in (ours, theirs)]
    found = first_difference(documents, PATTERNS["gpt2"], *lists)
    if ours == theirs:
        assert found is None
        return
    assert found.index == shared
    assert found.our_count == (counts[ours] if ours else 0)
    assert found.their_count == (counts[theirs] if theirs else 0)
    if ours and theirs and counts[ours] == counts[theirs]:
        assert found.reason.endswith("The counts are equal, so the rules for ties differ.")


def test_ties_are_told_apart_from_wrong_counts():
    documents = ["ab ab cd"]
    found = first_difference(documents, PATTERNS["gpt2"], [(b"a", b"b")], [(b"c", b"d")], "other")
    assert (found.ours, found.theirs, found.our_count, found.their_count) == (("61", "62"), ("63", "64"), 2, 1)
    assert found.reason == (
        "fastlm merges “a” + “b”, which occurs 2 times; other merges “c” + “d”, which occurs 1 times. "
        "The pair of other is not the most frequent one."
    )


def test_markdown_is_inert(tokenizer, tmp_path):
    peer = tokenizers_object(tokenizer.vocabulary, added_tokens=[])
    found = compare(tokenizer, ["`a` | <img src=x> \x1b[31m<|end|>"], peers=[peer], rounds=0)
    page = markdown_of(found)
    assert "\x1b" not in page
    for line in page.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (4, 7), line
    outside = re.sub(r"(`+).+?\1", "", page)
    assert "<img" not in outside
    assert json.loads(json.dumps(found.to_json()))["equal"] is False


def test_long_texts_are_shortened(tokenizer):
    peer = BrokenPeer(tokenizers_object(tokenizer.vocabulary), "x" * 500)
    difference = Pair(tokenizer, peer, "token").explained("a " + "x" * 600, 0)
    assert difference.smallest == "x" * 500
    found = compare(tokenizer, ["a"], peers=["tokenizers"], rounds=0)
    page = markdown_of(replace(found, results=[replace(found.results[0], differences=[difference])]))
    assert f"Smallest text found: `{'x' * 200}… (500 characters)`" in page
    assert max(map(len, page.splitlines())) < 2000


def test_the_command(tokenizer, tmp_path, capsys):
    tokenizer.save(tmp_path / "tokenizer")
    corpus = tmp_path / "texts.jsonl"
    corpus.write_text("".join(json.dumps({"body": text}) + "\n" for text in DOCUMENTS), "utf-8")
    arguments = ["check", str(tmp_path / "tokenizer"), str(corpus), "--field", "body"]
    assert cli.main([*arguments, "--rounds", "1"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("### fastlm check: `")
    assert f"All ids are equal. {len(DOCUMENTS)} texts, " in page
    assert (
        f"| tokenizers {tokenizers.__version__} | a tokenizer.json of the vocabulary | 0 of {len(DOCUMENTS)} | " in page
    )
    out = tmp_path / "check.json"
    options = ["--json", "--out", str(out), "--peer", "tiktoken", "--rounds", "0", "--train", "270"]
    assert cli.main([*arguments, *options]) == 0
    assert capsys.readouterr().out == ""
    found = json.loads(out.read_text())
    assert [row["library"] for row in found["results"]] == ["tiktoken"]
    assert found["training"][0]["difference"] is None


def test_the_exit_code_is_1_where_ids_differ(tokenizer, tmp_path, capsys):
    """tokenizers numbers added tokens itself, so the id of a file with a hole is another one."""
    content = tokenizer_json.content_of(tokenizer.vocabulary)
    content["added_tokens"] += [content["added_tokens"][0] | {"id": 700, "content": "<|late|>"}]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    (tmp_path / "text").write_text("one two<|late|> three", "utf-8")
    arguments = ["check", str(tmp_path / "tokenizer.json"), str(tmp_path / "text"), "--rounds", "0"]
    assert cli.main([*arguments, "--peer", "tokenizers"]) == 1
    captured = capsys.readouterr()
    assert "**Ids differ.**" in captured.out
    assert "has id 700 in fastlm and 600 in tokenizers" in captured.out
    assert captured.err == "fastlm: fastlm differs from tokenizers in 1 texts\n"


def test_bad_options_are_one_line(tokenizer, tmp_path, capsys):
    tokenizer.save(tmp_path / "tokenizer")
    (tmp_path / "text").write_text("text")
    assert cli.main(["check", str(tmp_path / "tokenizer"), str(tmp_path / "text"), "--limit-mb", "0"]) == 1
    assert capsys.readouterr().err == "fastlm: --limit-mb must be at least 1 and --rounds at least 0, got 0 and 5\n"
    assert cli.main(["check", str(tmp_path / "tokenizer"), str(tmp_path / "missing"), "--rounds", "0"]) == 1
    assert "missing" in capsys.readouterr().err

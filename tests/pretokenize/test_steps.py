"""Steps of pre-tokenizers: each against tokenizers, and splits against a reference that reads one segment at a time."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.formats.tokenizer_json.pre_tokenizers import parse_pre_tokenizer, splitting_of, steps_of
from fastlm.pretokenize import _scan
from fastlm.pretokenize.oniguruma.expression import compile_expression
from fastlm.pretokenize.steps.pieces import Pieces
from fastlm.pretokenize.steps.segments import segments_of_chars, segments_of_matches, split
from fastlm.pretokenize.steps.step_pattern import StepPattern, run_steps
from fastlm.pretokenize.steps.steps import BEHAVIORS
from tests.random_tokenizers import PRE_TOKENIZERS, SAMPLES, tokenizers


@given(st.lists(PRE_TOKENIZERS, min_size=1, max_size=4), SAMPLES)
def test_sequences_split_as_in_tokenizers(contents, text):
    content = {"type": "Sequence", "pretokenizers": contents}
    spec = json.loads(tokenizers.Tokenizer(tokenizers.models.BPE()).to_str()) | {"pre_tokenizer": content}
    expected = tokenizers.Tokenizer.from_str(json.dumps(spec)).pre_tokenizer.pre_tokenize_str(text)
    pieces = run_steps(steps_of(parse_pre_tokenizer(content)), text, np.arange(len(text)))
    made, origins = pieces.text(), pieces.origins.tolist()
    bounds = zip(pieces.starts.tolist(), pieces.ends.tolist(), strict=True)
    assert [(made[a:b], (origins[a], origins[b - 1] + 1)) for a, b in bounds] == expected


def reference(pieces, segments, behavior, invert):
    """The pieces that remain, as (start, end): one segment after the other, as tokenizers describes the behaviors."""
    found, previous, last_piece = [], False, -1
    rows = list(zip(*(column.tolist() for column in segments), strict=True))
    if behavior == "merged_with_next":
        rows.reverse()
    for start, end, is_match, piece in rows:
        is_match = is_match != invert
        if piece != last_piece:
            previous, last_piece, mergeable = False, piece, False
        joins = {
            "isolated": False,
            "removed": False,
            "contiguous": is_match == previous,
            "merged_with_previous": is_match and not previous,
            "merged_with_next": is_match and not previous,
        }[behavior]
        if joins and mergeable:
            first, last = found.pop()
            found.append((min(first, start), max(last, end)))
        elif not (behavior == "removed" and is_match):
            found.append((start, end))
        previous, mergeable = is_match, True
    return sorted((start, end) for start, end in found if start < end)


@given(
    st.lists(st.text("ab1 ", min_size=1, max_size=6), max_size=5),
    st.sampled_from(["a", "x*", "$", "^", "a+|1", "(?<=a)", "[ab]{2}", "(?=b)"]),
    st.sampled_from(BEHAVIORS),
    st.booleans(),
)
def test_splits_are_those_of_the_reference(texts, expression, behavior, invert):
    text = "".join(texts)
    ends = np.cumsum([len(piece) for piece in texts], dtype=np.int64)
    pieces = Pieces.of_text(text, np.arange(len(text)))._replace(ends=ends)
    counts = np.zeros(len(ends), np.int64)
    matches = compile_expression(expression).find_all(text.encode(), ends, counts=counts)
    per_piece = [len(compile_expression(expression).find_all(piece.encode())) for piece in texts]
    assert counts.tolist() == per_piece
    is_match = np.array([char in "1 " for char in text], bool)
    for segments in (segments_of_matches(pieces, matches, counts), segments_of_chars(pieces, is_match)):
        found = split(pieces, segments, behavior, invert)
        origins = found.origins.tolist()
        bounds = zip(found.starts.tolist(), found.ends.tolist(), strict=True)
        assert [(origins[a], origins[b - 1] + 1) for a, b in bounds] == reference(pieces, segments, behavior, invert)


@given(st.lists(st.text(min_size=1, max_size=8), max_size=6), st.sampled_from(_scan.SCANNERS))
def test_pieces_are_scanned_as_if_each_were_a_text(texts, scanner):
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    expected, at = [], 0
    for text in encoded:
        expected += (at + _scan.pretoken_ends(text, scanner)).tolist()
        at += len(text)
    assert _scan.pretoken_ends_in_pieces(b"".join(encoded), ends, scanner).tolist() == expected


def test_many_pieces_and_long_pieces_are_scanned():
    text = ("a b " * 5000 + "c") * 3
    ends = np.array([1, 2, 3, *range(1000, len(text), 1000), len(text)])
    encoded = text.encode()
    expected = np.concatenate(
        [
            start + _scan.pretoken_ends(encoded[start:end], "gpt2")
            for start, end in zip([0, *ends.tolist()], ends.tolist(), strict=False)
        ]
    )
    assert _scan.pretoken_ends_in_pieces(encoded, ends, "gpt2").tolist() == expected.tolist()


@pytest.mark.parametrize("ends", [[], [2], [4, 3], [3, 3], [0, 3], [-1, 3]])
def test_ends_that_are_not_the_ends_of_pieces_are_refused(ends):
    with pytest.raises(ValueError, match="ends must ascend to 3"):
        _scan.pretoken_ends_in_pieces(b"abc", np.array(ends, np.int64), "gpt2")


def test_bytes_that_are_not_utf8_are_refused():
    with pytest.raises(_scan.InvalidUTF8Error, match="byte 2 "):
        _scan.pretoken_ends_in_pieces(b"ab\xffc", np.array([1, 4]), "gpt2")


def test_counts_must_fit_the_pieces():
    with pytest.raises(ValueError, match="counts must have 1 entries, got 2"):
        compile_expression("a").find_all(b"a", counts=np.zeros(2, np.int64))


def pattern_of(*contents):
    return splitting_of(parse_pre_tokenizer({"type": "Sequence", "pretokenizers": list(contents)}))


def test_sequences_with_a_scanner_keep_it():
    digits, plain = {"type": "Digits", "individual_digits": True}, {"type": "ByteLevel", "add_prefix_space": False}
    plain |= {"trim_offsets": True}
    assert pattern_of(plain)[1].name == "gpt2"
    assert pattern_of(digits, plain)[1].name == "starcoder"
    assert not isinstance(pattern_of(digits, plain)[1], StepPattern)
    assert pattern_of(plain | {"add_prefix_space": True}) == (True, pattern_of(plain)[1])
    prefix, pattern = pattern_of(digits, plain | {"add_prefix_space": True})
    assert not prefix
    assert isinstance(pattern, StepPattern)


def test_options_without_effect_change_no_pattern():
    punctuation = {"type": "Punctuation", "behavior": "Isolated"}
    one, other = (
        pattern_of(punctuation, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": trim})
        for trim in (True, False)
    )
    assert one == other
    split_at = {"type": "Split", "pattern": {"String": "a"}, "behavior": "Contiguous"}
    assert pattern_of(split_at | {"invert": True}) == pattern_of(split_at | {"invert": False})
    assert pattern_of(punctuation) != pattern_of(punctuation | {"behavior": "Removed"})


def test_a_pattern_of_steps_is_no_text():
    _, pattern = pattern_of({"type": "Whitespace"})
    for call in (pattern.check_is_text, lambda: pattern.specification):
        with pytest.raises(ValueError, match="the format cannot hold the pre-tokenizer Whitespace"):
            call()

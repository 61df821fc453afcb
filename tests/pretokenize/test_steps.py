"""Steps of pre-tokenizers: each against tokenizers, and splits against a reference that reads one segment at a time."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.formats.tokenizer_json.pre_tokenizers import parse_pre_tokenizer, splitting_of, steps_of
from fastlm.pretokenize import _scan
from fastlm.pretokenize.oniguruma.expression import compile_expression
from fastlm.pretokenize.steps import _split
from fastlm.pretokenize.steps.step_pattern import StepPattern, run_steps
from fastlm.pretokenize.steps.steps import BEHAVIORS, _members
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


def segments_of(piece, matches):
    """(start, end, whether it is a match) of the matches in a piece and of the text between them."""
    found, done = [], 0
    for start, end in matches:
        found += [(done, start, False)] * (done < start) + [(start, end, True)]
        done = end
    return found + [(done, len(piece), False)] * (done < len(piece))


def joins(behavior, previous, is_match):
    """Whether a segment is a part of the piece of the segment before."""
    return {
        "isolated": False,
        "contiguous": previous == is_match,
        "merged_with_previous": is_match and not previous,
        "merged_with_next": previous and not is_match,
    }[behavior]


def reference(piece, matches, behavior, invert):
    """The pieces that a piece becomes, one segment after the other."""
    found, previous = [], None
    for start, end, matched in segments_of(piece, matches):
        is_match = matched != invert
        if behavior == "removed":
            found += [piece[start:end]] * (not is_match)
        elif previous is not None and joins(behavior, previous, is_match):
            found[-1] += piece[start:end]
        else:
            found.append(piece[start:end])
        previous = is_match
    return [text for text in found if text]


PIECES = st.lists(st.text("ab1 é日", min_size=1, max_size=6), max_size=5)


def strings(chars, found):
    """The pieces that a split has made."""
    ends, keep = found
    text = "".join(map(chr, chars if keep is None else chars[keep]))
    return [text[start:end] for start, end in zip([0, *ends.tolist()], ends.tolist(), strict=False)]


@given(PIECES, st.sampled_from(BEHAVIORS), st.booleans())
def test_characters_split_as_in_the_reference(texts, behavior, invert):
    chars = np.array([ord(char) for text in texts for char in text], np.uint32)
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    found = _split.split_chars(chars, ends, _members("numeric") | _members("whitespace"), behavior, invert)
    expected = [
        piece
        for text in texts
        for piece in reference(text, [(k, k + 1) for k, char in enumerate(text) if char in "1 "], behavior, invert)
    ]
    assert strings(chars, found) == expected


@given(
    PIECES,
    st.sampled_from(["a", "x*", "$", "^", "a+|1", "(?<=a)", "[ab]{2}", "(?=b)", "é|日"]),
    st.sampled_from(BEHAVIORS),
    st.booleans(),
)
def test_matches_split_as_in_the_reference(texts, expression, behavior, invert):
    chars = np.array([ord(char) for text in texts for char in text], np.uint32)
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    encoded, offsets = _split.utf8_and_offsets(chars)
    assert encoded == "".join(texts).encode()
    counts, compiled = np.zeros(len(ends), np.int64), compile_expression(expression)
    matches = compiled.find_all(encoded, offsets[ends], counts=counts)
    alone = [compiled.find_all(text.encode()).tolist() for text in texts]
    assert counts.tolist() == list(map(len, alone))
    found = _split.split_matches(offsets, ends, matches, counts, behavior, invert)
    expected = []
    for text, bounds in zip(texts, alone, strict=True):
        in_characters = [tuple(len(text.encode()[:bound].decode()) for bound in pair) for pair in bounds]
        expected += reference(text, in_characters, behavior, invert)
    assert strings(chars, found) == expected


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_utf8_is_that_of_python(text):
    chars = np.frombuffer(text.encode("utf-32-le"), "<u4")
    encoded, offsets = _split.utf8_and_offsets(chars)
    assert encoded == text.encode()
    assert offsets.tolist() == [len(text[:k].encode()) for k in range(len(text) + 1)]


def test_arguments_of_the_loops_are_checked():
    none, one = np.zeros(0, np.int64), np.ones(1, np.int64)
    with pytest.raises(ValueError, match="expected counts of 1 pieces with 0 matches"):
        _split.split_matches(np.arange(2), one, none.reshape(0, 2), one, "removed")
    with pytest.raises(ValueError, match="known must have 256 entries, got 3"):
        _split.known_bytes(np.zeros(1, np.uint32), one, np.zeros(4, np.int16), np.ones(3, bool))
    with pytest.raises(ValueError, match=r"behavior must be one of removed, .*, got 'nothing'"):
        _split.split_chars(np.zeros(1, np.uint32), one, _members("word"), "nothing")
    with pytest.raises(ValueError, match="an entry for each of 1114112 code points, got 2"):
        _split.split_chars(np.zeros(1, np.uint32), one, np.zeros(2, np.uint8), "removed")
    with pytest.raises(ValueError, match="ends must ascend, and be in the text"):
        compile_expression("a").find_all(b"abc", np.array([2, 1]))


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

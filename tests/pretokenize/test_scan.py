"""The scanners against the regular expression they stand for."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.pretokenize import _scan, patterns
from tests import texts
from tests.reference import bpe

ISAS = _scan.supported_isas()
tiktoken = pytest.importorskip("tiktoken", reason="tiktoken judges the splits")


def ends(pieces: list[bytes]) -> list[int]:
    return list(itertools.accumulate(map(len, pieces)))


NAMED = sorted(patterns.PATTERNS)
# white space of all kinds and one of each kind of character that it meets
BLANKS = ["\n", "\r", " ", "\t", "\u3000", "a", "!", "1", "'s", "'", "é", "、", "/", "A", "中", "\u0301", "\x00"]


def split(text: str, name: str) -> list[bytes]:
    return bpe.pretokens(text, patterns.PATTERNS[name].splits)


def first_refused(encoded: bytes) -> int | None:
    """Where Python finds the first bytes that are not UTF-8."""
    try:
        encoded.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


def scan(text: str, name: str, isa: str) -> list[int]:
    return _scan.pretoken_ends(text.encode(), patterns.PATTERNS[name].scanner, isa).tolist()


def assert_splits(text: str, name: str) -> None:
    """With each instruction set as the regular expression, which takes most of the time."""
    expected = ends(split(text, name))
    for isa in ISAS:
        assert scan(text, name, isa) == expected, (isa, name, text)


@given(st.lists(texts.strings(), min_size=10, max_size=10))
def test_splits_as_the_regular_expression(strings):
    for text in strings:
        for name in NAMED:
            assert_splits(text, name)


@given(st.lists(st.sampled_from(BLANKS), max_size=200).map("".join))
def test_splits_blanks_and_newlines_as_the_regular_expression(text):
    for name in NAMED:
        assert_splits(text, name)


# the first and last characters of the pages of 64 that scripts have in UTF-8, and of what scanners tell by ranges
SCRIPTS = [
    "éàüñß×÷ŵſ",
    "ПриветмирѐӁ҂҃",
    "Ελλάδαͺ΄ἀᾳ",
    "Հայերեն֊",
    "ᎠᏴꭰ",
    "שלוםְ־مرحبا٣،ۀ",
    "हिन्दी।१",
    "தமிழ்",
    "ไทย๑ฯ",
    "ひらがなカタカナ・゛ー、。「」぀゙",
    "漢字䶿一丿侀鿿龥龦々〇㐀",
    "한국어가힣ꯍ힣퟿ꯀ",
    "“”‘’—… 　 ",
    "😀👩‍👧🇩🇪𝟘𝐀𐍈𠀀􏿿",
    "  \n",
    "aA1 '!",
]


@given(
    st.lists(
        st.sampled_from(SCRIPTS).flatmap(lambda script: st.text(st.sampled_from(script), min_size=1, max_size=40)),
        max_size=8,
    ).map("".join)
)
def test_splits_runs_of_scripts_as_the_regular_expression(text):
    for name in NAMED:
        assert_splits(text, name)


@pytest.mark.parametrize("scanner", _scan.SCANNERS)
@pytest.mark.parametrize("between", ["", "a", " ", "b c de fgh ij klmno"])
def test_instruction_sets_agree_on_every_scalar(scanner, between):
    """Many characters above U+007F in a block, and few; after each other, and each alone."""
    everything = [chr(cp) for cp in range(0x110000) if not 0xD800 <= cp <= 0xDFFF]
    text = between.join(everything if len(between) < 2 else everything[:0x20000]).encode()
    expected = _scan.pretoken_ends(text, scanner, ISAS[0])
    for isa in ISAS[1:]:
        np.testing.assert_array_equal(_scan.pretoken_ends(text, scanner, isa), expected)


@pytest.mark.parametrize("offset", [0, 1, 2, 3, 31, 32, 61, 62, 63, 64, 65, 127, 130])
def test_block_edges(offset):
    """Everything the splits look back or ahead for, at each distance from the edge of a block of 64 bytes."""
    more = [
        "'ll ",
        "   x",
        "\u3000\u3000x",
        "\u3000 x",
        " \u3000",
        "a'll",
        "é's",
        "中文",
        "😀 '",
        "!\n\n x",
        "\n  \n x",
        "12345",
        "、a",
    ]
    for piece in [*texts.PIECES, *more]:
        for filler in ("a", " ", "é", "1", "\u3000", "\n", "!", "A", "中"):
            text = (filler * 140).encode()[:offset].decode(errors="ignore") + piece + "b c'd  e"
            for name in NAMED:
                assert_splits(text, name)


def test_every_scalar_has_the_class_that_tiktoken_gives_it():
    """Class by class: tiktoken drops what a pattern does not match, so what is left of all scalars is the class."""
    scalars = [chr(cp) for cp in range(0x110000) if not 0xD800 <= cp <= 0xDFFF]
    byte_ranks = {bytes([b]): b for b in range(256)}
    expected = {}
    for name, pattern in (("letter", r"\p{L}"), ("number", r"\p{N}"), ("space", r"\s")):
        encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=byte_ranks, special_tokens={})
        for start in range(0, len(scalars), 4096):
            kept = encoding.decode(encoding.encode_ordinary("".join(scalars[start : start + 4096])))
            expected.update(dict.fromkeys(kept, name))
    for start in range(0, len(scalars), 4096):
        some = scalars[start : start + 4096]
        # a letter goes on after "a" and a number after "1"; white space does not go on after "!", as others do
        goes_on = {before: joined(before, some) for before in "a1!"}
        for char, letter, number, other in zip(some, *goes_on.values(), strict=True):
            found = {(True, False): "letter", (False, True): "number"}.get((letter, number))
            if found is None:
                found = None if other else "space"
            assert found == expected.get(char), f"U+{ord(char):04X}"


def joined(before: str, chars: list[str]) -> list[bool]:
    """Whether each character, between `before` and ";", is in one pretoken with `before`."""
    parts = [f"{before}{char};".encode() for char in chars]
    starts = np.cumsum([0, *map(len, parts)])[:-1]
    return (~np.isin(starts + 1, _scan.pretoken_ends(b"".join(parts), "gpt2"))).tolist()


@pytest.mark.parametrize("name", NAMED)
def test_a_long_text(name):
    """More pretokens than one call of a scanner writes, with all that interrupts the masks."""
    text = "".join(itertools.chain.from_iterable(itertools.product(texts.PIECES, repeat=2)))
    expected = ends(split(text, name))
    assert len(expected) > 2 * _scan.BLOCK_ENDS
    for isa in ISAS:
        assert scan(text, name, isa) == expected


@pytest.mark.parametrize("isa", ISAS)
def test_numbers_that_only_tokenizers_digits_knows(isa):
    """Where numbers of Unicode 17 stand alone, and where they are other characters as in the expressions' Unicode."""
    for char in "\U00011de0\U00011de9\U00016ff4\U00016ff6":
        text = f"a  {char}{char}!\n {char}"
        assert scan(text, "starcoder", isa) == [1, 3, 7, 11, 12, 14, 18]
        assert scan(text, "gpt2-digits", isa) == [1, 2, 12, 13, 18]
        for limit in range(len(text.encode())):
            cut = _scan.safe_start(text.encode(), limit, "starcoder")
            assert cut in {0, 1, 3, 7, 11, 12, 14}


@pytest.mark.parametrize("name", NAMED)
@given(texts.strings(80), texts.strings(20), st.floats(0, 1))
def test_a_cut_at_a_safe_start_changes_nothing_whatever_follows(name, text, more, where):
    encoded = text.encode()
    cut = _scan.safe_start(encoded, int(where * len(encoded)), patterns.PATTERNS[name].scanner)
    if cut:
        halves = encoded[:cut].decode(), encoded[cut:].decode() + more
        assert split(halves[0], name) + split(halves[1], name) == split(text + more, name)


@pytest.mark.parametrize("scanner", _scan.SCANNERS)
def test_prose_has_safe_starts_near_its_end(scanner):
    text = texts.DOCUMENTS[0].encode()
    assert _scan.safe_start(text, len(text), scanner) > len(text) - 100


NOT_UTF8 = [b"\xff", b"\x80", b"\xc0\xaf", b"\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98"]


@pytest.mark.parametrize("scanner", _scan.SCANNERS)
@pytest.mark.parametrize("isa", ISAS)
def test_bytes_that_are_not_utf8_are_refused_with_their_offset(scanner, isa):
    for bad, before, after in itertools.product(NOT_UTF8, (0, 1, 62, 63, 64, 200), (b"", b"x" * 100)):
        text = b"x" * before + bad + after
        with pytest.raises(_scan.InvalidUTF8Error, match="not well-formed UTF-8") as caught:
            _scan.pretoken_ends(text, scanner, isa)
        assert caught.value.offset == before, text


@pytest.mark.parametrize("isa", ISAS)
@given(
    st.lists(st.sampled_from(SCRIPTS), max_size=12).map("".join),
    st.one_of(
        st.binary(max_size=3), st.sampled_from([b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xf0\x8f\xbf\xbf", b"\xc1\xbf"])
    ),
    st.floats(0, 1),
    st.integers(0, 3),
)
def test_damaged_text_is_refused_where_python_refuses_it(isa, text, bad, where, removed):
    encoded = text.encode()
    at = int(where * len(encoded))
    damaged = encoded[:at] + bad + encoded[at + removed :]
    for candidate in (damaged, damaged[: at + len(bad)]):
        refused = first_refused(candidate)
        for scanner in _scan.SCANNERS:
            if refused is None:
                assert _scan.pretoken_ends(candidate, scanner, isa)[-1:].sum() == len(candidate)
                continue
            with pytest.raises(_scan.InvalidUTF8Error) as caught:
                _scan.pretoken_ends(candidate, scanner, isa)
            assert caught.value.offset == refused, scanner


@pytest.mark.parametrize("scanner", _scan.SCANNERS)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("character", ["é", "中", "한", "क", "😀"])
def test_a_character_cut_short_by_the_end_of_the_text(scanner, isa, character):
    encoded = character.encode()
    for length in range(1, len(encoded)):
        for count in range(1, 130 // len(encoded)):
            text = encoded * count + encoded[:length]
            for before in range(len(encoded)):
                with pytest.raises(_scan.InvalidUTF8Error) as caught:
                    _scan.pretoken_ends(b"a" * before + text, scanner, isa)
                assert caught.value.offset == before + len(encoded) * count


def test_arguments():
    assert _scan.pretoken_ends(b"", "gpt2").tolist() == []
    assert _scan.safe_start(b"a b", 3, "gpt2") == 0
    read_only = np.frombuffer(b"a b", np.uint8)
    assert _scan.pretoken_ends(read_only, "gpt2").tolist() == [1, 3]
    with pytest.raises(ValueError, match=r"scanner must be one of \('gpt2', .*\), got 'x'"):
        _scan.scanner("x")
    with pytest.raises(ValueError, match=r"scanner must be one of \('gpt2', .*\), got 'x'"):
        _scan.safe_start(b"abc", 1, "x")
    with pytest.raises(ValueError, match=r"isa must be one of \('portable', .*\), got 'x'"):
        _scan.scanner("gpt2", "x")
    with pytest.raises(TypeError):
        _scan.pretoken_ends(None, "gpt2")


# what safe starts depend on: each class of character of each pattern, contractions, and newlines with their neighbours
SAFE_START_ATOMS = [
    *("\n", "\r\n", " ", "  ", "\t", "\u3000", "\u2028"),
    *("a", "B", "ab", "Ab", "é", "ǅ", "ʰ", "ш", "ab cd"),
    *("1", "12", "٣", "Ⅷ", "\U00011de0", "½"),
    *("!", "/", "//", "|", "-", "!/", "、", "😀", "$"),
    *("'", "'s", "'S", "'ll", "'ſ", "'re", "'x", "s", "l", "'l", "'r"),
    *("日", "日本", "語", "〇", "々", "\u2e80", "〡", "ひ", "カ", "ー", "・", "한"),
    *("\u0301", "\u20dd", "\u0903", "\x00", "\x7f", "\xad", "\ue000", "\u0378"),
]


@pytest.mark.parametrize("name", NAMED)
@given(st.lists(st.sampled_from(SAFE_START_ATOMS), min_size=2, max_size=20).map("".join))
def test_every_safe_start_is_a_pretoken_start_of_the_whole(name, text):
    """Whatever part of a text is known, the place found in it splits the whole into the pretokens of the whole."""
    scanner = patterns.PATTERNS[name].scanner
    encoded = text.encode()
    whole = scanned(encoded, scanner)
    for cut in {_scan.safe_start(encoded[:known], known, scanner) for known in range(1, len(encoded) + 1)} - {0}:
        parts = scanned(encoded[:cut], scanner) + [cut + end for end in scanned(encoded[cut:], scanner)]
        assert parts == whole, (encoded[:cut], encoded[cut:])


def scanned(text: bytes, scanner: str) -> list[int]:
    return _scan.pretoken_ends(text, scanner).tolist()


@pytest.mark.parametrize("name", NAMED)
def test_every_safe_start_between_two_or_three_of_all_kinds(name):
    """All triples of atoms, with further text before and after them."""
    scanner = patterns.PATTERNS[name].scanner
    for first, second in itertools.product(SAFE_START_ATOMS, repeat=2):
        for third in ("x", " ", "\n", "/", "!", "日", "'s", "\u0301", "1"):
            encoded = f"!{first}{second}{third}x !".encode()
            whole = scanned(encoded, scanner)
            cuts = {_scan.safe_start(encoded, limit, scanner) for limit in range(len(encoded))} - {0}
            for cut in cuts:
                parts = scanned(encoded[:cut], scanner) + [cut + end for end in scanned(encoded[cut:], scanner)]
                assert parts == whole, (encoded[:cut], encoded[cut:])


@pytest.mark.parametrize(
    "contraction", ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'LL", "'Re", "'ſ", "'S", "'l", "'r"]
)
def test_contractions_that_end_the_text(contraction):
    """With none, one and two bytes after the apostrophe that can be read."""
    for before in ("", "a", "A ", "1", "!", "é", "中", " "):
        for length in (*range(4), *range(58, 68), *range(122, 132)):
            for text in (f"{'x' * length}{before}{contraction}", f"{'x ' * (length // 2)}{before}{contraction}"):
                for name in NAMED:
                    assert_splits(text, name)

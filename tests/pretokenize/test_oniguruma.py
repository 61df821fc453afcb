"""The expressions of tokenizer.json, held to the Oniguruma in tokenizers."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from fastlm.pretokenize.oniguruma import Expression, OnigurumaSplitter, case_folding, properties
from fastlm.pretokenize.patterns import WHOLE_TEXT, Pattern, find_pattern
from tests.reference.splitting import BEHAVIORS, Span, pieces

pytest.importorskip("tokenizers", reason="tokenizers judges the expressions")

from tests.pretokenize import expressions
from tests.pretokenize.expressions import outcome

TOOL = Path(__file__).resolve().parents[2] / "tools" / "generate_oniguruma_data.py"


def listed(block: str) -> list[str]:
    """The expressions of a block, which line ends and two or more spaces separate."""
    return re.split(r"\n| {2,}", block.strip("\n"))


CASES = {
    "anchors": [
        *listed(r"""
^.  .$  $  ^  \A.  .\z  .\Z  \Z  \G.  (?:\G|b)a  ^a$  \b  \B  \b.  \Ba  \y  \Y.  (?W)\b.  (?m)^.  a\Kb  \b.\b
"""),
    ],
    "options": [
        *listed(r"""
(?m).+  (?m:a.b)  (?m-i:.)  (?i)a.  a(?i)b|c  (?:a(?i)b)c  (?i)a(?-i:b)  (?i-)a  (?-)a  (?ii)a  (?x)[a b]
(?x)a\ b  (?x)a {2}  (?x:a b) c  (?x)a+ ?  (?i)(?x) s s  (?mi)a.  (?y{g})a  (?W)\w+  (?W:[\w])+
(?P:[[:alpha:]])+  (?P:\w)+  (?P:\p{Alpha})+  (?P:\p{L})+  (?P:\p{Punct})+  (?D)\d  (?D:\D)  (?S)\s  (?S:[^\s])
(?P:[[:punct:]])  (?W:\p{Word})+
"""),
        *("(?x) a b # c\n",),
    ],
    "classes": [
        *listed(r"""
\w+  \W+  [\w]+  [\W]+  [^\w]+  \p{word}+  [\p{word}]+  [[:word:]]+  \d+  \D+  \s+  \S+  \h+  \H+  \N+  \O+  \R
\R\n  \X  \X\y  \p{L}+  \p{^L}+  \P{^L}+  \P{Han}+  \p{Lower case_Letter}  \p{ l u }  \p{InThai}
\p{In_Basic_Latin}+  \p{Greek}+  \p{Alphabetic}+  \p{Emoji}  \p{Punct}  [[:punct:]]  \pL  \p{Cs}  \p{Unknown}
\p{LC}  \p{Any}  \p{PosixPunct}
"""),
    ],
    "sets": [
        *listed(r"""
[]a]  [^]a]  [a-]  [-a]  [a-c-e]  [a-z-9]+  [0-9-a]+  [--/]+  [!--]+  []-a]+  [a-&&-b]  [a[bc]d]+  [^a[bc]]+
[^[^a]]  [[]a]]  [a-z&&[^aeiou]]+  [a&&]  [&&a]  [^a&&]  [&]  [&&&]  [a&&&&b]  [a-z&&^aeiou]+  [a-c&&b-d]+
[[:alpha:]]+  [[:^alpha:]]+  [^[:alpha:]]+  [:alpha:]  [[:alpha]]  [[.a.]]  [[=a=]]  [a-[b]]  [\w-]+
[\x{61}&&a]  [\x{41-43 61}]+  [\x{41 - 43}]+  [a-\x{62 64}]+  [\x{61 63}-e]+  [\b\e]  [\Q\R]+
[\p{L}&&[^\p{Lu}]\d]+  [a||b]+  [a~~b]+  [\]\-]+  [é-ü]+
"""),
        *(
            " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+",
            "[\U0001f600-\U0001f6ff]",
        ),
    ],
    "repeats": [
        *listed(r"""
a{2}{3}  a{2,3}+  a{2}+  a{1,2}?  a{2}?  a{,2}  a{,2}?  a{,}  a{  a{x}  a{2,1}  a{2,1}a  a{2,1}?  a{2,1}+  a{0}b
a{0}  a++  a++a  a*+a  a?+a  (?:ab)?+ab  a+++  a**  a+*  a?*  a*+?  a*{2}  a{0,2}{2}  (?:a{0,3}){2}  (?:a?)?b?
(?:a?)*b?  (?:a?)+b?  (?:a?)??b?  (?:a?)*?b?  (?:a?)+?b?  (?:a*)?b?  (?:a*)*b?  (?:a*)+b?  (?:a*)??b?
(?:a*)*?b?  (?:a*)+?b?  (?:a+)?b?  (?:a+)*b?  (?:a+)+b?  (?:a+)??b?  (?:a+)*?b?  (?:a+)+?b?  (?:a??)?b?
(?:a??)*b?  (?:a??)+b?  (?:a??)??b?  (?:a??)*?b?  (?:a??)+?b?  (?:a*?)?b?  (?:a*?)*b?  (?:a*?)+b?  (?:a*?)??b?
(?:a*?)*?b?  (?:a*?)+?b?  (?:a+?)?b?  (?:a+?)*b?  (?:a+?)+b?  (?:a+?)??b?  (?:a+?)*?b?  (?:a+?)+?b?  (?:|a)+
(|a)+  (?:a|)+  (?:a?)*?b  (?:a?){2,}b  (?:a??){2,}b  (?:a|b?){3,}  (?:a*)+b  (?:a|b){40}  (?:a|b){30,}
(?:ab?){0,60}b  (?:ab?){20,60}?b  (?:a?){50}b  a(?#x)*  x*  |a  a|  a||b  (?:)  ()
"""),
        *("",),
    ],
    "groups": [
        *listed(r"""
(a)|b  (?:a|ab)(?:b|)  (?>a|ab)b  (?>a*)a  (?>a*?)a  (?=ab)a  (?!ab)a  (?=(a))\1  (?#c)a  (?#\))a  (?!)a  (?=)a
(?<n>a)  (?'n'a)  (?<_n1>a)  (?<é>a)\k<é>  (?<n>a)(?<n>b)\k<n>  (?<n>a)|(?<n>b)\k<n>  (?<a>a)(b)\k<a>  (?<n m>a)
"""),
    ],
    "references": [
        *listed(r"""
(a)\1  (a)?\1b  (a|b)\1  \1(a)  (a\1)  (a\1?)  (a)\k<1>  (a)\k'1'  (a)\k<-1>  \k<+1>(a)  (a)\10  (a)\11  (a*)\1
(?:(a)|b)*\1  (?:(a)\1|b)+  (a|b\1)+  (?:()|a)+\1  (a){0}\1  (?i)(a)\1  (?i)(ß)\1  (?i)(ss)\1  (a)(?i)\1
(?!(a))b\1  (?:(?=(a))|b)\1  (a)(?<=\1)b  (a)(b)(c)(d)(e)(f)(g)(h)(i)(j)\10
"""),
    ],
    "lookbehinds": [
        *listed(r"""
(?<=a|bc)x  (?<=ab*)x  (?<=a{2,3})x  (?<!ab*)x  (?<!a|bc)x  (?<=^a)x  (?<=\ba)x  (?<=(?<=a)b)x  (?<!(?<!a)b)x
(?<=a*+)x  (?<=a++)x  (?<=(?>a|ab))x  (?<=)x  (?<!)x  (?<=a|)x  (?<=\Ga)x  (?<=.{0,3}a)x  (?<=a.*)x  (?<=\X)x
(?<=(a))x  (?<=(a)\1)x  (?<=a\b)x  (?i)(?<=ß)x  (?i)(?<=ss)x  (?i)(?<=[ß])x  (?i)(?<![ß])x  (?i)(?<=k)x
(?<=\W)a  (?<=[^a]{2}|b)x
"""),
        *("(?<=a$)\n",),
    ],
    "escapes": [
        *listed(r"""
\x{e9}+  \xc3\xa9  [\xc3\xa9]  \x41  \x4  \xg  \x  \x{}  \x{zz}  \x{41 42}+  \x{d800}  \u0041  \ud800  \101  \0
\08  \0123  \o{101 102}  \o{}  \303\xa9  \cA\c?  \C-a  \M-a  \e|\t  \a\f\v\n\r  \_\é\j\<\>\Q\E  [\cA-\cC]
[\101-\103]+  [\8\1]  \p  \k  \g  \.\*\(\)  \ud800|a
"""),
        *(
            "\\c\\\\",
            "\\\\",
        ),
    ],
    "case": [
        *listed(r"""
(?i)ss  (?i)sss  (?i)ß  (?i)[ß]  (?i)[^ß]  (?i)ffi  (?i)ﬃ  (?i)fi  (?i)st  (?i)ﬅ  (?i)ss+  (?i)s(?:s)
(?i)s(?:)s  (?i)(s)s  (?i)s[s]  (?i:s)(?i:s)  s(?i)s  (?i)s{2}  (?i)s{1}s  (?i)s\x73  (?i)(?:s|x)s  (?i)k
(?i)[^k]  (?i)[a-z]+  (?i)i  (?i)İ  (?i)ς  (?i)ა  (?i)Ꭰ  (?i)ΐ  (?i)ŉ  (?i)ǰ  (?i)[ﬀﬃ]  (?i)[a-z&&[^k]]+
(?i)[[^a]b]+  (?i)\p{Lu}  (?i)[\p{Lu}]  (?i)[^\p{Lu}]  (?i)[[:upper:]]  (?i)\P{Lu}  (?i)straße  (?i)[ß]+s
(?i)(?<n>x)|(s)s
"""),
        *("(?i)\u0345",),
    ],
}
TEXT = (
    "ab aab abc bcd aaa\nAB aB\r\n\rb  \t é É_ñ²½ 1٢3 \u0301e\u0301x ax bcx abbx aax \x85\u2028ss ß ẞ SS "
    "ſs ſſ ﬁ fi ffi ﬃ ﬅ st ST sss ßs kK\u212a iİIıi\u0307 σςΣ \u03b9\u0308\u0301 ΐ ʼn ŉ ǰ J\u030c კᲙ Ꭰꭰ \u0345ιΙ "
    "漢字ก 👩\u200d🚀🇩🇪🇫 각\u1100\u1161 de]f-g^&&|~~[=.:]{} "
    "a{,} a{ a{x} bab (a(b|c). । \x1b\x07\x0b\x0c\x01\x02\x03\x1c\x81á <> jQE8\\ xzz x{} abcdefghijj "
    "u o{} k g p \x00 \x004 \ud7ff\ue000 aAaA ßẞ\n"
)

REFUSED_BY_BOTH = [
    *listed(r"""
*a  a|*b  +  (*a)  (?  (  )  a)  (a  (?=a  [  [a  []  [^]  [[]  [a[]]  [z-a]  [a- z]  [a-\d]  [\d-a]  [[:foo:]]
[[:alpha:]-z]  \p{Foo}  \p{}  \p{L  [\p{L]  \p{Script=Han}  \p{IsL}  \p{^^L}  ^*  (?=a)*  (?:^|a)*  \b+  \1
(x)\2  (a)\k<x>  \k<a  (a)\k<0>  \k<-1>  (?<a>x)(y)\1  (?<1>a)  (?<>a)  (?<n  (?s).  (?u)a  (?a)a  (?P<n>a)
(?z)a  (?r)a  (?e)a  (?b)a  (?V1)a  (?R)  (?1)  (?|a|b)  (?P=n)  (?P>n)  (?&n)  (?@a)  (?)a  (?#a  a{100001}
\x{110000000}  \u41  \xc3  \xa9  \xc3x  [\xc3]  \x{41 }  \x{41,42}  \Ca  \c  \M  \C-  [\400]  (?<!(a))x
(?<=(?=a)a)x  (?<=(?!a)b)x  (?<=(?<!a)b)x  (?<=a\z)x  (?<=a\Z)x  (?<=a{70000})x  {2}  (?i)*  a(?:*)  \8  (?i
(?<=  (?'n>a)  [a-  [\x{43-41}]
"""),
    *("\\"),
]
UNSUPPORTED = {
    "(?~ab)": r"\(\?~ \(an absent operator\) at position 0",
    "(a)?(?(1)b|c)": r"\(\?\( \(a conditional\) at position 4",
    "a(?{x})": r"\(\?\{ \(a callout\) at position 1",
    "(*FAIL)": r"\(\* \(a callout\) at position 0",
    r"(?<n>a)\g<n>": r"\\g \(a call of a group\) at position 7",
    r"(a)\k<1+0>": r"\\k with a nesting level at position 3",
    "(?I)a": "option I at position 0",
    "(?L)a": "option L at position 0",
    "(?C)(a)": "option C at position 0",
    r"(?y{w})\X": r"\(\?y\{w\} \(words as text segments\) at position 0",
    r"(?<=\R)x": r"\\R in a lookbehind at position 0",
    r"(?=a\K)": r"\\K in a lookaround at position 0",
    r"a\xff": r"the bytes b'\\xff', which are no UTF-8, at position 1",
    r"\x{110000}": r"a code point beyond U\+10FFFF at position 10",
    "(" * 60 + "a" + ")" * 60: "groups nested more than 50 deep at position 50",
    "[a" * 60 + "]" * 60: "sets nested more than 50 deep at position 102",
    "a" + "{2}" * 60: "more than 50 repeat operators in a row at position 151",
}


def matches(expression: str, text: str, notes_from: int | None = None) -> list[Span]:
    """Where an expression matches, in characters."""
    encoded = text.encode()
    found = Expression(expression).find_all(encoded, notes_from=notes_from)
    characters = np.cumsum(np.append((np.frombuffer(encoded, np.uint8) & 0xC0) != 0x80, True)) - 1
    return [(start, end) for start, end in characters[found].tolist()]


@pytest.mark.parametrize("construct", CASES)
def test_every_construct_matches_as_in_tokenizers(construct):
    for expression in CASES[construct]:
        for behavior in ("isolated", "removed"):
            expected = outcome(expression, TEXT, behavior, True)
            assert pieces(matches(expression, TEXT), len(TEXT), behavior, True) == expected, (expression, behavior)
        assert matches(expression, TEXT, notes_from=0) == matches(expression, TEXT), expression


@given(expressions.EXPRESSIONS, expressions.TEXTS, st.sampled_from(BEHAVIORS), st.booleans())
def test_random_expressions_split_as_in_tokenizers(expression, text, behavior, invert):
    expected = outcome(expression, text, behavior, invert)
    if expected == "invalid":
        with pytest.raises(ValueError, match=r"not valid|not supported"):
            Expression(expression)
        event("invalid")
        return
    try:
        found = matches(expression, text)
    except ValueError as error:
        if not str(error).endswith("which is not supported"):
            raise
        event("not supported")
        return
    assert matches(expression, text, notes_from=0) == found
    if expected == "gives up":
        return
    assert (pieces(found, len(text), behavior, invert) if text else []) == expected


@given(st.text("abkn1(){}[]?*+|\\^$.-,:<=!>i&pLx#' \nß", max_size=12), expressions.TEXTS)
def test_random_characters_are_read_as_by_tokenizers(expression, text):
    test_random_expressions_split_as_in_tokenizers.hypothesis.inner_test(expression, text, "removed", True)


@pytest.mark.parametrize("expression", REFUSED_BY_BOTH)
def test_what_tokenizers_refuses_is_refused(expression):
    assert outcome(expression, "a", "isolated", False) == "invalid"
    with pytest.raises(ValueError, match=r"is not valid: .* at position \d+|not supported"):
        Expression(expression)


@pytest.mark.parametrize("expression", UNSUPPORTED)
def test_what_is_not_supported_is_refused_by_name(expression):
    with pytest.raises(ValueError, match=rf"^expression .* uses {UNSUPPORTED[expression]}, which is not supported$"):
        Expression(expression)
    with pytest.raises(ValueError, match=r"which is not supported$"):
        find_pattern((expression,), "oniguruma")


def test_a_program_is_of_bounded_size():
    with pytest.raises(ValueError, match=r"takes more than 50000 instructions, which is not supported"):
        Expression("|".join(f"{k}a{k}" for k in range(20_000)))
    assert matches("(?:(?:(?:a|b){100}){100}){100}", "ab" * 100) == []


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("(a|aa)+c", "a" * 20_000),
        ("(a|aa)+$", "a" * 20_000 + "b"),
        ("(a+)+$", "a" * 20_000 + "b"),
        ("(?:a*)*b", "a" * 20_000),
        ("(?:(?:a|ab)(?:c|bcd)*)*x", "abcd" * 5_000),
        ("(?:a?){30}a{30}", "a" * 29),
        ("a*b|a*c|a", "a" * 20_000),
        (r"\s+\z", " " * 20_000 + "a"),
        ("(?:a++)+b", "a" * 20_000),
        ("<[^>]*>|.", "<" * 20_000),
        (r"(?:\w+\s?)*(?!\S)\d", "aaa bbb " * 3_000),
    ],
)
def test_work_is_linear_where_nothing_looks_around_far(expression, text):
    found = matches(expression, text)
    half = matches(expression, text[: len(text) // 2])
    # what each half takes is taken in the same way
    assert len(found) <= len(text)
    assert half == found[: len(half)] or expression.endswith(("$", r"\z"))


@pytest.mark.parametrize(("expression", "text"), [(r"(a*)*\1b", "a" * 200), ("a(?=.*b)", "a" * 200_000)])
def test_the_matcher_gives_up_where_the_work_is_not_linear(expression, text):
    with pytest.raises(ValueError, match=r"takes too many steps to match the text from byte \d+ on"):
        matches(expression, text)


def test_pieces_are_searched_as_texts():
    splitter = OnigurumaSplitter(["[0-9]+", r"^b|\Aa|.$"])
    assert splitter.ends(b"ab1ab22bb").tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert splitter.ends(b"").tolist() == []
    with pytest.raises(ValueError, match="byte 2"):
        splitter.ends(b"ab\xff")
    with pytest.raises(ValueError, match=r"ends must ascend, and be in the text"):
        Expression("a").find_all(b"ab", np.array([2, 1]))
    with pytest.raises(ValueError, match=r"ends must ascend, and be in the text"):
        Expression("a").find_all(b"ab", np.array([3]))


def test_a_pattern_knows_its_syntax():
    pattern = find_pattern((r"^.",), "oniguruma")
    assert pattern == Pattern((r"^.",), syntax="oniguruma")
    assert pattern.find_ends(b"ab\ncd").tolist() == [1, 3, 4, 5]
    assert find_pattern(pattern.specification) == pattern
    assert pattern != find_pattern((r"^.",))
    assert pattern.canonical_regex == find_pattern((r"^.",)).canonical_regex
    two = find_pattern((r"\h", r"\R"), "oniguruma")
    assert find_pattern(two.specification) == two


def test_named_patterns_are_found_in_the_syntax_that_they_mean():
    for syntax in ("regex", "oniguruma"):
        for name in ("gpt2", "llama3", "o200k_base", "deepseek-v3", "starcoder"):
            pattern = find_pattern(name)
            assert find_pattern(pattern.for_onig, syntax) is pattern
    cl100k = find_pattern("cl100k_base")
    assert find_pattern(cl100k.onig_splits, "oniguruma") is cl100k
    # {1,3}+ is a repeat of a repeat there
    other = find_pattern(cl100k.splits, "oniguruma")
    assert other.scanner is None
    assert other.find_ends(b"12345").tolist() == [5]
    assert cl100k.find_ends(b"12345").tolist() == [3, 5]
    assert find_pattern((r"(?m:.+)",), "oniguruma") is WHOLE_TEXT is find_pattern((r"(?s:.+)",))


@pytest.mark.nightly
def test_the_table_of_characters_is_what_tokenizers_says():
    tool = runpy.run_path(str(TOOL))
    names = tool["names"]()
    assert len(names) > 800
    assert all(properties.find(name) is not None for name in names)
    for name in [*names[::20], *tool["POSIX"], "alphabetic", "l", "n", "p", "m", "han"]:
        assert properties.find(name) == tool["ranges_of"](rf"[^\p{{{name}}}]"), name
    assert properties.word_characters() == tool["ranges_of"](r"\W")
    assert tool["folds"]() == (list(case_folding.classes()), case_folding.expansions())

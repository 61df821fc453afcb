"""Expressions of fancy-regex split as they do in tiktoken, or are refused: none splits otherwise."""

import random
import re

import pytest

from fastlm.compat import tiktoken as ours
from fastlm.compat.tiktoken import splitting
from tests.compat.test_tiktoken import BYTES, PANIC, outcome, tiktoken

pytestmark = [
    pytest.mark.filterwarnings("ignore:no scanner for the pattern"),
    pytest.mark.filterwarnings("ignore:the pattern does not match all"),
]

TEXT = "aab bAßÉé1Beef\x1b ſK\u212aiIİı Ͱ\u0345α中文_-&[]{}<>^$|~ a{e<=1}\r\n\n\tab{1\x0b\x85zZ Qa\n\n"


def made(module, pattern: str):
    return module.Encoding("one", pat_str=pattern, mergeable_ranks=BYTES, special_tokens={})


def compared(pattern: str, text: str = TEXT) -> bool:
    """Whether both read an expression; fails where they read it differently."""
    own = outcome(made, ours, pattern)
    if own is ValueError:
        return False
    theirs = outcome(made, tiktoken, pattern)
    assert not isinstance(theirs, type), f"{pattern!r} is an expression to ours only"
    expected = outcome(theirs.encode_ordinary, text)
    found = outcome(own.encode_ordinary, text)
    assert found == expected or expected == PANIC, repr(pattern)
    return True


READ = [
    *["(?=b+)|.", r"a*|\w", r"(?i)[^ı]*|.", r"\b|\w", "[^a]|[^b]", "[[^a][^b]]", r"[^a]|\N"],
    *[r"\h", r"\H", r"[\h]+", r"[^\H]+", r"[\H]", r"\e", r"[\e]", r"\N+", r"\O+", r"\v", r"\x41", r"\u0041"],
    *[r"\U00000041"],
    *[r"\x{41}", r"\u{41}", r"\U{41}", r"\_|\-|\/|\&|\~|\#|\ ", r"\pL", r"\PL", r"\p{^L}", r"\P{^L}", r"\p{Han}"],
    *[r"\p{Greek}"],
    *[r"\p{Lu}", r"[\p{L}&&\P{Lu}]+", r"[^a&&b]", r"[a-c[d-f]]+", r"[a-z--[aeiou]]+", r"[a-c~~b-d]+", r"[a||b]"],
    *[r"[]a]", r"[^]a]"],
    *[r"[a-]", r"[-a]", r"[\w-]", r"[$^.|]", r"[a{}]", r"a{,2}b", r"a{1,2}+.", r"a{1,}?b", r"a{", r"a{x", r"{"],
    *["}", "]", r"a{ 1}"],
    *[r"(?:a){e<=1}", r"(a){i}", r"a{s}", r"a{d}", r"b\{1", r"(?i:straße|ſ)", r"(?i)[a-z]+", r"(?i)[^a-z]"],
    *[r"(?i)[İ]", r"(?i)[^ı]"],
    *[r"(?i)i", r"(?i)İ", r"(?i)[\p{L}]+", r"(?i)\p{L}+", r"(?i)k", r"a(?i)b|a", r"(?i:a)B", r"(?i)a(?-i)b"],
    *[r"(?i)\h+", r"(?i)\w+"],
    *[r"(?s).+", r"(?s-m:.)+", r"(?m)^.+$", r"(?m:a$)|.", r"^a|b$", r"\Aa|\n\z|\n\Z", r"\ba", r"a\B", r"(?>a+)b"],
    *[r"(?#word)a"],
    *[r"(a)\1", r"(?<n>a)\k<n>", r"(?P<n>a)(?P=n)", r"(?<n>a)(b)?", r"(?<=a)b", r"(?<!a)b", r"(?<=a+)b"],
    *[r"(?<=a|bc)b", r"a(?=b)|b(?!b)"],
]  # fmt: skip


@pytest.mark.parametrize("pattern", READ)
def test_an_expression_splits_as_in_tiktoken(pattern):
    assert compared(pattern)


REFUSED = [
    *[r"\<a", r"a\>", r"\m", r"\M", r"\L<a>", r"\X", r"\K", r"a\Kb", r"\G", r"\R", r"\Qa\E", r"\141", r"\0", r"\C"],
    *[r"\i", r"\y"],
    *["(?R)", "(a)(?1)", "(?<n>a)(?&n)", "(?<n>a)(?P>n)", r"(a)\g<1>", r"(a)\g1", "(?|a|b)", "(?r)a", "(?e)a"],
    *["(?b)a", "(?p)a"],
    *["(?V0)a", "(?V1)a", "(?a)a", "(?L)a", "(?x)a b", "(?U)a+", "(?w)a", "(?f)a", "(?^a)", "(?-u)a", "(?)a"],
    *["((?s)a)|.", "(?'n'a)", "(?~a)"],
    *["(a)?(?(1)a|b)", "(?(DEFINE)a)", "(*SKIP)a", "(?<n>a)|(?<n>b)", "(?P<1>a)", r"\k<n>(?<n>a)", r"\1(a)"],
    *[r"(?i)(a)\1"],
    *[r"\p{InBasicLatin}", r"\p{IsLatin}", r"\p{posix_alnum}", r"\p{L&}", r"\p{Script=Greek}", r"\p{No_such}"],
    *[r"\p{L", r"(?i)\p{Lu}"],
    *["[[:alpha:]]", "[[:^alpha:]]", r"[\b]", "[", "[]", "[^]", r"[\w-z]", r"[a-\w]", "[z-a]", "[--a]", "[&&a]"],
    *["[a&&]", "[a&&b--c]"],
    *["[a-c-e]", r"[\R]", r"(?i)[a&&b]", r"(?i)\PL", r"\b{start}a", "a**", "a+*", "*a", "(?:+a)", "a|*", "a{2,1}"],
    *["a{2}{3}", "^*", r"\b+"],
    *["(?=a)*", "(?:){2}", "(", ")", "a)", "(?", "(?:", "(?<", "(?<a", "\\", r"\x4", r"\x{}",],
    *[r"\x{110000}", r"\u{D800}"],
    *[r"(?<=a++)b", "(?<=(?>a))b", "(?<=(?=a)a)b"],
]  # fmt: skip


@pytest.mark.parametrize("pattern", REFUSED)
def test_an_expression_that_might_mean_something_else_is_refused(pattern):
    with pytest.raises(ValueError, match=re.escape(repr(pattern))):
        splitting.regex_splitter(pattern)


def test_random_expressions_split_as_in_tiktoken_or_are_refused():
    rng = random.Random(30)
    atoms = [
        *READ,
        *"aabAIiİıͅßk. \n-&~|()[]{}*+?^$",
        r"\p{L}",
        r"\s",
        r"\S",
        r"\w+",
        "(?i)",
        "(?m)",
        "(?s)",
        "(?i:",
        "(?:",
        "|",
    ]
    ends = ["", "", "", "", "*", "+", "?", "{2}", "{1,3}", "{,2}", "??", "*+", "++", "*?", "{2}+", "{1,2}?"]
    n_read = 0
    for _ in range(1500):
        parts = [rng.choice(atoms) + rng.choice(ends) for _ in range(rng.randrange(1, 5))]
        if rng.random() < 0.3:
            parts = [
                f"{rng.choice(['(', '(?:', '(?i:', '(?=', '(?!', '(?<=', '(?<!', '(?>', '['])}",
                *parts,
                rng.choice(")]"),
            ]
        n_read += compared("".join(parts) + rng.choice(["", "|.", r"|[\s\S]"]), TEXT)
    assert n_read > 400

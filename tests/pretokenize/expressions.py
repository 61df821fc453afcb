"""Random expressions of Oniguruma's grammar, texts that they are likely to match, and what tokenizers makes of both."""

from __future__ import annotations

from hypothesis import strategies as st
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

from tests.reference.splitting import Span

CHARACTERS = "aAbsSſßkK\u212aéÉ1٢²_- \t\n\r\x85\u0301\u200d漢🚀👩🇩ǆ'\ufb01iİ"
ATOMS = (
    *"aabksß1.é^$ ,\n",
    *(r"\w", r"\W", r"\d", r"\D", r"\s", r"\S", r"\h", r"\H", r"\R", r"\X", r"\N", r"\O"),
    *(r"\b", r"\B", r"\A", r"\z", r"\Z", r"\G", r"\y", r"\Y", r"\K"),
    *(
        r"\p{L}",
        r"\p{^Lu}",
        r"\P{Han}",
        r"\p{Greek}",
        r"\p{M}",
        r"\p{P}",
        r"\p{White_Space}",
        r"\p{Word}",
        r"\p{InThai}",
    ),
    *(
        r"\x61",
        r"\x{e9}",
        r"\xc3\xa9",
        r"\u0301",
        r"\141",
        r"\o{141}",
        r"\t",
        r"\n",
        r"\.",
        r"\-",
        r"\e",
        r"\cJ",
        r"\x{61 62}",
    ),
    *(r"\1", r"\2", r"\k<1>", r"\k<-1>", r"\k<n>", r"\k'n'"),
    *("(?#c)", "(?i)", "(?m)", "(?x)", "(?-i)", "(?W)", "ss", "fi", "st", "{", "}", "]", "a{,", "{2}", "{,3}"),
)
MEMBERS = (
    *"abk1s_ ß-^&.é漢\n[]",
    *(
        r"\w",
        r"\W",
        r"\d",
        r"\s",
        r"\S",
        r"\h",
        r"\p{Lu}",
        r"\P{L}",
        r"\p{^M}",
        r"\x41",
        r"\x{e9}",
        r"\x{61-63 6b}",
        r"\b",
        r"\n",
    ),
    *(
        "a-c",
        "0-9",
        "A-Z",
        "é-ü",
        r"\x{1f600}-\x{1f6ff}",
        "&&",
        "--",
        "[:alpha:]",
        "[:^alpha:]",
        "[:punct:]",
        "[:word:]",
        "[:space:]",
        r"\]",
        r"\-",
    ),
)
REPEATS = (
    *(
        "*",
        "+",
        "?",
        "*?",
        "+?",
        "??",
        "*+",
        "++",
        "?+",
        "{2}",
        "{1,2}",
        "{,2}",
        "{2,}",
        "{0}",
        "{2,1}",
        "{1,2}?",
        "{2}?",
    ),
    *("{1,2}+", "{2}+", "{,2}?", "{2}{2}", "+*", "??+", "{1}", "{40}", "{0,40}"),
)
OPENINGS = (
    "(",
    "(?:",
    "(?:",
    "(?>",
    "(?=",
    "(?!",
    "(?<=",
    "(?<!",
    "(?i:",
    "(?m:",
    "(?x:",
    "(?-i:",
    "(?<n>",
    "(?'m'",
    "(?W:",
    "(?P:",
)


def _sets(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.lists(st.one_of(st.sampled_from(MEMBERS), inner), min_size=1, max_size=4).map("".join)
    return st.tuples(st.sampled_from(("[", "[^", "[", "[a")), members).map(lambda parts: "".join(parts) + "]")


SETS = st.recursive(st.just("[ab]"), _sets, max_leaves=3)


def _composed(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    sequences = st.lists(inner, min_size=1, max_size=4).map("".join)
    return st.one_of(
        sequences,
        st.tuples(inner, st.sampled_from(REPEATS)).map("".join),
        st.lists(sequences, min_size=2, max_size=3).map("|".join),
        st.tuples(st.sampled_from(OPENINGS), inner).map(lambda parts: "".join(parts) + ")"),
        st.tuples(st.sampled_from(OPENINGS), inner, st.sampled_from(REPEATS)).map(lambda p: f"{p[0]}{p[1]}){p[2]}"),
    )


EXPRESSIONS = st.recursive(st.one_of(st.sampled_from(ATOMS), SETS), _composed, max_leaves=8)
TEXTS = st.lists(st.sampled_from([*CHARACTERS, "aa", "ss", "ab", "\r\n", "fi", "1a"]), max_size=10).map("".join)


def outcome(expression: str, text: str, behavior: str, invert: bool) -> list[Span] | str:
    """The pieces that tokenizers makes, or why it makes none: "invalid" or "gives up"."""
    try:
        split = Split(Regex(expression), behavior, invert)
    except Exception:  # noqa: BLE001 - tokenizers raises Exception itself
        return "invalid"
    try:
        return [span for _, span in split.pre_tokenize_str(text)]
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "gives up"

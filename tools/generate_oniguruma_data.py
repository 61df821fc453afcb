"""Writes fastlm/pretokenize/oniguruma/unicode_data.py: the character data of the Oniguruma in `tokenizers`.

The script asks Oniguruma for the characters of every property whose name it accepts, for the characters that differ
only in case, and for the ends of grapheme clusters. With --check it compares instead of writing.

    python tools/generate_oniguruma_data.py
"""

from __future__ import annotations

import argparse
import base64
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path

import regex
import tokenizers
from regex import _regex_core
from tokenizers import Regex
from tokenizers.normalizers import Replace
from tokenizers.pre_tokenizers import Split

TARGET = Path(__file__).resolve().parents[1] / "fastlm" / "pretokenize" / "oniguruma" / "unicode_data.py"
POSIX = [
    "alnum",
    "alpha",
    "ascii",
    "blank",
    "cntrl",
    "digit",
    "graph",
    "lower",
    "print",
    "punct",
    "space",
    "upper",
    "xdigit",
    "word",
    "any",
    "assigned",
]
Ranges = tuple[tuple[int, int], ...]


def _code_points() -> list[int]:
    """All code points whose properties can differ. Of the planes without characters, only the ends."""
    found = [*range(0xD800), *range(0xE000, 0x40000)]
    for plane in range(4, 17):
        start = plane << 16
        if plane == 14:
            found += range(start, start + 0x400)
        found += (start, start + 1, *range(start + 0xFFF0, start + 0x10000))
    return sorted(set(found))


CODE_POINTS = _code_points()
INDEX = {point: index for index, point in enumerate(CODE_POINTS)}
ALL = "".join(map(chr, CODE_POINTS))


def matches(expression: str, text: str) -> Iterator[tuple[int, int]]:
    """Yields start and end of each match that is not empty."""
    for _, span in Split(Regex(expression), "removed", True).pre_tokenize_str(text):
        yield span


def ranges_of(complement: str) -> Ranges:
    """All characters except the matches of an expression."""
    return _ranges(map(ord, Replace(Regex(f"{complement}+"), "").normalize_str(ALL)))


def names() -> list[str]:
    """The property names of `regex` that Oniguruma accepts too, in lower case without spaces."""
    found = set(POSIX)
    for name, (_, values) in _regex_core.PROPERTIES.items():
        found.add(name)
        found |= set(values)
        if name == "BLOCK":
            found |= {f"in{value}" for value in values}
    found.add("innoblock")
    plain = {name.translate(str.maketrans("", "", " -_")).lower() for name in found}
    return sorted(name for name in plain if name.isalnum() and _is_accepted(rf"\p{{{name}}}"))


def _is_accepted(expression: str) -> bool:
    try:
        Regex(expression)
    except Exception:  # noqa: BLE001 - tokenizers raises nothing more specific
        return False
    return True


def cluster_ranges(properties: dict[str, Ranges]) -> dict[str, Ranges]:
    """The classes of clusters.h, found by the boundaries of \\X around each character."""

    def joined(before: str, after: str, but_not: frozenset[int] = frozenset()) -> frozenset[int]:
        """The characters that form one cluster with both."""
        text = "\n".join(f"{before}{char}{after}" for char in ALL if char not in "\r\n")
        whole = {start for start, end in matches(r"^\X$", text)}
        at, found = 0, set()
        for code_point in CODE_POINTS:
            if code_point in (10, 13):
                continue
            if at in whole:
                found.add(code_point)
            at += len(before) + len(after) + 2
        return frozenset(found) - but_not

    def members(name: str) -> frozenset[int]:
        return frozenset(point for point in CODE_POINTS if _has(properties[name], point))

    joiner = frozenset({0x200D})
    to_previous = joined("a", "")
    extend = joined("\U0001f600", "\u200d\U0001f600") & to_previous - joiner
    prepend = joined("", "a")
    control = frozenset(CODE_POINTS) - joined("", "\u0301") - {10, 13} - prepend
    pictograph = joined("\U0001f600\u200d", "") - to_previous
    regional = frozenset(range(0x1F1E6, 0x1F200))
    syllables = range(0xAC00, 0xD7A4)
    leading = joined("", "\uac00") - prepend
    vowel = joined("\uac00", "\u11a8") - to_previous
    trailing = joined("\u11a8", "") - to_previous
    classes = {
        "cr": frozenset({13}),
        "lf": frozenset({10}),
        "control": control,
        "extend": extend,
        "joiner": joiner,
        "spacing": to_previous - extend - joiner,
        "prepend": prepend,
        "regional": regional,
        "pictograph": pictograph,
        "l": leading,
        "v": vowel - trailing,
        "t": trailing,
        "lv": frozenset(point for point in syllables if (point - 0xAC00) % 28 == 0),
        "lvt": frozenset(point for point in syllables if (point - 0xAC00) % 28),
    }
    return {name: _ranges(points) for name, points in classes.items()}


def _has(ranges: Ranges, point: int) -> bool:
    at = bisect_left(ranges, (point + 1,)) - 1
    return at >= 0 and point <= ranges[at][1]


def _ranges(points: Iterable[int]) -> Ranges:
    found: list[list[int]] = []
    for index in sorted(INDEX[point] for point in points):
        if found and index == found[-1][1] + 1:
            found[-1][1] = index
        else:
            found.append([index, index])
    return tuple((CODE_POINTS[first], CODE_POINTS[last]) for first, last in found)


def folds() -> tuple[list[str], dict[str, str]]:
    """(sets of characters that differ only in case, several characters -> the characters that fold to them)."""
    changing = [char for char in ALL if _changes(char)]
    lines = "\n".join(changing)
    classes: dict[str, str] = {}
    for char in changing:
        # a set that ignores case matches all characters that differ only in case
        found = matches(rf"^(?i:[\x{{{ord(char):x}}}])$", lines)
        # the character that the others fold to comes first
        classes[char] = "".join(
            sorted((lines[start] for start, _ in found), key=lambda same: (same.casefold() != same, same))
        )
    expansions: dict[str, list[str]] = {}
    for char in changing:
        fold = char.casefold()
        if len(fold) > 1 and list(matches(f"(?i){char}", fold)) == [(0, len(fold))]:
            expansions.setdefault(fold, []).append(char)
    expanding = {char for chars in expansions.values() for char in chars}
    simple = sorted({same for char, same in classes.items() if len(same) > 1 and char not in expanding})
    return simple, {fold: "".join(sorted(chars)) for fold, chars in sorted(expansions.items())}


def _changes(char: str) -> bool:
    """Whether any case mapping changes a character or results in it."""
    return bool(regex.match(r"\p{Changes_When_Casemapped}|\p{Changes_When_Casefolded}", char)) or (
        char.lower() != char or char.upper() != char or char.casefold() != char
    )


def module() -> str:
    """The text of the module."""
    properties = {name: ranges_of(rf"[^\p{{{name}}}]") for name in names()}
    properties["bare:word"] = ranges_of(r"\W")  # outside of sets some more characters are word characters
    for name, ranges in cluster_ranges(properties).items():
        properties[f"cluster:{name}"] = ranges
    names_of: dict[Ranges, list[str]] = {}
    for name, ranges in properties.items():
        names_of.setdefault(ranges, []).append(name)
    lines = []
    for ranges in names_of:
        at = 0
        gaps = []
        for end in (end for pair in ranges for end in pair):
            gaps.append(f"{end - at:x}")
            at = end
        lines.append(" ".join(gaps))
    packed = base64.b85encode(zlib.compress("\n".join(lines).encode(), 9)).decode()
    simple, expansions = folds()
    listed = "\n".join(" ".join(found) for found in names_of.values())
    return f'''"""Generated by tools/generate_oniguruma_data.py from tokenizers {tokenizers.__version__}; do not edit.

NAMES: a line for each set of characters, with the names of the properties that mean it.
RANGES: for each of these lines the gaps between the ends of the ranges, in hexadecimal, compressed.
FOLD_CLASSES: characters that are the same but for case. FOLD_EXPANSIONS: characters = those that fold to all of them.
"""

# ruff: noqa: E501
NAMES = """\\
{listed}"""
RANGES = "{packed}"
FOLD_CLASSES = {" ".join(simple)!a}
FOLD_EXPANSIONS = {" ".join(f"{fold}={same}" for fold, same in expansions.items())!a}
'''.replace("'", '"')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the module instead of writing it")
    check = parser.parse_args().check
    text = module()
    if not check:
        TARGET.write_text(text)
    elif TARGET.read_text().split('"""', 2)[2] != text.split('"""', 2)[2]:
        raise SystemExit(f"{TARGET} is not what tokenizers says; run without --check to renew it")


if __name__ == "__main__":
    main()

"""Escapes that mean characters or classes of characters, in sets and outside."""

from __future__ import annotations

import re

from fastlm.pretokenize.oniguruma import properties
from fastlm.pretokenize.oniguruma.code_points import ASCII, LAST, Ranges, complement, intersection
from fastlm.pretokenize.oniguruma.source import Options, Source

_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "a": "\a", "b": "\b", "e": "\x1b", "v": "\v"}
_CLASSES = {"w": "word", "d": "digit", "s": "space", "h": "xdigit"}
_PROPERTY = re.compile(r"\{(\^?)([^}(){|]*)\}")
_HEX_LIST = re.compile(r"\{([0-9A-Fa-f]+(?:[ \n]+[0-9A-Fa-f]+)*)\}")
_OCTAL_LIST = re.compile(r"\{([0-7]+(?:[ \n]+[0-7]+)*)\}")
_HEX_BYTE = re.compile(r"[0-9A-Fa-f]{0,2}")
_HEX_4 = re.compile(r"[0-9A-Fa-f]{4}")
_OCTAL_3 = re.compile(r"[0-7]{1,3}")
_OCTAL_2 = re.compile(r"[0-7]{0,2}")
_MOST_HEX_DIGITS, _MOST_OCTAL_DIGITS = 8, 11
_BYTE_ESCAPE = re.compile(r"\\(?:x(?!\{)([0-9A-Fa-f]{0,2})|(0[0-7]{0,2}|[1-7][0-7]{0,2}))")


def take_class(source: Source, options: Options, in_set: bool) -> Ranges | None:
    """The characters of \\w, \\p{L} and the like, read after the backslash; None where another escape follows."""
    start = source.position
    if source.is_at_end:
        source.fail("end of the expression after a backslash")
    letter = source.take_character()
    name = _CLASSES.get(letter.lower())
    if name:
        ranges = _property(source, name, start - 1, options, in_set)
        return ranges if letter in _CLASSES else complement(ranges)
    if letter in ("p", "P") and source.peek("{"):
        found = source.take_match(_PROPERTY)
        if not found:
            source.fail(f"\\{letter}{{ without a name and a closing brace", start - 1)
        ranges = _property(source, found[2], start - 1, options, in_set)
        return complement(ranges) if (letter == "P") != bool(found[1]) else ranges
    source.position = start
    return None


def _property(source: Source, name: str, position: int, options: Options, in_set: bool) -> Ranges:
    ranges = properties.find(name)
    if ranges is None:
        source.fail(f"no character property is named {name!r}", position)
    posix = properties.posix_name(name)
    if posix == "word" and not in_set:
        ranges = properties.word_characters()
    return intersection(ranges, ASCII) if posix and options.limits(posix) else ranges


def take_characters(source: Source, in_set: bool) -> list[int]:
    """The code points of an escape of characters, read after the backslash.

    Only in sets does \\b mean a character, and a list of code points may there hold ranges, which the caller reads.
    """
    start = source.position
    letter = source.take_character()
    if letter == "x":
        return _hexadecimal(source, start, in_set)
    if letter == "u":
        return _four_digits(source, start)
    if letter == "o" and source.peek("{"):
        found = source.take_match(_OCTAL_LIST)
        if found:
            return _checked(source, [(digits, int(digits, 8)) for digits in found[1].split()], _MOST_OCTAL_DIGITS)
        if source.expression[source.position + 1 : source.position + 2].isdecimal():
            source.fail("malformed code point", start - 1)
        return [ord(letter)]
    if letter in "01234567":
        source.position = start - 1
        return [_raw_bytes(source, in_set)]
    source.position = start
    return [_control(source)]


def _hexadecimal(source: Source, start: int, in_set: bool) -> list[int]:
    if source.is_at_end:
        return [ord("x")]
    if not source.peek("{"):
        source.position = start - 1
        return [_raw_bytes(source, in_set)]
    found = source.take_match(_HEX_LIST)
    if found:
        return _checked(source, [(digits, int(digits, 16)) for digits in found[1].split()], _MOST_HEX_DIGITS)
    following = source.expression[source.position + 1 : source.position + 2]
    if following and following in "0123456789abcdefABCDEF":
        source.fail("malformed code point", start - 1)
    return [ord("x")]


def _four_digits(source: Source, start: int) -> list[int]:
    if source.is_at_end:
        return [ord("u")]
    found = source.take_match(_HEX_4)
    if not found:
        source.fail("\\u without four hexadecimal digits", start - 1)
    return [int(found[0], 16)]


def _checked(source: Source, found: list[tuple[str, int]], most_digits: int) -> list[int]:
    if any(len(digits) > most_digits for digits, _ in found):
        source.fail("a code point with too many digits")
    if any(value > LAST for _, value in found):
        source.refuse("a code point beyond U+10FFFF", source.position)
    return [value for _, value in found]


def _raw_bytes(source: Source, in_set: bool) -> int:
    """The character whose UTF-8 bytes \\xHH and \\ooo spell, read from the backslash."""
    start = source.position
    encoded = b""
    is_octal = False
    while found := _BYTE_ESCAPE.match(source.expression, source.position):
        # in a set, bytes in the other notation do not continue a character
        if encoded and in_set and is_octal != (found[2] is not None):
            break
        is_octal = found[2] is not None
        value = int(found[2], 8) if is_octal else int(found[1] or "0", 16)
        if in_set and value > 0xFF:
            source.fail("an octal escape beyond 377", start)
        encoded += bytes([value & 0xFF])
        source.position = found.end()
        try:
            return ord(encoded.decode())
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data":
                source.refuse(f"the bytes {encoded!r}, which are no UTF-8,", start)
    return source.fail("bytes that end within a character of UTF-8", start)


def _control(source: Source) -> int:
    """The code point of \\cx, \\C-x, \\M-x or of a single escaped character, read after the backslash."""
    letter = source.take_character()
    if letter == "c" or (letter == "C"):
        if letter == "C" and not source.is_at_end and not source.take("-"):
            source.fail("\\C without a minus")
        if source.is_at_end:
            source.fail("end of the expression in a control character")
        if source.take("?"):
            return 0x7F
        return _modified(source) & 0x9F
    if letter == "M":
        if not source.take("-") or source.is_at_end:
            source.fail("\\M without a minus and a character")
        return (_modified(source) & 0xFF) | 0x80
    return ord(_CONTROLS.get(letter, letter))


def _modified(source: Source) -> int:
    if source.take("\\"):
        if source.is_at_end:
            source.fail("end of the expression after a backslash")
        return _control(source)
    return ord(source.take_character())

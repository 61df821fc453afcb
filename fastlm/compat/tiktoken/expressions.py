"""Translation of regular expressions from Rust's fancy-regex to Python's `regex`.

The two modules share much syntax and interpret the rest differently, often without an error. So the translation accepts
only syntax that is known to have the same meaning in both. It spells this syntax so that `regex` has one reading of it.
It refuses all other syntax.
"""

from __future__ import annotations

import re

from fastlm.forks import no_fork
from fastlm.pretokenize.regex_module import regex_module

_BRACES = re.compile(r"\{(?:(\d+)(,?)(\d*)|,(\d+))\}")
_CODE = re.compile(r"[xuU]\{([0-9A-Fa-f]+)\}|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})")
_PROPERTY = re.compile(r"([pP])(?:([A-Z])|\{(\^?)([A-Za-z_ ]+)\})")
_FLAGS = re.compile(r"\(\?([imsu]*)(?:-([ims]+))?([:)])")
_NAMED = re.compile(r"\(\?P?<([A-Za-z_][A-Za-z0-9_]*)>")
_COMMENT = re.compile(r"\(\?#[^()\\]*\)")
_REFERENCE = re.compile(r"\\(?:([1-9][0-9]*)|k<([A-Za-z_][A-Za-z0-9_]*)>)|\(\?P=([A-Za-z_][A-Za-z0-9_]*)\)")
_GROUPS = ("(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>")
_AROUND = ("(?=", "(?!", "(?<=", "(?<!")
# The two modules match a lookbehind in different orders. The results of these groups depend on the order.
_NOT_BEHIND = ("(?>", *_AROUND)
_OPERATORS = ("&&", "--", "~~")
_CONTROLS = {"a": "\a", "e": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_SHORTHANDS = {**{char: f"\\{char}" for char in "dDsSwW"}, "h": "0-9A-Fa-f", "H": "[^0-9A-Fa-f]"}
_ASSERTIONS = {"A": r"\A", "b": r"\b", "B": r"\B", "z": r"\Z", "Z": r"(?=\n*\Z)"}
_CASES = frozenset({"Lu", "Ll", "Lt", "LC", "Uppercase", "Lowercase"})
_CATEGORIES = "L Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp C Cc Cf Cn Co"
_LONG_NAMES = "Letter Mark Number Punctuation Any ASCII Assigned Alphabetic White_Space"
_PROPERTIES = _CASES.union(_CATEGORIES.split(), _LONG_NAMES.split())
# characters whose case `regex` folds differently from Rust -> the characters that Rust treats as equal
_FOLDED = {"I": "Ii", "i": "Ii", "\u0130": "\u0130", "\u0131": "\u0131", "\u0345": "\u0345\u0399\u03b9\u1fbe"}


def translated(pat_str: str) -> str:
    """Translates an expression of fancy-regex into an expression of `regex`.

    Args:
        pat_str: The expression of fancy-regex.

    Returns:
        An expression of `regex` with the same matches.

    Raises:
        ValueError: The expression is malformed, or its syntax is not known to have the same meaning in both modules.
    """
    reader = _Reader(pat_str)
    expression = reader.alternatives(frozenset(), False)
    if reader.at < len(pat_str):
        raise reader.refusal(")")
    # Version 1 of the syntax of `regex` has nested sets. It also turns on full case folding, which -f turns off.
    return ("(?V1-f)" if reader.has_nested_sets else "") + expression


class _Reader:
    """A recursive-descent parser that translates while it reads."""

    def __init__(self, pat_str: str) -> None:
        self.pat_str = pat_str
        self.at = 0
        self.has_nested_sets = False
        self._opened = 0
        self._depth = 0
        self._names: set[str] = set()
        self._closed: set[str] = set()  # groups that a reference may name

    def refusal(self, part: str) -> ValueError:
        return ValueError(f"pattern {self.pat_str!r}: {part!r} at character {self.at} is not supported")

    def alternatives(self, flags: frozenset[str], is_behind: bool) -> str:
        """Translates up to the end of a group or of the expression."""
        parts: list[str] = []
        can_repeat = False
        while self.at < len(self.pat_str) and self.pat_str[self.at] != ")":
            char = self.pat_str[self.at]
            if char in "*+?" or _BRACES.match(self.pat_str, self.at):
                if not can_repeat:
                    raise self.refusal(char)
                parts.append(self._repeat(is_behind))
                can_repeat = False
            elif inline := self._match(_FLAGS, ")"):
                flags = self._changed(flags, inline)
                can_repeat = False
            elif comment := _COMMENT.match(self.pat_str, self.at):
                self.at = comment.end()
                can_repeat = False
            else:
                part, can_repeat = self._atom(char, flags, is_behind)
                parts.append(part)
        return "".join(parts)

    def _match(self, group: re.Pattern[str], end: str) -> re.Match[str] | None:
        found = group.match(self.pat_str, self.at)
        return found if found and found[0].endswith(end) else None

    def _changed(self, flags: frozenset[str], found: re.Match[str]) -> frozenset[str]:
        if len(found[0]) <= len("(?)") and found[3] == ")":
            raise self.refusal(found[0])
        if found[3] == ")" and self._depth:
            # in fancy-regex these flags apply after the group too, contrary to its documentation
            raise self.refusal(found[0])
        self.at = found.end()
        return (flags | set(found[1])) - set(found[2] or "")

    def _repeat(self, is_behind: bool) -> str:
        braces = _BRACES.match(self.pat_str, self.at)
        repeat = self.pat_str[self.at]
        if braces:
            least, comma, most, only_most = braces.groups()
            if only_most:
                least, comma, most = "0", ",", only_most
            if most and (not comma or int(most) < int(least)):
                raise self.refusal(braces[0])
            repeat = f"{{{int(least)}{comma}{most}}}"
        self.at = braces.end() if braces else self.at + 1
        kind = self.pat_str[self.at : self.at + 1]
        if kind == "+" and is_behind:
            # `regex` matches a lookbehind from its end, where a possessive repeat matches other characters
            raise self.refusal(kind)
        if kind and kind in "?+":
            self.at += 1
            repeat += kind
        return repeat

    def _atom(self, char: str, flags: frozenset[str], is_behind: bool) -> tuple[str, bool]:
        """Translates one atom. Returns (translation, whether it can be repeated)."""
        reference = _REFERENCE.match(self.pat_str, self.at)
        if reference:
            name = reference[1] or reference[2] or reference[3]
            if name not in self._closed or "i" in flags or is_behind:
                raise self.refusal(reference[0])
            self.at = reference.end()
            return rf"\g<{name}>" if reference[1] else f"(?P={name})", True
        if char == "(":
            return self._group(flags, is_behind)
        if char == "[":
            return self._set(flags), True
        if char == "\\":
            return self._escape(flags)
        self.at += 1
        if char == "|":
            return char, False
        if char == ".":
            return "(?s:.)" if "s" in flags else ".", True
        if char in "^$":
            whole = {"^": r"\A", "$": r"\Z"}[char]
            return f"(?m:{char})" if "m" in flags else whole, False
        return _literal(char, flags), True

    def _group(self, flags: frozenset[str], is_behind: bool) -> tuple[str, bool]:
        named = _NAMED.match(self.pat_str, self.at)
        scoped = self._match(_FLAGS, ":")
        opening = next((group for group in _GROUPS if self.pat_str.startswith(group, self.at)), "(")
        start = self.at
        keys = set()
        if named:
            if named[1] in self._names:
                raise self.refusal(named[0])
            self._names.add(named[1])
            keys = {named[1]}
            opening = f"(?P<{named[1]}>"
            self.at = named.end()
        elif scoped:
            flags = self._changed(flags, scoped)
            opening = "(?:"
        elif opening == "(" and self.pat_str.startswith(("(?", "(*"), self.at):
            raise self.refusal(self.pat_str[self.at : self.at + 4])
        else:
            self.at += len(opening)
        if is_behind and opening in _NOT_BEHIND:
            self.at = start
            raise self.refusal(opening)
        if named or opening == "(":
            self._opened += 1
            keys.add(str(self._opened))
        self._depth += 1
        inner = self.alternatives(flags, is_behind or opening in ("(?<=", "(?<!"))
        self._depth -= 1
        if self.at >= len(self.pat_str):
            self.at = start
            raise self.refusal(opening)
        self.at += 1
        self._closed |= keys
        return f"{opening}{inner})", bool(inner) and opening not in _AROUND

    def _escape(self, flags: frozenset[str]) -> tuple[str, bool]:
        kind = self.pat_str[self.at + 1 : self.at + 2]
        if kind in _ASSERTIONS and kind:
            if self.pat_str.startswith("{", self.at + 2):
                raise self.refusal(f"\\{kind}{{")
            self.at += 2
            return _ASSERTIONS[kind], False
        if kind in ("N", "O"):
            self.at += 2
            return "." if kind == "N" else "(?s:.)", True
        if kind in ("<", ">"):
            raise self.refusal(f"\\{kind}")  # the start and the end of a word
        member, is_character = self._member(flags)
        if is_character:
            return _literal(member, flags), True
        return member if member.startswith(("\\", "[")) and "i" not in flags else _set_of(member, False, flags), True

    def _member(self, flags: frozenset[str]) -> tuple[str, bool]:
        """Returns (a character, True) or (the spelling of several characters in a set, False)."""
        char = self.pat_str[self.at]
        if char != "\\":
            self.at += 1
            return char, True
        kind = self.pat_str[self.at + 1 : self.at + 2]
        code = _CODE.match(self.pat_str, self.at + 1)
        named = _PROPERTY.match(self.pat_str, self.at + 1)
        if code:
            value = int(code[1] or code[2] or code[3] or code[4], 16)
            if value > 0x10FFFF or 0xD800 <= value < 0xE000:
                raise ValueError(f"pattern {self.pat_str!r} names \\{code[0]}, which is not a character")
            self.at = code.end()
            return chr(value), True
        if named:
            name = named[2] or named[4]
            is_negated = (named[1] == "P") != bool(named[3])
            # names such as "Is..." denote a script in one module and a block in the other
            if name.lower().startswith(("is", "in")) and name != "Inherited":
                raise self.refusal(f"\\{named[0]}")
            if "i" in flags and (is_negated or name in _CASES):
                raise self.refusal(f"\\{named[0]}")
            self.at = named.end()
            name = name if name in _PROPERTIES else f"Script={name}"
            return f"\\{'P' if is_negated else 'p'}{{{name}}}", False
        if not kind or (kind.isascii() and kind.isalnum() and kind not in _CONTROLS and kind not in _SHORTHANDS):
            raise self.refusal(f"\\{kind}")
        if kind == "H":
            if "i" in flags:
                raise self.refusal(f"\\{kind}")
            self.has_nested_sets = True
        self.at += 2
        if kind in _SHORTHANDS:
            return _SHORTHANDS[kind], False
        return _CONTROLS.get(kind, kind), True

    def _set(self, flags: frozenset[str]) -> str:
        """Translates a set in brackets."""
        start = self.at
        self.at += 1
        is_negated = self.pat_str.startswith("^", self.at)
        self.at += is_negated
        first = self.at
        parts: list[str] = []
        operator = ""
        while self.at == first or not self.pat_str.startswith("]", self.at):
            if self.at >= len(self.pat_str):
                self.at = start
                raise self.refusal("[")
            found = self.pat_str[self.at : self.at + 2]
            if found in _OPERATORS:
                if "i" in flags or not parts or parts[-1] == operator or operator not in ("", found):
                    raise self.refusal(found)
                operator = found
                self.has_nested_sets = True
                self.at += 2
                parts.append(found)
            elif found[0] == "[":
                if "i" in flags or found == "[:":
                    raise self.refusal(found)
                self.has_nested_sets = True
                parts.append(self._set(flags))
            elif found[0] == "-" and self.at > first and found != "-]":
                raise self.refusal(found)
            else:
                parts.append(self._range(flags))
        if parts[-1] == operator:
            raise self.refusal(operator)
        self.at += 1
        return _set_of("".join(parts), is_negated, flags)

    def _range(self, flags: frozenset[str]) -> str:
        low, is_character = self._member(flags)
        if not is_character:
            return low
        following = self.pat_str[self.at : self.at + 2]
        if following[:1] != "-" or following in ("-]", "--"):
            return re.escape(low)
        if following == "-[":
            raise self.refusal(following)
        self.at += 1
        high, is_character = self._member(flags)
        if not is_character or high < low:
            raise self.refusal(f"{low}-{high}")
        return f"{re.escape(low)}-{re.escape(high)}"


def _literal(char: str, flags: frozenset[str]) -> str:
    if "i" in flags and char.lower() != char.upper():
        return f"[{_FOLDED[char]}]" if char in _FOLDED and char != "\u0345" else f"(?i:{re.escape(char)})"
    return re.escape(char)


def _set_of(members: str, is_negated: bool, flags: frozenset[str]) -> str:
    # `regex` intersects two negated sets of one character if they are adjacent or nested. A surrogate, which no text
    # contains, is added to each negated set, so that no set has only one character.
    found = rf"[^{members}\ud800]" if is_negated else f"[{members}]"
    if "i" not in flags:
        return found
    regex = regex_module()
    with no_fork:
        positive = regex.compile(f"[{members}]")
    folded = "".join(char for char, same in _FOLDED.items() if any(map(positive.match, same)) != is_negated)
    others = f"(?![{''.join(_FOLDED)}])(?i:{found})"
    return f"(?:{others}|[{folded}])" if folded else f"(?:{others})"

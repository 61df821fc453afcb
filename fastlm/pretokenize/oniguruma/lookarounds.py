"""Which lookarounds are refused."""

from __future__ import annotations

from fastlm.pretokenize.oniguruma import errors
from fastlm.pretokenize.oniguruma.lengths import lengths
from fastlm.pretokenize.oniguruma.nodes import NEWLINE_SEQUENCE, Anchor, Capture, Keep, Kind, Look, Node, walk

MOST_CHARACTERS = 65_535
_ENDS = (Kind.TEXT_END, Kind.LAST_LINE_END)


def check(node: Node, expression: str) -> None:
    """Raises ValueError where a lookbehind holds what Oniguruma does not allow in it, or fastlm does not support."""
    for look in walk(node):
        if isinstance(look, Look) and Keep() in walk(look.body):
            raise errors.unsupported(expression, r"\K in a lookaround", look.position)
        if isinstance(look, Look) and look.is_behind:
            if lengths(look.body)[0] > MOST_CHARACTERS:
                raise errors.invalid(
                    expression, f"a lookbehind of more than {MOST_CHARACTERS} characters", look.position
                )
            for inner in walk(look.body):
                if inner == NEWLINE_SEQUENCE:
                    # Oniguruma goes back two characters for it
                    raise errors.unsupported(expression, r"\R in a lookbehind", look.position)
                found = _refused(inner, look.is_negated)
                if found:
                    raise errors.invalid(expression, f"a lookbehind that holds {found}", look.position)


def _refused(node: Node, is_negated: bool) -> str | None:
    if isinstance(node, Look) and not node.is_behind:
        return "a lookahead"
    if isinstance(node, Look) and node.is_negated and not is_negated:
        return "a negative lookbehind"
    if isinstance(node, Capture) and is_negated:
        return "a group that captures"
    if isinstance(node, Anchor) and node.kind in _ENDS:
        return "an anchor at the end of the text"
    return None

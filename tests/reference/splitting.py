"""What `tokenizers` makes of the matches of a pattern: the pieces of each behavior of its Split."""

from __future__ import annotations

BEHAVIORS = ("isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous")
Span = tuple[int, int]


def pieces(matches: list[Span], size: int, behavior: str, invert: bool) -> list[Span]:
    """Start and end of each piece of a text of `size` characters."""
    spans: list[tuple[Span, bool]] = []
    at = 0
    for start, end in matches:
        if at != start:
            spans.append(((at, start), invert))
        spans.append(((start, end), not invert))
        at = end
    if at != size:
        spans.append(((at, size), invert))
    if behavior == "removed":
        found = [span for span, is_match in spans if not is_match]
    elif behavior == "merged_with_next":
        found = [(-end, -start) for start, end in _joined([((-b, -a), m) for (a, b), m in reversed(spans)], behavior)]
        found.reverse()
    else:
        found = _joined(spans, behavior)
    return [(start, end) for start, end in found if start < end]


def _joined(spans: list[tuple[Span, bool]], behavior: str) -> list[Span]:
    """Pieces, each of which may take in the one that follows it."""
    found: list[Span] = []
    was_match = False
    for span, is_match in spans:
        joins = {"isolated": False, "contiguous": is_match == was_match}.get(behavior, is_match and not was_match)
        if joins and found:
            found[-1] = (found[-1][0], span[1])
        else:
            found.append(span)
        was_match = is_match
    return found

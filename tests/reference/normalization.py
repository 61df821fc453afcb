"""Unicode normalization with alignment, character by character, from the definitions of the Unicode Standard.

Decompositions of single characters and compositions of two come from the caller, so that one reference serves each
version of Unicode.
"""

from collections.abc import Callable

# a character and by how many characters its text has grown with it
Change = tuple[str, int]


def normalized_with_origins(
    text: str,
    decompose: Callable[[str], str],
    combining_class: Callable[[str], int],
    compose: Callable[[str], str] | None,
) -> tuple[str, list[int]]:
    """The normalized text and, for each of its characters, the index of the character that it comes from.

    decompose: the full decomposition of one character. compose: what NFC makes of two characters; None for the forms
    that do not compose.
    """
    changes = [(part, int(k > 0)) for char in text for k, part in enumerate(decompose(char))]
    changes = in_canonical_order(changes, combining_class)
    if compose:
        changes = composed(changes, combining_class, compose)
    origins, at = [], 0
    for _, change in changes:
        origins.append(max(at - 1, 0) if change > 0 else at)
        # a change of -k replaces k + 1 characters
        at += 0 if change > 0 else 1 - change
    return "".join(char for char, _ in changes), origins


def in_canonical_order(changes: list[Change], combining_class: Callable[[str], int]) -> list[Change]:
    """Runs of combining characters sorted by their class (Unicode Standard, D109)."""
    result: list[Change] = []
    run: list[Change] = []
    for change in [*changes, ("", 0)]:
        if change[0] and combining_class(change[0]):
            run.append(change)
            continue
        result += sorted(run, key=lambda marked: combining_class(marked[0]))
        run = []
        result.append(change)
    return result[:-1]


def composed(
    changes: list[Change], combining_class: Callable[[str], int], compose: Callable[[str], str]
) -> list[Change]:
    """Characters joined with the last starter unless a character between blocks them (Unicode Standard, D117)."""
    result: list[Change] = []
    starter, last_class = -1, 0
    for char, change in changes:
        this_class = combining_class(char)
        if starter >= 0 and (starter == len(result) - 1 or last_class < this_class):
            joined = compose(result[starter][0] + char)
            if len(joined) == 1:
                result[starter] = joined, result[starter][1] + change - 1
                continue
        if this_class == 0:
            starter = len(result)
        last_class = this_class
        result.append((char, change))
    return result

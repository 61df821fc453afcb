"""Texts whose ids differ: where, and why."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fastlm.normalizers import normalize_str
from fastlm.pretokenize.steps.step_pattern import StepPattern
from fastlm.testing.merges import merges_of, reasons, tokens_of
from fastlm.testing.peers import OnSpecial, Peer
from fastlm.testing.results import Difference, Kind
from fastlm.text.shown import shown
from fastlm.tokenizer import Tokenizer

AROUND = 30  # characters on each side of a difference
MOST_PRETOKEN_BYTES = 2000  # the explanation takes quadratic time
WINDOW = 200  # characters that are tried first


class Cause(NamedTuple):
    """Why ids differ; pretokens and merges of fastlm and of the peer as readable text, where they are known."""

    kind: Kind
    reasons: list[str]
    pretokens: tuple[list[str], list[str]] = ([], [])
    merges: tuple[list[str], list[str]] = ([], [])


class PeerError(Exception):
    """The other library raised an error for a text."""


class Pair:
    """A tokenizer and its peer.

    Args:
        tokenizer: The tokenizer of fastlm.
        peer: The other one.
        on_special: What becomes of special tokens in texts.
    """

    def __init__(self, tokenizer: Tokenizer, peer: Peer, on_special: OnSpecial) -> None:
        self.tokenizer, self.peer, self.on_special = tokenizer, peer, on_special

    def ours(self, text: str) -> list[int]:
        """The ids of fastlm."""
        return self.tokenizer.encode(text, on_special=self.on_special)

    def theirs(self, text: str) -> list[int]:
        """The ids of the peer. Raises PeerError for an error of the library, also for a panic of Rust."""
        try:
            return self.peer.encode([text], self.on_special)[0]
        except BaseException as error:
            if isinstance(error, Exception) or type(error).__name__ == "PanicException":
                raise PeerError(f"{type(error).__name__}: {error}") from None
            raise

    def differ(self, text: str) -> bool:
        """Whether the ids of a text differ."""
        try:
            return self.ours(text) != self.theirs(text)
        except PeerError:
            return True

    def differing(self, texts: Sequence[str]) -> list[int]:
        """The indices of the texts with different ids."""
        ours = self.tokenizer.encode_batch(list(texts), 1, on_special=self.on_special)
        try:
            theirs = self.peer.encode(texts, self.on_special)
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            return [k for k, text in enumerate(texts) if self.differ(text)]
        return [k for k, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other]

    def explained(self, text: str, text_index: int) -> Difference:
        """A text with different ids, explained."""
        ours = self.ours(text)
        try:
            theirs: list[int] = self.theirs(text)
        except PeerError:
            theirs = []
        start = self._first_different_byte(ours, theirs)
        normalized = self._normalized(text).encode()
        character = len(normalized[:start].decode("utf-8", "ignore"))
        around = normalized.decode()[max(0, character - AROUND) : character + AROUND]
        place = min(character, len(text))
        smallest = smaller(text, place, self.differ)
        cause = self._why(smallest)
        our_ids = self.ours(smallest)
        try:
            their_ids = self.theirs(smallest)
        except PeerError:
            their_ids = []
        vocabulary = self.tokenizer.vocabulary
        return Difference(
            library=self.peer.library,
            text_index=text_index,
            character=character,
            around=around,
            smallest=smallest,
            ours=our_ids,
            theirs=their_ids,
            our_tokens=[shown(vocabulary.bytes_of(token_id)) for token_id in our_ids],
            their_tokens=[shown(self.peer.bytes_of(token_id)) for token_id in their_ids],
            our_pretokens=cause.pretokens[0],
            their_pretokens=cause.pretokens[1],
            our_merges=cause.merges[0],
            their_merges=cause.merges[1],
            kind=cause.kind,
            reasons=cause.reasons,
        )

    def _first_different_byte(self, ours: list[int], theirs: list[int]) -> int:
        shared = next((k for k, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
        count = min(len(ours), len(theirs)) if shared is None else shared
        return len(self.tokenizer.decode_bytes(ours[:count]))

    def _normalized(self, text: str) -> str:
        return normalize_str(self.tokenizer.vocabulary.rules.normalizers, text)

    def _why(self, text: str) -> Cause:
        name = self.peer.library
        ours = self.ours(text)
        try:
            theirs = self.theirs(text)
        except PeerError as error:
            return Cause("error", [f"{name} raised {str(error)[:200]}"])
        return self._why_added(ours, theirs) or self._why_split(text)

    def _why_added(self, ours: list[int], theirs: list[int]) -> Cause | None:
        """Why the ids differ, if it is because of added tokens."""
        name = self.peer.library
        for token in self.tokenizer.vocabulary.added_tokens:
            their_id = self.peer.id_of(token.content)
            counts = ours.count(token.id), 0 if their_id is None else theirs.count(their_id)
            if counts[0] != counts[1]:
                owner, lacking = ("fastlm", name) if counts[0] > counts[1] else (name, "fastlm")
                said = f"{owner} finds the added token {token.content!r} here, and {lacking} does not."
                return Cause("added tokens", [said])
            if counts[0] and their_id != token.id:
                said = f"The added token {token.content!r} has id {token.id} in fastlm and {their_id} in {name}."
                return Cause("added tokens", [said])
        return None

    def _why_split(self, text: str) -> Cause:
        name = self.peer.library
        ours, theirs = self._pretokens(text), self.peer.pretokens(text)
        cause = Cause("ids", [], (list(map(shown, ours)), list(map(shown, theirs))))
        if b"".join(ours) != b"".join(theirs):
            joined = [shown(b"".join(pretokens)) for pretokens in (ours, theirs)]
            said = f"The normalized text is “{joined[0]}” in fastlm and “{joined[1]}” in {name}."
            return cause._replace(kind="normalization", reasons=[said])
        if ours != theirs:
            said = f"The pretokens differ: fastlm has {len(ours)} and {name} has {len(theirs)}."
            return cause._replace(kind="pretokens", reasons=[said])
        for pretoken in ours:
            if len(pretoken) <= MOST_PRETOKEN_BYTES:
                found = reasons(pretoken, ("fastlm", self._rank_of), (name, self.peer.rank_of))
                if found:
                    said = f"Both have the pretoken “{shown(pretoken)}”."
                    merges = [list(map(str, merges_of(pretoken, rank))) for rank in (self._rank_of, self.peer.rank_of)]
                    return cause._replace(kind="merges", reasons=[said, *found], merges=(merges[0], merges[1]))
        return cause._replace(reasons=[self._other_ids(text) or self._unfollowed(ours)])

    def _other_ids(self, text: str) -> str | None:
        """A sentence if the tokens are the same and have other ids, or None."""
        ours = [(self.tokenizer.vocabulary.bytes_of(token_id), token_id) for token_id in self.ours(text)]
        theirs = [(self.peer.bytes_of(token_id), token_id) for token_id in self.theirs(text)]
        if [token for token, _ in ours] != [token for token, _ in theirs]:
            return None
        (token, our_id), (_, their_id) = next(pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1])
        ids = f"{our_id} in fastlm and {their_id} in {self.peer.library}"
        return f"The tokens are the same, with other ids: “{shown(token)}” has id {ids}."

    def _unfollowed(self, pretokens: list[bytes]) -> str:
        """What the merges say, where both libraries have the same merges."""
        made = [tokens_of(pretoken, merges_of(pretoken, self._rank_of)) for pretoken in pretokens]
        tokens = " | ".join(shown(token) for row in made for token in row)
        return f"Pretokens and merges are the same. The merges make {tokens}."

    def _pretokens(self, text: str) -> list[bytes]:
        """The pretokens of fastlm, for a text without added tokens."""
        vocabulary = self.tokenizer.vocabulary
        prefix = " " if vocabulary.rules.add_prefix_space else ""
        normalized = self._normalized(text)
        content = (normalized if normalized.startswith(prefix) else prefix + normalized).encode()
        pattern = vocabulary.pattern
        if isinstance(pattern, StepPattern) and pattern.changes_text:
            found = pattern.pretokens(content.decode(), np.arange(len(content.decode())))
            content, places = found.text, found.ends
        else:
            places = pattern.find_ends(content)
        ends = [0, *places.tolist()]
        return [content[a:b] for a, b in itertools.pairwise(ends)]

    def _rank_of(self, left: bytes, right: bytes) -> int | None:
        return self._ranks.get((left, right))

    @functools.cached_property
    def _ranks(self) -> dict[tuple[bytes, bytes], int]:
        return {pair: rank for rank, pair in enumerate(self.tokenizer.vocabulary.merges)}


def smaller(text: str, place: int, differs: Callable[[str], bool]) -> str:
    """A small part of a text for which `differs` is true, as it is for the text.

    Args:
        text: The text.
        place: The index of a character near which the difference is.
        differs: Whether a part of the text has different ids.
    """
    size = WINDOW
    found = text
    while size < len(text):
        part = text[max(0, place - size) : place + size]
        if differs(part):
            found = part
            break
        size *= 4
    step = max(1, len(found) // 2)
    while step:
        if len(found) > step and differs(found[step:]):
            found = found[step:]
        elif len(found) > step and differs(found[:-step]):
            found = found[:-step]
        else:
            step //= 2
    return found

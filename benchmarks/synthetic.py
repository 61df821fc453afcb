"""Text of any size that grows as TinyStories or OpenWebText do, or faster: `python -m benchmarks.synthetic --help`.

A corpus that repeats proves nothing about training: after the first round its words are known. Here the number of
distinct GPT-2 pretokens follows the curve measured on the real corpus, and beyond what was measured Heaps' law, whose
exponent is that of the last two points. A word is made at the very byte where the curve asks for the next one, and is
drawn again by its rank: as often as measured for the frequent ones, and for the others by the power of rank that
belongs to that growth (Zipf-Mandelbrot), so that a word's frequency is that at which it first came.

The text is a chain of words, numbers and runs of punctuation, with what stands between them and the ends of documents,
such that GPT-2's pattern splits it into these very pieces.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, BinaryIO

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from benchmarks import END_OF_TEXT
from fastlm.commands.sizes import parse_size

BLOCK_BYTES = 1 << 22
# buckets of equal probability by which ranks are drawn
BUCKETS = 1 << 14
LARGEST_RANK = 10**9
LONGEST_WORD = 48
# bytes that are copied at a time
SLACK = 16
# the text between two words is drawn by one byte
JOINTS = 256

ONSETS = [
    "",
    *"t s r n d l m c p b h f g w st th ch sh pr tr str v br cr cl bl gr fr k j qu sp pl fl sk sc wh y z".split(),  # noqa: SIM905
]
NUCLEI = ["e", "a", "i", "o", "u", "ea", "ou", "io", "ai", "ie", "ee", "oo"]
CODAS = ["", "n", "r", "s", "t", "l", "d", "m", "nt", "ng", "c", "st", "ck", "rs", "ll", "p"]

LATIN = "abcdefghijklmnopqrstuvwxyz"
# letters of one code point each and no marks, since a mark ends a pretoken
SCRIPTS = [
    "áßçđéƒğħíĵķłмñóþ¢řšŧúvŵxýž".replace("¢", "ø").replace("м", "ɱ"),
    "абцдефгхийклмнопщрстувшэыз",
    "αβχδεφγηιξκλμνοπψρστυωθζάέ",
    "ابتثجحخدذرزسشصضطظعغفقكلمنه",
    "가나다라마바사아자차카타파하고노도로모보소오조초코토",
    "中国人民大学生日本語文字時間世界社会新年月水火山川田",
]
PUNCTUATION = "!?.,;:-*()/&%$#@+=~"

LOWER, CAPITAL, UPPER, NUMBER, SCRIPT, RUN = range(6)


@dataclass(frozen=True)
class Profile:
    """Measurements of a corpus.

    growth: (bytes, distinct pretokens). ranks: (rank, share of all words). kinds: shares of the kinds of new words that
    follow a blank, and, in `bare`, of those that do not, which `bare_share` of all new words are. joints: what stands
    after a word, and how often of 256; it ends with a tilde where a bare word follows.
    """

    growth: tuple[tuple[float, int], ...]
    ranks: tuple[tuple[int, float], ...]
    kinds: tuple[float, ...]
    bare: tuple[float, ...]
    bare_share: float
    joints: tuple[tuple[str, int], ...]
    document_bytes: int


PROFILES = {
    "tinystories": Profile(
        growth=((5e4, 1_309), (2e5, 2_554), (5e5, 3_632), (1.42e6, 5_322), (6.49e6, 8_719)),
        ranks=((1, 0.078), (3, 0.039), (10, 0.0097), (100, 1.6e-3), (1000, 7.5e-5), (5000, 2.8e-6)),
        kinds=(0.86, 0.125, 0.001, 0.002, 0.008, 0.004),
        bare=(0.2, 0.72, 0.005, 0.005, 0.07, 0.0),
        bare_share=0.125,
        joints=(
            *((".", 22), (",", 13), (".\n~", 6), (".\n\n~", 3), (' "~', 3), ('."', 2), ("'s", 2), ("!", 2)),
            *(('!"', 2), ("'t", 1), ('?"\n~', 1), (',"', 1), ("-~", 1)),
        ),
        document_bytes=900,
    ),
    "openwebtext": Profile(
        growth=((5e4, 2_772), (2e5, 7_752), (1e6, 22_518), (2.51e6, 39_052), (4.68e6, 55_723)),
        ranks=((1, 0.042), (3, 0.029), (10, 0.0118), (100, 9.7e-4), (1000, 1.0e-4), (10_000, 8.0e-6)),
        kinds=(0.576, 0.322, 0.057, 0.021, 0.018, 0.006),
        bare=(0.395, 0.415, 0.107, 0.073, 0.01, 0.0),
        bare_share=0.18,
        joints=(
            *((",", 13), (".", 11), (".\n\n~", 4), ("-~", 3), (" (~", 2), (")", 2), ("'s", 2), (' "~', 1), (" “~", 1)),
            *(("”", 1), ('."', 1), (":", 1), ("/~", 1), (" –", 1), ("?", 1), (" $~", 1), (".\n~", 1), ("—~", 1)),
        ),
        document_bytes=4_800,
    ),
    # no corpus is like this: one word in ten is new, for training that runs out of memory before it runs out of text
    "many-words": Profile(
        growth=((5e4, 8_000), (1e6, 90_000), (1e9, 20_000_000)),
        ranks=((1, 0.042), (3, 0.029), (10, 0.0118), (100, 9.7e-4), (1000, 1.0e-4), (10_000, 2.0e-5)),
        kinds=(0.576, 0.322, 0.057, 0.021, 0.018, 0.006),
        bare=(0.395, 0.415, 0.107, 0.073, 0.01, 0.0),
        bare_share=0.05,
        joints=((",", 13), (".", 11), (".\n\n~", 4), ("-~", 3), (" (~", 2), (")", 2), ("'s", 2)),
        document_bytes=4_800,
    ),
}


def distinct_pretokens(profile: Profile, size: float) -> float:
    """How many distinct pretokens a text of `size` bytes has by the profile's curve."""
    return float(_along(*_logarithms(profile), np.log(np.maximum([size], 1.0)))[0])


def corpus(profile: Profile, size: int, seed: int = 336, block_bytes: int = BLOCK_BYTES) -> Iterator[memoryview]:
    """The first `size` bytes of the profile's text, cut to whole UTF-8, in blocks that are overwritten by the next.

    The same profile and seed give the same bytes whatever the block and the size; a smaller text begins a larger one.
    """
    text, starts, due = _words(profile, size, seed, False)
    bare_text, bare_starts, bare_due = _words(profile, size, seed, True)
    text, starts = (
        np.concatenate([text[: starts[-1]], bare_text]),
        np.concatenate([starts[:-1], starts[-1] + bare_starts]),
    )
    joints, joint_starts, joint_bare = _joints(profile)
    low, width = _rank_buckets(profile)
    end, _ = _packed([f".\n{END_OF_TEXT}"])
    state = np.array([seed, 0, 0, 0, profile.document_bytes, 1], np.uint64)
    buffer = np.empty(block_bytes + 2 * LONGEST_WORD + len(end) + SLACK, np.uint8)
    written = 0
    while written < size:
        used = _write(buffer, block_bytes, state, text, starts, due, bare_due, joints, joint_starts, joint_bare,
                      low, width, end, profile.document_bytes)  # fmt: skip
        if written + used > size:
            used = size - written
            while used and buffer[used] & 0xC0 == 0x80:
                used -= 1
            size = written + used
        yield buffer[:used].data
        written += used


def _logarithms(profile: Profile) -> tuple[Any, Any]:
    sizes, counts = np.log(np.array(profile.growth)).T
    return sizes, counts


def _along(x: Any, y: Any, at: Any) -> Any:
    """exp of the line through the points at `at`, its ends drawn out."""
    segment = np.clip(np.searchsorted(x, at) - 1, 0, len(x) - 2)
    slope = (y[segment + 1] - y[segment]) / (x[segment + 1] - x[segment])
    return np.exp(y[segment] + slope * (at - x[segment]))


def _words(profile: Profile, size: int, seed: int, bare: bool) -> tuple[Any, Any, Any]:
    """Bytes, starts, and the byte of the text where each is due, of all words after a space or (bare) of the others."""
    sizes, counts = _logarithms(profile)
    share = profile.bare_share if bare else 1 - profile.bare_share
    number = int(distinct_pretokens(profile, size) * share) + 1
    # texts between words are pretokens too
    due = _along(counts, sizes, np.log(np.arange(1, number + 1) / share + len(profile.joints)))
    kinds = np.cumsum(profile.bare if bare else profile.kinds)
    # drawn rather from the front, where the short ones are
    syllables, syllable_starts = _packed(sorted(map("".join, product(ONSETS, NUCLEI, CODAS)), key=len))
    scripts, script_starts = _packed([letter for script in SCRIPTS for letter in script])
    text, starts = np.empty(number * LONGEST_WORD + SLACK, np.uint8), np.zeros(number + 1, np.int64)
    punctuation = np.frombuffer(PUNCTUATION.encode(), np.uint8)
    seen = np.zeros(1 << 22 if number < 1 << 20 else 1 << 26, np.uint64)
    _make_words(text, starts, seen, seed + bare, bare, kinds / kinds[-1], syllables, syllable_starts, scripts,
                script_starts, punctuation)  # fmt: skip
    return text[: starts[-1] + SLACK], starts, due


def _packed(pieces: list[str]) -> tuple[Any, Any]:
    spelled = [piece.encode() for piece in pieces]
    return np.frombuffer(b"".join(spelled) + bytes(SLACK), np.uint8), np.cumsum([0, *map(len, spelled)])


def _joints(profile: Profile) -> tuple[Any, Any, Any]:
    drawn = [joint for joint, times in profile.joints for _ in range(times)]
    drawn += [""] * (JOINTS - len(drawn))
    text, starts = _packed([joint.removesuffix("~") for joint in drawn])
    return text, starts, np.array([joint.endswith("~") for joint in drawn])


def _rank_buckets(profile: Profile) -> tuple[Any, Any]:
    """First rank (from 0) and number of ranks of each of BUCKETS equally probable buckets."""
    ranks, shares = np.array(profile.ranks).T
    (size, count), (last_size, last_count) = profile.growth[-2:]
    exponent = np.log(last_count / count) / np.log(last_size / size)
    # a word of rank r first comes where the text has r words, and is as frequent as that: the power is 1 / exponent
    ranks = np.append(ranks, LARGEST_RANK)
    shares = np.append(shares, shares[-1] * (ranks[-2] / LARGEST_RANK) ** (1 / exponent))
    grid = np.unique(
        np.concatenate([np.arange(1, 20_000), np.geomspace(20_000, LARGEST_RANK, 20_000)]).astype(np.int64)
    )
    mass = _along(np.log(ranks), np.log(shares), np.log(grid)) * np.diff(grid, append=grid[-1] + 1)
    total = np.cumsum(mass)
    edges = np.interp(np.arange(BUCKETS + 1) / BUCKETS, total / total[-1], grid).astype(np.int64) - 1
    return edges[:-1], np.maximum(edges[1:] - edges[:-1], 1)


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def _random(state: Any) -> Any:
    """The next 64 bits of splitmix64 (Steele et al. 2014), whose state is state[0]."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def _write_marks(text: Any, at: Any, kind: int, count: int, punctuation: Any, state: Any) -> Any:
    """Writes `count` digits or punctuation marks from `at`; returns their end."""
    for _ in range(count):
        if kind == NUMBER:
            text[at] = 48 + _random(state) % np.uint64(10)
        else:
            text[at] = punctuation[_random(state) % np.uint64(len(punctuation))]
        at += 1
    return at


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def _spell(latin: Any, count: int, syllables: Any, syllable_starts: Any, state: Any) -> Any:
    """Writes `count` syllables, of which the first are the most probable; returns the number of letters."""
    size = 0
    for _ in range(count):
        u = np.float64(_random(state) >> np.uint64(40)) / (1 << 24)
        syllable = int(u * u * u * (len(syllable_starts) - 1))
        for j in range(syllable_starts[syllable], syllable_starts[syllable + 1]):
            latin[size] = syllables[j]
            size += 1
    return size


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def _write_letters(text: Any, at: Any, kind: int, latin: Any, scripts: Any, script_starts: Any, script: Any) -> Any:
    """Writes Latin letters from `at`, in the case of `kind` or as letters of another script; returns their end."""
    for j in range(min(len(latin), 12) if kind == SCRIPT else len(latin)):
        if kind == SCRIPT:
            letter = script + latin[j] - 97
            for c in range(script_starts[letter], script_starts[letter + 1]):
                text[at] = scripts[c]
                at += 1
        else:
            text[at] = latin[j] - 32 * (kind == UPPER or (kind == CAPITAL and j == 0))
            at += 1
    return at


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def _hash_of(text: Any, start: Any, end: Any) -> Any:
    """FNV-1a of a word, with its high bits mixed into the low ones."""
    hashed = np.uint64(14695981039346656037)
    for j in range(start, end):
        hashed = (hashed ^ text[j]) * np.uint64(1099511628211)
    return hashed ^ (hashed >> np.uint64(29))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _make_words(
    text: Any, starts: Any, seen: Any, seed: int, bare: bool, kinds: Any, syllables: Any, syllable_starts: Any,
    scripts: Any, script_starts: Any, punctuation: Any,
) -> None:  # fmt: skip
    """Words of all kinds, all different: one whose hash was seen is made again."""
    state = np.array([seed * 7919 + 1], np.uint64)
    latin = np.empty(LONGEST_WORD, np.uint8)
    k = 0
    tried = 0
    while k < len(starts) - 1:
        r = _random(state)
        share = np.float64(r >> np.uint64(40)) / (1 << 24)
        kind = 0
        while kind < len(kinds) - 1 and share >= kinds[kind]:
            kind += 1
        at = starts[k]
        if not bare:
            text[at] = 32
            at += 1
        # the first words are short and ordinary; one that was made already gets longer
        if k < 200 and not bare:
            kind = LOWER
        longest = 1 + int(np.log2(k + 2) / 5.5) + (tried > 8)
        number = min(1 + int((r & np.uint64(0xFFFF)) % np.uint64(longest)) + (tried > 32), 5)
        if kind in (NUMBER, RUN):
            at = _write_marks(text, at, kind, number + 1 + (tried > 16), punctuation, state)
        else:
            script = (r >> np.uint64(16)) % np.uint64(len(script_starts) // 26)
            size = _spell(latin, number, syllables, syllable_starts, state)
            at = _write_letters(text, at, kind, latin[:size], scripts, script_starts, script * 26)
        hashed = _hash_of(text, starts[k], at)
        bit = np.uint64(1) << (hashed & np.uint64(63))
        word = (hashed >> np.uint64(6)) & np.uint64(len(seen) - 1)
        if seen[word] & bit:
            tried += 1
            continue
        seen[word] |= bit
        tried = 0
        k += 1
        starts[k] = at


@intrinsic
def _copy_slack(typingctx: Any, out: Any, at: Any, source: Any, start: Any) -> Any:
    """Copies SLACK bytes, which byte by byte costs more than all else."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), SLACK).as_pointer()
        places = []
        for number in (0, 2):
            array = context.make_array(signature.args[number])(context, builder, args[number])
            places.append(builder.bitcast(builder.gep(array.data, [args[number + 1]]), vector))
        loaded = builder.load(places[1])
        loaded.align = 1
        builder.store(loaded, places[0]).align = 1
        return context.get_dummy_value()

    return types.void(out, types.int64, source, types.int64), codegen


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def _copy(out: Any, at: int, source: Any, start: int, size: int) -> None:
    """Copies `size` bytes, and up to SLACK more behind them."""
    _copy_slack(out, at, source, start)  # type: ignore[call-arg]
    for k in range(SLACK, size, SLACK):
        _copy_slack(out, at + k, source, start + k)  # type: ignore[call-arg]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _write(
    out: Any, goal: int, state: Any, text: Any, starts: Any, due: Any, bare_due: Any, joints: Any, joint_starts: Any,
    joint_bare: Any, low: Any, width: Any, end: Any, document_bytes: int,
) -> Any:  # fmt: skip
    """Text up to the first word end at `goal` bytes or more; how many.

    state: that of the generator, bytes written, words made of either sort, where the document may end, and whether a
    bare word is next.
    """
    at = 0
    position = np.int64(state[1])
    made, bare_made, document_end = np.int64(state[2]), np.int64(state[3]), np.int64(state[4])
    bare = state[5] != 0
    while at < goal:
        r = _random(state)
        # a word that is due, or one drawn by rank of those there are
        born = bare_made if bare else made
        word_due = bare_due if bare else due
        if born < len(word_due) and position + at >= word_due[born]:
            word = np.int64(born)
            if bare:
                bare_made += 1
            else:
                made += 1
        elif born == 0:
            word = np.int64(0)
        else:
            bucket = np.int64(r & np.uint64(BUCKETS - 1))
            part = np.int64((r >> np.uint64(14)) & np.uint64(0xFFFFFFF))
            word = low[bucket] + (part * width[bucket] >> 28)
            if word >= born:
                bucket = part & BUCKETS - 1
                word = (low[bucket] + word % width[bucket]) % born
        if bare:
            word += len(due)
        start, size = starts[word], starts[word + 1] - starts[word]
        _copy(out, at, text, start, size)
        at += size
        last = text[start + size - 1]
        is_run = last < 48 or (57 < last < 65)  # no text may follow punctuation directly
        bare = False
        if is_run or last == 126:
            continue
        if position + at >= document_end:
            _copy(out, at, end, 0, len(end) - SLACK)
            at += len(end) - SLACK
            u = np.float64(_random(state) >> np.uint64(11)) / (1 << 53)
            document_end = position + at + np.int64(-document_bytes * np.log(1 - u))
            bare = True
            continue
        joint = np.int64(r >> np.uint64(56))
        start, size = joint_starts[joint], joint_starts[joint + 1] - joint_starts[joint]
        _copy(out, at, joints, start, size)
        at += size
        bare = joint_bare[joint]
    state[1] = position + at
    state[2], state[3], state[4], state[5] = made, bare_made, document_end, bare
    return at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, required=True)
    parser.add_argument("--size", type=parse_size, required=True, help="bytes, such as 2.2GB")
    parser.add_argument("--seed", type=int, default=336)
    parser.add_argument("--out", required=True, help="a file, or - for standard output")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        out: BinaryIO = sys.stdout.buffer if arguments.out == "-" else stack.enter_context(open(arguments.out, "wb"))
        for block in corpus(PROFILES[arguments.profile], arguments.size, arguments.seed):
            out.write(block)


if __name__ == "__main__":
    main()

"""Counts the calls from Tokenizer.encode to the loop in C and back: `python -m tests.call_chain [CHECKOUT]`.

Encodes a text of one pretoken with a tokenizer that has encoded it before, and prints every call: the Python
functions that sys.setprofile reports, and the C functions of fastlm's native modules, those that Cython makes of .pyx
files as well as those of headers. For this it builds a copy of the checkout, by default this one, without
optimization and with GCC's -finstrument-functions, so functions are counted that an optimized build inlines. Helpers
that Cython adds, such as a function that takes arguments from a tuple, are not counted.
"""

from __future__ import annotations

import bisect
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# the first function of the loop in C, in this version and in older ones
LOOP = "fastlm_encode"

# Preloaded; GCC calls the last two functions at each entry and exit of a function.
RECORDER = """
#include <stdint.h>
#define APART __attribute__((no_instrument_function))
enum { MOST_EVENTS = 100000 };
static uint64_t events[2 * MOST_EVENTS];
static int64_t n_events;
static int is_on;
APART void recorder_start(void) { n_events = 0; is_on = 1; }
APART int64_t recorder_stop(void) { is_on = 0; return n_events; }
APART uint64_t *recorder_events(void) { return events; }
APART static void note(void *function, uint64_t is_entry) {
    if (!is_on || n_events == MOST_EVENTS)
        return;
    events[2 * n_events] = (uint64_t)(uintptr_t)function;
    events[2 * n_events + 1] = is_entry;
    n_events++;
}
APART void __cyg_profile_func_enter(void *function, void *caller) { (void)caller; note(function, 1); }
APART void __cyg_profile_func_exit(void *function, void *caller) { (void)caller; note(function, 0); }
"""

PROGRAM = """
import ctypes, sys
import fastlm

recorder = ctypes.CDLL(sys.argv[1])
recorder.recorder_stop.restype = ctypes.c_int64
recorder.recorder_events.restype = ctypes.POINTER(ctypes.c_uint64)
tokenizer = fastlm.Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"he"}, [(b"h", b"e")], ["<|end|>"])
for _ in range(3):
    tokenizer.encode("hello")
frames = []

def profile(frame, event, argument):
    if event == "call":
        frames.append(frame.f_globals["__name__"] + "." + frame.f_code.co_qualname)

sys.setprofile(profile)
tokenizer.encode("hello")
sys.setprofile(None)
recorder.recorder_start()
tokenizer.encode("hello")
n = recorder.recorder_stop()
for frame in frames:
    print("frame", frame)
events = recorder.recorder_events()
for k in range(n):
    print("event", events[2 * k], events[2 * k + 1])
for line in open("/proc/self/maps"):
    address, _, offset, *_, path = line.split()
    if "/fastlm/" in path and int(offset, 16) == 0:
        print("module", int(address.split("-")[0], 16), path)
"""


def main() -> int:
    checkout = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recorder = folder / "recorder.so"
        (folder / "recorder.c").write_text(RECORDER)
        command = ["gcc", "-O1", "-shared", "-fPIC", "-o", str(recorder), str(folder / "recorder.c")]
        subprocess.run(command, check=True)
        copy = instrumented(checkout, folder / "checkout")
        environment = {**os.environ, "PYTHONPATH": str(copy), "LD_PRELOAD": str(recorder)}
        output = subprocess.run(
            [sys.executable, "-P", "-c", PROGRAM, str(recorder)],
            cwd=copy,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        lines = [line.split() for line in output.splitlines()]
        symbols = Symbols({int(line[1]): Path(line[2]) for line in lines if line[0] == "module"})
    frames = [line[1] for line in lines if line[0] == "frame"]
    calls = list(calls_of([(int(line[1]), line[2] == "1") for line in lines if line[0] == "event"], symbols))
    for frame in frames:
        print(frame)
    for depth, name, _ in calls:
        print("    " + "  " * depth + name)
    outside = [name for _, name, is_inside in calls if not is_inside]
    inside = [name for _, name, is_inside in calls if is_inside]
    functions = len(set(outside))
    print(f"{len(frames)} Python frames")
    print(f"{len(outside)} native calls of {functions} functions to the loop and back, {len(inside)} inside the loop")
    return 0


def instrumented(checkout: Path, copy: Path) -> Path:
    """A copy of a checkout with native modules that call the recorder."""
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "*.so", "*.c", "*.cpp", "__pycache__", "site", "runs")
    shutil.copytree(checkout, copy, ignore=ignored)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=copy,
        env={**os.environ, "FASTLM_DEBUG": "1", "CFLAGS": "-finstrument-functions -w"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return copy


class Symbols:
    """Names of the functions of native modules, which lie at these addresses."""

    def __init__(self, modules: dict[int, Path]) -> None:
        found = []
        for base, path in modules.items():
            table = subprocess.run(["nm", str(path)], stdout=subprocess.PIPE, text=True, check=True).stdout
            for address, kind, name in (line.split() for line in table.splitlines() if len(line.split()) == 3):
                if kind in "tT":
                    found.append((base + int(address, 16), name))
        found.sort()
        self._addresses = [address for address, _ in found]
        self._names = [name for _, name in found]

    def name(self, address: int) -> str:
        """The name of a function of fastlm, or "" for other functions."""
        k = bisect.bisect_right(self._addresses, address) - 1
        name = self._names[k] if k >= 0 and self._addresses[k] == address else ""
        if name.startswith("fastlm_"):
            return name
        return cython_name(name)


def cython_name(symbol: str) -> str:
    """`_encoder.Encoder.take` for the symbol that Cython makes of that function; "" for a helper."""
    found = re.fullmatch(r"__pyx_(?:f|pf)_(.*)", symbol)
    if not found:
        return ""
    rest, parts = found[1], []
    while (number := re.match(r"(\d+)(?=\D)", rest)) and len(rest) > len(number[1]) + int(number[1]):
        length, rest = int(number[1]), rest[len(number[1]) :]
        if rest[length] != "_":
            break
        parts.append(rest[:length])
        rest = rest[length + 1 :]
    return ".".join([*parts[-2:], re.sub(r"^\d+", "", rest)])


def calls_of(events: list[tuple[int, bool]], symbols: Symbols) -> Iterator[tuple[int, str, bool]]:
    """(depth, name, whether the loop made it) of each call of a function of fastlm."""
    depth = 0
    loop_depth: int | None = None
    for address, is_entry in events:
        name = symbols.name(address)
        if not name:
            continue
        if is_entry:
            yield depth, name, loop_depth is not None
            if name == LOOP and loop_depth is None:
                loop_depth = depth
            depth += 1
        else:
            depth -= 1
            if loop_depth == depth:
                loop_depth = None


if __name__ == "__main__":
    sys.exit(main())

"""Random changes of the content of a file: of its bytes, and of values of JSON, which keep the rest well-formed."""

from __future__ import annotations

import json
import random
from typing import Any

NUMBERS = (0, 1, -1, 2, 0.5, 255, 256, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 64, 1e308, True)
TEXTS = ("", "a", "../a", "/a", "\0", "é", "<|end|>", "0", "gpt2", "a" * 300, "\ud800")
SCALARS = (None, *NUMBERS, *TEXTS)


def changed(chance: random.Random, content: bytes) -> bytes:
    """Changes a value where the content is JSON, or is JSON from its first brace on, and bytes otherwise."""
    if chance.random() < 0.5 and (found := changed_json(chance, content)) is not None:
        return found
    return changed_bytes(chance, content)


def changed_bytes(chance: random.Random, content: bytes) -> bytes:
    """Flipped, cut, repeated and inserted bytes, other digits."""
    made = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 6))):
        at, kind = chance.randrange(len(made) + 1), chance.randrange(6)
        if kind == 0:
            del made[at : at + chance.choice((1, 2, 8, 1000))]
        elif kind == 1:
            made[at:at] = chance.choice(
                (b"0", b"-", b"null", b"[", b'"', b"\0", b"\xff", b"1e400", b"99999999999999999999")
            )
        elif kind == 2:
            made[at:at] = made[max(0, at - chance.randrange(40)) : at]
        elif made and kind == 3:
            digits = [place for place, byte in enumerate(made) if 48 <= byte < 58]
            if digits:
                made[chance.choice(digits)] = chance.randrange(48, 58)
        elif made:
            made[min(at, len(made) - 1)] ^= 1 << chance.randrange(8)
    return bytes(made)


def changed_json(chance: random.Random, content: bytes) -> bytes | None:
    """Another value, key, order or layout at a random place of a JSON object; None if there is no object."""
    before, brace, rest = content.partition(b"{")
    try:
        value = json.loads(brace + rest)
    except ValueError:
        return None
    for _ in range(chance.choice((1, 1, 1, 3))):
        holder, key = _place(chance, value)
        _change(chance, holder, key)
    layout: dict[str, Any] = chance.choice(({}, {"indent": 1}, {"separators": (",", ":")}, {"sort_keys": True}))
    return before + json.dumps(value, ensure_ascii=True, **layout).encode() + rest[len(rest.rstrip()) :]


def _place(chance: random.Random, value: Any) -> tuple[Any, Any]:
    """A random object or array inside a value, and a key or index in it; (value, None) for an empty one."""
    while True:
        if not value:
            return value, None
        key = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
        inner = value[key]
        if not isinstance(inner, dict | list) or not inner or chance.random() < 0.2:
            return value, key
        value = inner


def _change(chance: random.Random, holder: Any, key: Any) -> None:
    """Changes one item of an object or array."""
    kind = chance.randrange(6)
    if key is None or kind == 0:
        new = chance.choice(SCALARS)
        if isinstance(holder, dict):
            holder[str(chance.choice(TEXTS))] = new
        else:
            holder.append(new)
    elif kind == 1:
        del holder[key]
    elif kind == 2:
        holder[key] = chance.choice(SCALARS)
    elif kind == 3:
        holder[key] = chance.choice(([], {}, [holder[key]], {"a": holder[key]}))
    elif kind == 4:
        other = chance.choice(list(holder)) if isinstance(holder, dict) else chance.randrange(len(holder))
        holder[key], holder[other] = holder[other], holder[key]
    else:
        holder[key] = _like(chance, holder[key])


def _like(chance: random.Random, value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + chance.choice((-1, 1, 2, 1000))
    if isinstance(value, float):
        return value * chance.choice((0.5, -1.0, 1e10))
    if isinstance(value, str):
        at = chance.randrange(len(value) + 1)
        return value[:at] + chance.choice(TEXTS) + value[at + chance.randrange(2) :]
    if isinstance(value, list):
        return value + value[:1]
    if isinstance(value, dict):
        return dict(reversed(value.items()))
    return value

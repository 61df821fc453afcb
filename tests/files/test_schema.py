"""Values from JSON that do not have the type that is expected: each message names the field and what was found."""

import dataclasses
from typing import Annotated, Any, Literal, NamedTuple

import pytest

from fastlm.files.schema import Count, Matches, Range, Sha256, parse


class Pair(NamedTuple):
    name: str
    count: Count


@dataclasses.dataclass(frozen=True)
class Record:
    pairs: list[Pair]
    kind: Literal["a", "b", 1]
    sums: dict[str, Sha256] = dataclasses.field(default_factory=dict)
    share: Annotated[float, Range(0, 1)] = 0.5
    place: tuple[int, str] | None = None

    def __post_init__(self) -> None:
        if len(self.pairs) > 2:
            raise ValueError(f"at most 2 pairs, got {len(self.pairs)}")


GOOD: dict[str, Any] = {
    "pairs": [["x", 3]],
    "kind": "a",
    "sums": {"file": "0" * 64},
    "share": 1,
    "place": [4, "there"],
}


def test_a_value_of_the_type():
    assert parse(Record, GOOD) == Record([Pair("x", 3)], "a", {"file": "0" * 64}, 1.0, (4, "there"))
    assert parse(Record, {"pairs": [], "kind": 1, "place": None}) == Record([], 1)
    assert parse(Any, GOOD) is GOOD


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": {}}, "record.pairs: expected an array, found {}"),
        ({"pairs": [["x", 3], ["y"]]}, "record.pairs[1]: expected an array of 2 values, found ['y']"),
        ({"pairs": [["x", -1]]}, "record.pairs[0][1]: expected an integer from 0 to 9223372036854775807, found -1"),
        ({"pairs": [["x", True]]}, "record.pairs[0][1]: expected an integer, found True"),
        ({"pairs": [["x", 1]] * 3}, "record: at most 2 pairs, got 3"),
        ({"kind": True}, "record.kind: expected 'a' or 'b' or 1, found True"),
        ({"sums": []}, "record.sums: expected an object, found []"),
        ({"sums": {"a b": "0"}}, "record.sums.'a b': expected a string of the form [0-9a-f]{64}, found '0'"),
        ({"share": 1.5}, "record.share: expected a number from 0 to 1, found 1.5"),
        ({"share": "1"}, "record.share: expected a number, found '1'"),
        ({"place": [4]}, "record.place: expected an array of 2 values, found [4]"),
        ({"place": "x" * 99}, f"record.place: expected an array, found {'x' * 76!r:.77}..."),
        ({"other": 1}, "record.other: unknown field"),
    ],
)
def test_a_value_of_another_type_is_named(changes, message):
    with pytest.raises(ValueError, match="record") as caught:
        parse(Record, GOOD | changes, "record")
    assert str(caught.value) == message


def test_a_field_without_a_default_must_be_there():
    with pytest.raises(ValueError, match=r"^kind: missing field$"):
        parse(Record, {"pairs": []})
    with pytest.raises(ValueError, match=r"^content: expected an object, found 3$"):
        parse(Record, 3)


def test_types_that_cannot_be_told_apart_are_not_parsed():
    with pytest.raises(TypeError, match=r"a union of .* cannot be parsed"):
        parse(int | str, 3)
    assert parse(Annotated[str, Matches("a+")] | None, "aa") == "aa"

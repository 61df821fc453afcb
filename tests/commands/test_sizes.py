"""Sizes on the command line."""

import pytest

from fastlm.commands.sizes import parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1000", 1000),
        ("80GB", 80_000_000_000),
        ("80gb", 80_000_000_000),
        ("24GiB", 24 << 30),
        ("24gib", 24 << 30),
        ("24Gi", 24 << 30),
        ("1.5 TB", 1_500_000_000_000),
        ("1kB", 1000),
        ("1K", 1000),
        ("512M", 512_000_000),
        ("7B", 7),
    ],
)
def test_sizes(text, expected):
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    "text", ["", "lots", "GB", "-5GB", "1e3GB", "5bit", "8Mbit", "80  GB", "1iB", "٣GB", "0x5", "inf"]
)
def test_other_texts_are_named(text):
    with pytest.raises(ValueError, match=r"disk is .*; expected a size such as 80GB or 24GiB"):
        parse_size(text, "disk")

"""GPT-2's printable character for each byte, by which byte-level BPE spells tokens as text."""

PRINTABLE_BYTES = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
OTHER_BYTES = [byte for byte in range(256) if byte not in PRINTABLE_BYTES]

CHAR_OF_BYTE = {b: chr(b) for b in PRINTABLE_BYTES} | {b: chr(0x100 + k) for k, b in enumerate(OTHER_BYTES)}
"""Bytes that Latin-1 prints keep their character; the others get the characters from U+0100 on."""

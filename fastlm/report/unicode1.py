"""Problem unicode1: the character with number 0."""

from __future__ import annotations

from fastlm.report.content import Code, Figure, Figures, Section, Text
from fastlm.report.session import executed
from fastlm.report.then import then

SESSION = '''\
import unicodedata
chr(0)
unicodedata.category(chr(0)), unicodedata.lookup("NULL") == chr(0)
repr(chr(0))
text = "this is a test" + chr(0) + "string"
text
len(text), sum(character.isprintable() for character in text)
print(text)
text == "this is a teststring"'''


def unicode1() -> Section:
    """The section, with all answers executed."""
    section = Section("unicode1", "Understanding Unicode")
    section.add(
        Text(
            "Character 0 is the control character NULL. Its repr is an escape, which shows that it is there. Printed, "
            "it is one byte of value 0, which a terminal does not show. It stays in the text. In the session below, "
            "control characters that were printed appear as escapes."
        ),
        Code(executed(SESSION)),
        Figures([Figure("chr(0), by its repr", repr(chr(0)), then=then("unicode1.character"))]),
    )
    return section

"""The right outcome of every program."""

from __future__ import annotations

from tests.repro.right_of_model import MODEL
from tests.repro.right_of_review import REVIEW
from tests.repro.verdict import Right

# these programs compare with tokenizers and transformers themselves, and count what differs
_ITS_OWN_JUDGE = Right((r"^ok    ", r"^0 failed$"), never=("^FAIL", "^Traceback"))
TOKENIZERS = {
    f"tokenizers/{name}": _ITS_OWN_JUDGE
    for name in (
        "A1",
        "A2",
        "A4",
        "A7",
        "A8",
        "B1",
        "B2",
        "B4",
        "C1",
        "C2",
        "C5",
        "D1",
        "E1",
        "F1",
        "G1",
    )
}
TOKENIZERS["tokenizers/A9"] = Right((r"^face ends: ", r"^0 failed$"), never=("^face still",))

RIGHT = TOKENIZERS | MODEL | REVIEW

"""The two corpora of the write-up: real files, or text that ships with CPython in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastlm.corpus.read import Blocks, Corpus
from fastlm.demo.texts import END_OF_TEXT, demo_corpus, prose
from fastlm.pretokenize.patterns import find_pattern
from fastlm.pretokenize.text_splitter import TextSplitter

SAMPLE_BYTES = 8_000_000


@dataclass(frozen=True)
class TrainingText:
    """A corpus on which a tokenizer is trained.

    Attributes:
        name: The corpus of the write-up: "TinyStories" or "OpenWebText".
        paths: Files, directories, globs and addresses.
        vocab_size: Vocabulary size of the write-up's tokenizer.
        stands_in: Description of a text that replaces the corpus; "" for the corpus.
    """

    name: str
    paths: tuple[str, ...]
    vocab_size: int
    stands_in: str = ""

    @property
    def first_line(self) -> str:
        """Which text was used."""
        if self.stands_in:
            return f"{self.name}: not given. {self.stands_in} stood in for it."
        return f"{self.name}: read from {', '.join(self.paths)}."

    def sample(self, most: int = SAMPLE_BYTES) -> list[str]:
        """Documents from the beginning of the corpus, at most `most` bytes of them."""
        blocks = Blocks(Corpus(list(self.paths)), TextSplitter([END_OF_TEXT], find_pattern("gpt2")))
        text = bytearray()
        for block in blocks:
            text += block.text
            if len(text) >= most:
                break
        documents = bytes(text[:most]).decode("utf-8", "ignore").split(END_OF_TEXT)
        return [document for document in documents if document]


def training_texts(
    tinystories: Sequence[str], openwebtext: Sequence[str], folder: Path
) -> tuple[TrainingText, TrainingText]:
    """The two corpora.

    Args:
        tinystories: Files of TinyStories; without any, prose that ships with CPython takes their place.
        openwebtext: Files of OpenWebText; without any, CPython's help topics and standard library take their place.
        folder: Where each stand-in is written.

    Returns:
        TinyStories and OpenWebText.
    """
    found = []
    stand_ins: list[tuple[str, Sequence[str], int, str, Any]] = [
        ("TinyStories", tinystories, 10_000, "English prose from the documentation that ships with CPython", prose),
        (
            "OpenWebText",
            openwebtext,
            32_000,
            "CPython's help topics and the sources of its standard library",
            demo_corpus,
        ),
    ]
    for name, paths, vocab_size, description, make in stand_ins:
        if paths:
            found.append(TrainingText(name, tuple(paths), vocab_size))
            continue
        text = END_OF_TEXT.join(make()).encode()
        path = folder / f"{name.lower()}.txt"
        path.write_bytes(text)
        stands_in = f"{description} ({len(text) / 1e6:,.1f} MB)"
        found.append(TrainingText(name, (str(path),), vocab_size, stands_in))
    return found[0], found[1]

"""One HTML file that shows how a tokenizer, or two of them, encode a text."""

from __future__ import annotations

import html
import json
from importlib.resources import files
from string import Template

from fastlm._version import __version__
from fastlm.tokenizer import Tokenizer
from fastlm.view.payload import payload_of

SAMPLE = (
    "Tokenizers split text into tokens: lowercase, UPPERCASE, 12345 and don't.\n"
    "    def f(x):  return x + 1  # indented\n"
    "Grüße, 你好世界, नमस्ते, 👩\u200d👩\u200d👧 <|endoftext|>"
)
SCRIPTS = ("encoder.js", "explain.js", "app.js")


def view_page(
    tokenizer: Tokenizer,
    other: Tokenizer | None = None,
    *,
    names: tuple[str, str] = ("first", "second"),
    text: str = SAMPLE,
) -> str:
    """Makes a self-contained HTML page in which a text is encoded while it is typed.

    The encoder in the page gives the same ids as `Tokenizer.encode`. The page makes no request to any host.

    Args:
        tokenizer: The tokenizer to show.
        other: A second tokenizer to compare with, or None.
        names: What the page calls the tokenizers.
        text: The text with which the page starts.

    Returns:
        The HTML document.

    Raises:
        ValueError: The page cannot encode exactly as a tokenizer does. The message names the tokenizer and the reason.
    """
    shown = [(tokenizer, names[0])] + ([(other, names[1])] if other is not None else [])
    payloads = json.dumps([payload_of(one, name) for one, name in shown], ensure_ascii=False)
    title = " and ".join(name for _, name in shown)
    return Template(_resource("page.html")).substitute(
        title=html.escape(title),
        style=_resource("page.css"),
        text="\n" + html.escape(text),  # HTML drops a newline at the beginning
        version=__version__,
        payloads=payloads.replace("<", "\\u003c"),
        script="\n".join(map(_resource, SCRIPTS)),
    )


def _resource(name: str) -> str:
    return files("fastlm.view").joinpath(name).read_text("utf-8")

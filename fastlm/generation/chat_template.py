"""The chat template of a folder: messages to ids, with the texts of people and models kept apart from the template.

A template is a program in Jinja that comes with a model, so it runs in Jinja's sandbox. It is rendered with a mark in
place of each message's text. So the parts of the result that are texts of messages are known, and special tokens in
them are encoded as text (`Tokenizer.encode_parts`).
"""

from __future__ import annotations

import datetime
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from fastlm._extras import install_command
from fastlm.files.reading import read_json
from fastlm.tokenizer import Tokenizer

TEMPLATE = "chat_template.jinja"
CONFIG = "tokenizer_config.json"
_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
MAX_TEMPLATE_BYTES = 1 << 20


class Message(TypedDict):
    """One message: who says it ("system", "user" or "assistant"), and its text."""

    role: str
    content: str


class ChatTemplate:
    """Makes the ids of a conversation.

    Args:
        source: The template.
        tokens: Special tokens that the template may name, such as bos_token.
        name: Name of the template's file for messages.

    Attributes:
        tokens: The special tokens.

    Raises:
        ImportError: jinja2 is missing, or older than 3.1.6, whose sandbox has known holes.
        ValueError: The template is not valid.

    >>> template = ChatTemplate("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>")
    >>> template.parts([{"role": "user", "content": "<|system|> hello"}])
    [('<|user|>', True), ('<|system|> hello', False), ('<|assistant|>', True)]
    """

    def __init__(self, source: str, tokens: dict[str, str] | None = None, name: str = "the template") -> None:
        self._name, self.tokens = name, tokens or {}
        jinja2, environment = _sandbox()
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise ValueError(f"{name}: the chat template is not valid: {error}") from None
        self._errors: tuple[type[Exception], ...] = (jinja2.TemplateError, TypeError, ArithmeticError, LookupError)

    @classmethod
    def of_folder(cls, folder: Path) -> ChatTemplate:
        """Reads the template of a model's folder: chat_template.jinja, or the field of tokenizer_config.json.

        Raises:
            OSError: A file cannot be read.
            ValueError: The folder has no template, or one that is not valid.
        """
        source, tokens, path = _read(folder)
        if source is None:
            raise ValueError(f"{folder}: has no chat template, neither {TEMPLATE} nor in {CONFIG}")
        return cls(source, tokens, str(path))

    def parts(self, messages: Sequence[Message]) -> list[tuple[str, bool]]:
        """Renders a conversation, ready for the assistant's next message.

        Args:
            messages: The messages.

        Returns:
            (text, trusted) in order; trusted is True for the text of the template.

        Raises:
            ValueError: The template refuses the messages, or changes their texts so that they cannot be told apart.
        """
        for change in (str, str.strip):
            given = [Message(role=message["role"], content=change(message["content"])) for message in messages]
            parts = self._split(given)
            # a template may read texts, such as to trim them; then the marks hide from it what it looks for
            if "".join(text for text, _ in parts) == self._render(given):
                return parts
        raise ValueError(
            f"{self._name}: the chat template changes the texts of messages, so special tokens in them cannot be told "
            "from its own"
        )

    def encode(self, messages: Sequence[Message], tokenizer: Tokenizer) -> list[int]:
        """The ids of a conversation. Special tokens of the texts of messages are encoded as text.

        Raises:
            ValueError: See `parts`.
        """
        return tokenizer.encode_parts(self.parts(messages))

    def _split(self, messages: Sequence[Message]) -> list[tuple[str, bool]]:
        """The parts, by rendering with marks that no text contains."""
        marks = [f"fastlm{secrets.token_hex(16)}" for _ in messages]
        marked = [Message(role=message["role"], content=mark) for message, mark in zip(messages, marks, strict=True)]
        rest, parts = self._render(marked), list[tuple[str, bool]]()
        while rest:
            found = [(rest.find(mark), number) for number, mark in enumerate(marks) if mark in rest]
            if not found:
                parts.append((rest, True))
                break
            start, number = min(found)
            parts += [(rest[:start], True), (messages[number]["content"], False)]
            rest = rest[start + len(marks[number]) :]
        return [(text, trusted) for text, trusted in parts if text]

    def _render(self, messages: Sequence[Message]) -> str:
        try:
            rendered: str = self._template.render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=True,
                tools=None,
                documents=None,
                **self.tokens,
            )
        except self._errors as error:
            raise ValueError(f"{self._name}: the chat template refuses the messages: {error}") from None
        return rendered


def template_files(folder: Path) -> dict[str, bytes]:
    """Name -> content of the files that give another folder this one's chat template; empty without a template.

    Raises:
        OSError: A file cannot be read.
        ValueError: A file is not as it should be.
    """
    source, tokens, _ = _read(folder)
    if source is None:
        return {}
    files = {TEMPLATE: source.encode()}
    if tokens:
        files[CONFIG] = f"{json.dumps(tokens, indent=2, ensure_ascii=False)}\n".encode()
    return files


def _read(folder: Path) -> tuple[str | None, dict[str, str], Path]:
    """The source of a folder's template, the special tokens that it may name, and the file that holds it."""
    config = read_json(folder / CONFIG) if (folder / CONFIG).exists() else {}
    if not isinstance(config, dict):
        raise ValueError(f"{folder / CONFIG}: expected an object")
    tokens = {name: token for name in _TOKENS if (token := _token(config.get(name))) is not None}
    path = folder / TEMPLATE
    if path.exists():
        if path.stat().st_size > MAX_TEMPLATE_BYTES:
            raise ValueError(f"{path}: has {path.stat().st_size} bytes; expected at most {MAX_TEMPLATE_BYTES}")
        try:
            return path.read_text(encoding="utf-8"), tokens, path
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: is not UTF-8: {error}") from None
    source = config.get("chat_template")
    if isinstance(source, list):
        # several templates by name, as older folders have them
        source = next((one.get("template") for one in source if _is_default(one)), None)
    return source if isinstance(source, str) else None, tokens, folder / CONFIG


def _sandbox() -> tuple[Any, Any]:
    """jinja2, and an environment with the settings and functions that transformers gives to templates."""
    try:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise ImportError(f"chat templates need jinja2: {install_command('chat')} ({error})") from error
    if tuple(int(part) for part in jinja2.__version__.split(".")[:3] if part.isdigit()) < (3, 1, 6):
        raise ImportError(f"chat templates need jinja2 3.1.6 or later, got {jinja2.__version__}")

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=options.pop("ensure_ascii", False), **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _generation_extension(jinja2)]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return jinja2, environment


def _generation_extension(jinja2: Any) -> Any:
    """The block {% generation %}, which marks the assistant's texts for training; here it changes nothing."""
    from jinja2.ext import Extension

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body).set_lineno(line)

    return Generation


def _token(value: Any) -> str | None:
    """A special token in tokenizer_config.json: a text, or an object with one."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _is_default(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("name") == "default"

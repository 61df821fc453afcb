"""Chat templates: transformers' rendering, in which no text of a message becomes a special token."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("jinja2")

from hypothesis import given
from hypothesis import strategies as st

import fastlm
from fastlm.generation.chat_template import ChatTemplate

SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>", "[INST]", "[/INST]"]
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{%- for message in messages -%}"
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{- raise_exception('roles must alternate') -}}{%- endif -%}"
    "{%- if message['role'] == 'user' -%}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{%- else -%}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}{%- endif -%}{%- endfor -%}"
)
TRIMMING = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' + message.content | trim + '<|im_end|>' }}"
    "{%- if loop.index > 9 %}{% break %}{% endif %}{%- endfor %}{{- '<|im_start|>assistant\n' }}"
)
TEMPLATES = {"chatml": CHATML, "mistral": MISTRAL, "trimming": TRIMMING}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.fixture(scope="module")
def tokenizer() -> fastlm.Tokenizer:
    return fastlm.Tokenizer({i: bytes([i]) for i in range(256)}, [], SPECIAL)


TEXTS = st.text(max_size=12) | st.lists(st.sampled_from([*SPECIAL, "a", " ", "\n", "<|im_", "end|>"])).map("".join)


@pytest.mark.parametrize("name", TEMPLATES)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_the_rendering_of_transformers_without_tokens_of_messages(name, texts, tokenizer):
    transformers = pytest.importorskip("transformers.utils.chat_template_utils")
    messages = [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(texts)]
    template = ChatTemplate(TEMPLATES[name], TOKENS)
    parts = template.parts(messages)
    rendered, _ = transformers.render_jinja_template(
        [messages], chat_template=TEMPLATES[name], add_generation_prompt=True, **TOKENS
    )
    assert "".join(text for text, _ in parts) == rendered[0]
    said = [text for text, trusted in parts if not trusted]
    assert said == [text for text in (text.strip() if name == "trimming" else text for text in texts) if text]
    ids = template.encode(messages, tokenizer)
    assert tokenizer.decode(ids) == rendered[0]
    of_template = [id_ for text, trusted in parts if trusted for id_ in tokenizer.encode(text) if id_ >= 256]
    assert [token_id for token_id in ids if token_id >= 256] == of_template


def test_a_template_that_hides_texts_is_refused():
    template = ChatTemplate("{% for m in messages %}{{ m.content | upper }}{% endfor %}")
    with pytest.raises(ValueError, match="the chat template changes the texts of messages"):
        template.parts([{"role": "user", "content": "up"}])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% for %}", "the template: the chat template is not valid"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe|not safely callable"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "[Rr]ange too big"),
        ("{{ raise_exception('only users') }}", "the chat template refuses the messages: only users"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ nothing.at.all }}", "'nothing' is undefined"),
        ("{{ messages[0]['content'] + 1 }}", "refuses the messages"),
    ],
)
def test_templates_that_fail_or_reach_out(source, message):
    with pytest.raises(ValueError, match=message):
        ChatTemplate(source).parts([{"role": "user", "content": "a"}])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no chat template, neither chat_template.jinja nor in tokenizer_config.json"),
        ({"tokenizer_config.json": "[]"}, "expected an object"),
        ({"tokenizer_config.json": '{"chat_template": 3}'}, "has no chat template"),
        ({"tokenizer_config.json": '{"chat_template": [{"name": "tools", "template": "x"}]}'}, "has no chat template"),
        ({"chat_template.jinja": "x" * (1 << 20) + "y"}, "has 1048577 bytes; expected at most 1048576"),
        ({"chat_template.jinja": "{% if %}"}, "chat_template.jinja: the chat template is not valid"),
    ],
)
def test_folders_without_a_template_that_can_be_read(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        ChatTemplate.of_folder(tmp_path)


def test_the_template_of_a_folder(tmp_path):
    config = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": "{{ bos_token }}old"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert ChatTemplate.of_folder(tmp_path).parts([]) == [("<s>old", True)]
    config["chat_template"] = [{"name": "default", "template": "several"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert ChatTemplate.of_folder(tmp_path).parts([]) == [("several", True)]
    (tmp_path / "chat_template.jinja").write_text("{{ eos_token }}new")
    template = ChatTemplate.of_folder(tmp_path)
    assert template.parts([]) == [("</s>new", True)]
    assert template.tokens == {"bos_token": "<s>", "eos_token": "</s>"}

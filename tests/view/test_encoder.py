"""The encoder in the page gives the ids of Python, in a real browser."""

import functools
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlm
from fastlm.normalizers import UnicodeForm
from fastlm.pretokenize.patterns import PATTERNS
from fastlm.text._normalize import normalized
from fastlm.view.payload import payload_of
from fastlm.vocabulary.vocabulary import Rules, vocabulary_from_tokens
from tests import texts
from tests.random_tokenizers import PRE_TOKENIZER_OR_NONE, SAMPLES, contents, loaded

PUBLISHED = [
    *(
        "vectors/o200k_base.tiktoken",
        "vectors/cl100k_base.tiktoken",
        "vectors/llama3.tiktoken",
        "vectors/qwen2.tiktoken",
    ),
    *("vectors/p50k_base.tiktoken", "vectors/gpt2.tokenizer.json", "vectors/qwen2.tokenizer.json"),
    *(f"tokenizers/{name}/tokenizer.json" for name in ("falcon", "gpt_neox", "modernbert", "mpt", "roberta-base")),
    *(f"tokenizers/{name}/tokenizer.json" for name in ("dolma2", "phi-2", "whisper-tiny", "olmo", "olmo-pii")),
    "tokenizers/claude/claude.json",
]


@pytest.fixture(scope="session")
def script(browser, tmp_path_factory):
    """A page that has the encoder, and no tokenizer yet."""
    page = tmp_path_factory.mktemp("encoder") / "page.html"
    sources = "\n".join(_source(name) for name in ("encoder.js", "explain.js"))
    page.write_text(f"<!doctype html><script>{sources}\nlet tokenizer;</script>", "utf-8")
    browser.open(page)
    assert browser.errors == []
    return browser


def _source(name):
    from importlib.resources import files

    return files("fastlm.view").joinpath(name).read_text("utf-8")


def read_in_page(browser, tokenizer):
    """Lets the page read a tokenizer."""
    payload = json.dumps(payload_of(tokenizer, "tested"))
    browser.run(f"PageTokenizer.read({payload}).then((made) => {{ tokenizer = made; }})")


def assert_results(browser, function, samples, expected):
    """A function of the page has the expected results. The page compares them, because they may be large."""
    given = json.dumps([samples, expected], ensure_ascii=any("\ud800" <= char < "\ue000" for char in "".join(samples)))
    wrong = browser.run(
        f"(([samples, expected]) => {{ const find = {function};"
        "const wrong = samples.map((text, k) => [k, find(text)])"
        ".filter(([k, found]) => JSON.stringify(found) !== JSON.stringify(expected[k]));"
        f"return wrong.slice(0, 3); }})({given})"
    )
    for k, found in wrong:
        assert found == expected[k], samples[k]
    assert wrong == []


def assert_same_ids(browser, tokenizer, samples):
    read_in_page(browser, tokenizer)
    for on_special in ("token", "text"):
        expected = [tokenizer.encode(text, on_special=on_special) for text in samples]
        assert_results(browser, f"(text) => tokenizer.ids(text, {json.dumps(on_special == 'text')})", samples, expected)


def random_samples(added, number=120):
    rng = random.Random(11)
    parts = [*added[:30], " ", "  ", "a", "\n", "é", "e\u0301", "\u1112\u1161\u11ab", "\U0001e130\u0301", "ﬁ", "Å", "_"]
    return [
        *texts.DOCUMENTS,
        "\ud800a\udc00",
        *(texts.random_string(rng) for _ in range(number)),
        *("".join(rng.choices(texts.PIECES, k=rng.randrange(20))) for _ in range(number)),
        *("".join(rng.choices(parts, k=8)) for _ in range(number)),
    ]


@functools.cache
def every_character():
    """Scalar values in texts of 64, with letters, digits and whitespace between them.

    All values of the planes in which classes change, and some of the others.
    """
    rng = random.Random(3)
    sparse = range(0x20000, 0x110000, 97)
    points = [point for point in (*range(0x20000), *sparse) if not 0xD800 <= point < 0xE000]
    between = ["", "a", "A", "1", " ", "!", "\n", "'s"]
    return [
        "".join(chr(point) + rng.choice(between) for point in points[start : start + 64])
        for start in range(0, len(points), 64)
    ]


def normalizing(tokenizer, form):
    """A tokenizer with the same vocabulary that normalizes texts."""
    v, rules = tokenizer.vocabulary, Rules(normalization=(UnicodeForm(form),))
    return fastlm.Tokenizer.from_vocabulary(vocabulary_from_tokens(v.tokens, v.merges, [], v.pattern, rules))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_page_splits_as_each_named_pattern(script, pattern):
    tokenizer = fastlm.train_bpe(texts.DOCUMENTS, 800, ["<|endoftext|>", "<|user|>"], pattern=pattern)
    assert_same_ids(script, tokenizer, random_samples(list(tokenizer.special_tokens)))


@pytest.mark.parametrize("pattern", ["starcoder", "cl100k_base", "o200k_base", "kimi-k2", "qwen3.5", "deepseek-v3"])
def test_the_page_has_the_classes_of_every_character(script, pattern):
    tokenizer = fastlm.train_bpe(texts.DOCUMENTS, 300, pattern=pattern)
    read_in_page(script, tokenizer)
    samples = every_character()
    find_ends = tokenizer.vocabulary.pattern.find_ends
    expected = [np.diff(find_ends(text.encode()), prepend=0).tolist() for text in samples]
    assert_results(script, "(text) => tokenizer.pretokens(text).map((bytes) => bytes.length)", samples, expected)


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_the_page_normalizes_every_character_as_the_pinned_version(script, trained, form):
    read_in_page(script, normalizing(trained, form))
    marks = ["\u0301", "\u0345\u0316", "\u1161\u11a8", "", "\u093c"]
    samples = [text + marks[k % len(marks)] for k, text in enumerate(every_character())]
    expected = [normalized(text.encode(), form).decode() for text in samples]
    assert_results(script, "(text) => tokenizer.normalize(text)", samples, expected)


@pytest.mark.parametrize("path", PUBLISHED)
def test_published_vocabularies_have_the_ids_of_python(script, data, path):
    if not (data / path).exists():
        pytest.skip(f"no {path}")
    tokenizer = fastlm.load(data / path)
    read = [
        data / "vectors" / name
        for name in ("llamacpp.inp", "TestPlans.txt", "cs336_german.txt", "cs336_address.txt", "ms_lib.rs.txt")
    ]
    conformance = [path.read_bytes().decode("utf-8", "replace") for path in read]
    naughty = json.loads((data / "unicode" / "blns.json").read_text("utf-8"))
    added = [token.content for token in tokenizer.vocabulary.added_tokens]
    assert_same_ids(script, tokenizer, [*conformance, *naughty, *random_samples(added, 60)])


@settings(max_examples=60)
@given(contents(pre_tokenizers=PRE_TOKENIZER_OR_NONE), st.lists(SAMPLES, min_size=1, max_size=5))
def test_random_tokenizers_have_the_ids_of_python_or_are_refused(script, content, samples):
    tokenizer = loaded(content)
    refusal = refusal_of(tokenizer)
    if refusal is None:
        assert_same_ids(script, tokenizer, samples)
    else:
        assert refusal.startswith("the page cannot show mine: it does not support ")


def refusal_of(tokenizer):
    """Why the page cannot show a tokenizer, or None."""
    try:
        payload_of(tokenizer, "mine")
    except ValueError as error:
        return str(error)
    return None


@settings(max_examples=60)
@given(contents(normalizers=st.sampled_from([None, {"type": "NFC"}, {"type": "NFKD"}])), st.lists(SAMPLES, max_size=5))
def test_random_added_tokens_have_the_ids_of_python(script, content, samples):
    assert_same_ids(script, loaded(content), samples)


def test_bytes_without_a_token_are_dropped_or_refused(script):
    tokens = {k: bytes([byte]) for k, byte in enumerate(b"abc")}
    dropping = Rules(unknown_bytes="drop")
    tokenizer = fastlm.Tokenizer.from_vocabulary(vocabulary_from_tokens(tokens, [], [], PATTERNS["gpt2"], dropping))
    assert tokenizer.encode("aébc!") == [0, 1, 2]
    assert_same_ids(script, tokenizer, ["aébc!", "é", "a!b"])


def test_long_pretokens_take_no_quadratic_time(script, trained):
    samples = ["a" * 100_000, " " * 100_000 + "x", "ab" * 50_000 + "\n" * 100_000, "é1" * 50_000]
    assert_same_ids(script, trained, samples)


@pytest.mark.parametrize(
    ("normalization", "reason"),
    [
        ("Lowercase", "the normalizer Lowercase"),
        ("StripAccents", "the normalizer StripAccents"),
    ],
)
def test_normalizers_that_the_page_lacks_are_refused_by_name(trained, normalization, reason):
    tokenizer = normalizing(trained, normalization)
    with pytest.raises(ValueError, match=f"^the page cannot show mine: it does not support {reason}$"):
        payload_of(tokenizer, "mine")


def test_expressions_of_the_regex_module_are_refused(trained):
    v = trained.vocabulary
    tokenizer = fastlm.Tokenizer(v.tokens, v.merges, pattern=r"\p{Ll}+|\P{Ll}")
    with pytest.raises(ValueError, match="it does not support the regex module, which splits by "):
        payload_of(tokenizer, "mine")

"""tiktoken and Hugging Face judge the ids; `python -m tests.exactness` does the same at any length."""

import json
import random
import re
from pathlib import Path

import pytest

import fastlm
from fastlm.formats import gpt2 as gpt2_files
from fastlm.pretokenize import patterns
from tests import texts

tiktoken = pytest.importorskip("tiktoken", reason="tiktoken judges the ids")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers judges the ids")

from tests import exactness, official, split_judges  # noqa: E402 - need both


@pytest.fixture(scope="module")
def judged(trained) -> fastlm.Tokenizer:
    """Our own vocabulary with its ids in order of merge rank and the special token last, as tiktoken wants them."""
    tokens = [trained.vocab[i] for i in sorted(trained.vocab) if i not in trained.special_tokens.values()]
    return fastlm.Tokenizer(dict(enumerate(tokens)), trained.merges, ["<|endoftext|>"])


def test_a_vocabulary_of_our_own(judged, tmp_path):
    judged.save(tmp_path)
    hugging_face = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    encoding = exactness.tiktoken_encoding(judged)
    rng = random.Random(1)
    strings = [*texts.DOCUMENTS, *(texts.random_string(rng) for _ in range(10_000))]
    for text, theirs in zip(strings, hugging_face.encode_batch(strings), strict=True):
        assert judged.encode(text) == encoding.encode(text, allowed_special="all") == theirs.ids, text


@pytest.mark.nightly  # all texts of FASTLM_DATA
def test_gpt2_on_every_text(gpt2, data, capsys):
    encoding = exactness.tiktoken_encoding(gpt2)

    def theirs(batch):
        return [encoding.encode(text, allowed_special="all") for text in batch]

    def ours(batch):
        return [gpt2.encode(text) for text in batch]

    for folder in sorted(path for path in data.iterdir() if path.name not in ("vectors", "vocabs", "unicode")):
        assert exactness.differences(folder.name, exactness.texts_of(folder), ours, theirs) == 0, (
            capsys.readouterr().out
        )


def test_gpt2_on_random_strings(gpt2, data):
    encoding = exactness.tiktoken_encoding(gpt2)
    rng = random.Random(2)
    for _ in range(20_000):
        text = texts.random_string(rng)
        assert gpt2.encode(text) == encoding.encode(text, allowed_special="all"), text


@pytest.mark.parametrize("name", sorted(patterns.PATTERNS))
def test_splits_of_every_named_pattern(name, capsys):
    ours = split_judges.of_fastlm(patterns.PATTERNS[name])
    for judge, theirs in split_judges.judges(name).items():
        rng = random.Random(3)
        strings = [*texts.DOCUMENTS, *(texts.random_string(rng) for _ in range(5_000))]
        assert exactness.differences(judge, strings, ours, theirs) == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(official.named(Path())))
def test_ids_of_published_vocabularies(data, name, capsys):
    judged = official.named(data)[name]()
    if judged is None:
        pytest.skip(f"no {name}: see tests/official.py")
    rng = random.Random(4)
    strings = [*texts.DOCUMENTS, *(texts.random_string(rng) for _ in range(1_500))]
    folders = [path for path in data.iterdir() if path.name not in ("vectors", "vocabs", "tokenizers", "checkpoints")]
    paths = sorted(path for folder in folders for path in folder.iterdir())
    strings += [path.read_bytes()[:10_000].decode("utf-8", "replace") for path in paths]
    assert judged.judges
    for judge, theirs in judged.judges.items():
        assert exactness.differences(judge, strings, judged.ours, theirs) == 0, capsys.readouterr().out


def llama_cpp_vectors(vectors: Path, model: str) -> list[tuple[str, list[int]]]:
    """llama.cpp's inputs and a model's ids for them."""
    inputs = (vectors / "llamacpp.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    outputs = (vectors / f"llamacpp_{model}.out").read_text().splitlines()
    pairs = [(text, [int(number) for number in ids.split()]) for text, ids in zip(inputs, outputs, strict=False)]
    assert len(pairs) >= 40
    return pairs


@pytest.mark.parametrize("name", ["starcoder", "gpt2-digits"])
def test_starcoder_vectors_of_llama_cpp(data, name):
    vectors = data / "vectors"
    spelled = gpt2_files.read_spelled_vocab(vectors / "llamacpp_starcoder.vocab.json")
    vocab = gpt2_files.parse_vocab(spelled.items(), [])
    merges = gpt2_files.read_merges(vectors / "llamacpp_starcoder.merges.txt")
    # it lacks bytes that are in no text, and fastlm wants all
    missing = {bytes([b]) for b in range(256)} - set(vocab.values())
    vocab |= {max(vocab) + 1 + i: byte for i, byte in enumerate(sorted(missing))}
    starcoder = fastlm.Tokenizer(vocab, merges, pattern=name)
    for text, ids in llama_cpp_vectors(vectors, "starcoder"):
        assert starcoder.encode(text) == ids, text


def test_vectors_of_other_projects_for_tiktokens_encodings(data):
    """The test plan of Microsoft's TypeScript tokenizer, and its ids of its own source."""
    vectors = data / "vectors"
    plan = (vectors / "TestPlans.txt").read_bytes().decode().replace("\r\n", "\n")
    cases = re.findall(r"EncodingName: (\w+)\nSample: (.*?)\nEncoded: (\[.*?\])", plan, re.DOTALL)
    assert len(cases) >= 100
    names = {name: name.replace("edit", "base") for name, _, _ in cases}
    loaded = {name: fastlm.load(vectors / f"{file}.tiktoken") for name, file in names.items()}
    for name, text, ids in cases:
        assert loaded[name].encode(text) == json.loads(ids), (name, text)
    source = (vectors / "ms_lib.rs.txt").read_bytes().decode().replace("\r\n", "\n")
    expected = json.loads((vectors / "ms_tokens_gpt_3.5_turbo.json").read_text())
    assert fastlm.load(vectors / "cl100k_base.tiktoken").encode(source) == expected


def test_vocabularies_trained_by_others(data):
    """CS336-shaped vocabularies of others, in rank files that no one knows."""
    for path in sorted((data / "vocabs").glob("*.tiktoken")):
        tokenizer = fastlm.load(path, pattern="gpt2")
        ranks = {token: rank for rank, token in tokenizer.vocab.items()}
        encoding = tiktoken.Encoding("other", pat_str=patterns.GPT2, mergeable_ranks=ranks, special_tokens={})
        for text in (*texts.DOCUMENTS, (data / "tinystories" / "ts_v2_train_head.txt").read_text("utf-8")[:200_000]):
            assert tokenizer.encode(text) == encoding.encode_ordinary(text)


def test_gpt2_vectors_of_other_projects(gpt2, data):
    """llama.cpp's inputs and ids, and those that Microsoft's tokenizer publishes for its own source."""
    vectors = data / "vectors"
    for text, ids in llama_cpp_vectors(vectors, "gpt-2"):
        assert gpt2.encode(text) == ids, text
    source = (vectors / "ms_lib.rs.txt").read_bytes().decode().replace("\r\n", "\n")
    expected = json.loads((vectors / "ms_tokens_gpt2.json").read_text())
    assert gpt2.encode(source) == expected

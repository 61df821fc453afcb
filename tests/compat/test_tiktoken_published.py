"""fastlm.compat.tiktoken: encodings by name, of models, of plugins, and the files that they are made of."""

import base64
import doctest
import hashlib
import importlib
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
import tiktoken
import tiktoken.load
import tiktoken.model
import tiktoken_ext.openai_public

from fastlm.compat import tiktoken as ours
from fastlm.compat.tiktoken import load, model, published, registry
from fastlm.compat.tiktoken import plugins as plugins_module
from fastlm.pretokenize import patterns
from tests.compat.test_tiktoken import Pair, Values, assert_same

pytestmark = pytest.mark.filterwarnings("ignore:no scanner for the pattern")

PLACE = "https://openaipublic.blob.core.windows.net"
OFFICIAL = ["gpt2", "r50k_base", "p50k_base", "p50k_edit", "cl100k_base", "o200k_base", "o200k_harmony"]
RANKS = {bytes([byte]): byte for byte in range(256)} | {b"th": 256, b"the": 257}


@pytest.fixture(autouse=True)
def _fresh_registry(monkeypatch):
    for name in load.CACHE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    kept = [(known, dict(known)) for known in (registry.ENCODINGS, registry.ENCODING_CONSTRUCTORS)]
    registry.ENCODINGS.clear()
    yield
    for known, before in kept:
        known.clear()
        known.update(before)
    plugins_module._added.clear()


@pytest.fixture(scope="session")
def cache(data: Path, tmp_path_factory) -> Path:
    """The official files under the names that tiktoken gives them."""
    folder = tmp_path_factory.mktemp("cache")
    for name in ("r50k_base", "p50k_base", "cl100k_base", "o200k_base"):
        address = f"{PLACE}/encodings/{name}.tiktoken"
        os.symlink(data / "vectors" / f"{name}.tiktoken", folder / hashlib.sha1(address.encode()).hexdigest())
    # vocab.bpe is merges.txt below a line that names the version
    merges = b"#version: 0.2\n" + (data / "vectors" / "gpt2_merges.txt").read_bytes().rstrip(b"\n") + b"\n"
    encoder = (data / "vectors" / "gpt2_vocab.json").read_bytes()
    for name, content in (("vocab.bpe", merges), ("encoder.json", encoder)):
        address = f"{PLACE}/gpt-2/encodings/main/{name}"
        (folder / hashlib.sha1(address.encode()).hexdigest()).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_encodings_are_tiktokens(name, cache, data, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
    theirs, encoding = tiktoken.get_encoding(name), ours.get_encoding(name)
    assert encoding is ours.get_encoding(name)
    for attribute in ("name", "_pat_str", "_mergeable_ranks", "_special_tokens", "n_vocab", "eot_token"):
        assert getattr(encoding, attribute) == getattr(theirs, attribute), attribute
    found = ["english/tinyshakespeare.txt", "code/python.txt", "multilingual/udhr_a.txt", "multilingual/pud_hindi.txt"]
    for path in found:
        text = (data / path).read_text()[:60_000]
        ids = theirs.encode_ordinary(text)
        assert encoding.encode_ordinary(text) == ids
        assert encoding.encode_to_numpy(text, disallowed_special=()).tolist() == ids
        assert encoding.count(text, disallowed_special=()) == len(ids)
        assert encoding.decode(ids) == text
    special = "".join(f"{token} and so on\n" for token in sorted(theirs.special_tokens_set)[:40])
    assert encoding.encode(special, allowed_special="all") == theirs.encode(special, allowed_special="all")
    with pytest.raises(ValueError, match="disallowed special token"):
        encoding.encode(special)
    for text in ("hello fanta", "", "  ", "a\n\n", "\n \n", "é", "中", "it'"):
        stable, completions = encoding.encode_with_unstable(text)
        expected = theirs.encode_with_unstable(text)
        assert stable == expected[0]
        assert set(map(tuple, completions)) == set(map(tuple, expected[1]))
    for piece in (b"\xff\xfe hello", b" a\xe4\xb8", b"   \xff", b"helloqqqq", b"\xf0\x9f\x98\x80\x80"):
        assert encoding._encode_bytes(piece) == theirs._encode_bytes(piece)
        assert encoding._encode_single_piece(piece) == theirs._encode_single_piece(piece)
    assert len(pickle.dumps(encoding)) < 200
    assert pickle.loads(pickle.dumps(encoding)).encode("a b") == theirs.encode("a b")


@pytest.mark.parametrize("name", ["p50k_edit", "cl100k_base", "o200k_base"])
def test_random_calls_of_official_encodings_have_the_same_outcome(name, cache, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
    made = Pair(tiktoken.get_encoding(name), ours.get_encoding(name))
    values = Values(random.Random(name), made)
    for _ in range(200):
        assert_same(made, *values.call())


def test_what_tiktoken_says_of_its_own_examples(cache, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
    enc = ours.get_encoding("o200k_base")
    assert enc.decode(enc.encode("hello world")) == "hello world"
    assert ours.encoding_for_model("gpt-4o") is enc
    enc = ours.get_encoding("gpt2")
    assert enc.encode("hello world") == [31373, 995]
    assert enc.encode("<|endoftext|>", allowed_special={"<|endoftext|>"}) == [50256]
    assert enc.encode("<|endoftext|>", allowed_special="all") == [50256]
    assert enc.encode("<|endoftext|>", disallowed_special=()) == [27, 91, 437, 1659, 5239, 91, 29]
    assert enc.encode_ordinary_batch(["hello world", "goodbye world"]) == [[31373, 995], [11274, 16390, 995]]
    assert enc.encode_single_token("hello") == 31373
    assert enc.decode_with_offsets([31373, 995]) == ("hello world", [0, 5])
    assert enc.decode_tokens_bytes([31373, 995]) == [b"hello", b" world"]
    assert enc._encode_single_piece("helloqqqq") == [31373, 38227, 38227]
    stable, completions = enc.encode_with_unstable("hello fanta")
    assert stable == [31373]
    assert [8842] in completions
    assert all(enc.decode_bytes(stable + seq).startswith(b"hello fanta") for seq in completions)
    cl100k_base = ours.get_encoding("cl100k_base")
    chat = ours.Encoding(
        name="cl100k_im",
        pat_str=cl100k_base._pat_str,
        mergeable_ranks=cl100k_base._mergeable_ranks,
        special_tokens={**cl100k_base._special_tokens, "<|im_start|>": 100264, "<|im_end|>": 100265},
    )
    assert chat.encode("<|im_start|>test<|im_end|>", allowed_special="all") == [100264, 1985, 100265]
    assert cl100k_base.encode("rer") == [38149]
    assert cl100k_base.encode("today\n ") == [31213, 198, 220]
    assert cl100k_base.encode("today\n \n") == [31213, 27907]
    assert cl100k_base.encode(" \x850") == [220, 126, 227, 15]
    assert enc.encode("0" * 17) == [8269, 10535, 830]
    assert enc.encode("👍") == [41840, 235]
    assert enc.encode("\ud83d\udc4d") == [41840, 235]
    assert enc.encode("\ud83d") == enc.encode("�")
    for character in "^09aA":
        assert cl100k_base.decode(cl100k_base.encode(character * 10_000)) == character * 10_000


def test_gpt2_is_made_of_its_own_files_or_of_r50k_base_which_has_the_same_ranks(cache, data, monkeypatch, tmp_path):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
    own = published.ENCODING_CONSTRUCTORS["gpt2"]()
    files = [f"{PLACE}/gpt-2/encodings/main/{name}" for name in ("vocab.bpe", "encoder.json")]
    assert own["mergeable_ranks"] == tiktoken.load.data_gym_to_mergeable_bpe_ranks(*files)
    (tmp_path / "r50k_base.tiktoken").symlink_to(data / "vectors" / "r50k_base.tiktoken")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert published.ENCODING_CONSTRUCTORS["gpt2"]() == own


def test_patterns_and_special_tokens_are_tiktokens(monkeypatch):
    monkeypatch.setattr(tiktoken_ext.openai_public, "load_tiktoken_bpe", lambda *_, **__: RANKS)
    monkeypatch.setattr(tiktoken_ext.openai_public, "data_gym_to_mergeable_bpe_ranks", lambda *_, **__: RANKS)
    monkeypatch.setattr(published, "_ranks", lambda _: RANKS)
    monkeypatch.setattr(published, "data_gym_to_mergeable_bpe_ranks", lambda **_: RANKS)
    theirs = tiktoken_ext.openai_public.ENCODING_CONSTRUCTORS
    assert list(published.ENCODING_CONSTRUCTORS) == list(theirs)
    for name, construct in published.ENCODING_CONSTRUCTORS.items():
        assert construct() == {"explicit_n_vocab": None} | theirs[name]()


@pytest.mark.parametrize("variable", load.CACHE_VARIABLES)
@pytest.mark.parametrize("by_address", [True, False])
def test_a_published_file_is_found_by_either_name_in_either_folder(variable, by_address, tmp_path, monkeypatch):
    address = f"{PLACE}/encodings/small.tiktoken"
    name = hashlib.sha1(address.encode()).hexdigest() if by_address else "small.tiktoken"
    load.dump_tiktoken_bpe(RANKS, str(tmp_path / "new" / name))
    monkeypatch.setenv(variable, str(tmp_path / "new"))
    content = (tmp_path / "new" / name).read_bytes()
    if by_address:
        assert load.load_tiktoken_bpe(address) == RANKS
    assert load.load_tiktoken_bpe(address, hashlib.sha256(content).hexdigest()) == RANKS
    monkeypatch.setenv(variable, "")
    with pytest.raises(FileNotFoundError):
        load.load_tiktoken_bpe(address)


def test_a_file_of_the_same_name_is_not_taken_for_it_without_a_hash(tmp_path, monkeypatch):
    load.dump_tiktoken_bpe(RANKS, str(tmp_path / "small.tiktoken"))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    for place in (PLACE, "https://example.com/other"):
        address = f"{place}/small.tiktoken"
        key = hashlib.sha1(address.encode()).hexdigest()
        with pytest.raises(FileNotFoundError, match=f"put it as {key} into"):
            load.load_tiktoken_bpe(address)
        with pytest.raises(ValueError, match="Hash mismatch"):
            load.load_tiktoken_bpe(address, "0" * 64)


def test_a_file_with_another_content_is_refused_and_left_alone(tmp_path, monkeypatch):
    file = tmp_path / "cl100k_base.tiktoken"
    load.dump_tiktoken_bpe(RANKS, str(file))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"Hash mismatch for .*cl100k_base.tiktoken"):
            ours.get_encoding("cl100k_base")
    assert load.load_tiktoken_bpe(str(file)) == RANKS
    with pytest.raises(ValueError, match="Hash mismatch"):
        load.load_tiktoken_bpe(str(file), "0" * 64)


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_missing_file_says_what_to_put_where(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    with pytest.raises(OSError, match="fastlm fetches nothing") as caught:
        ours.get_encoding(name)
    message = str(caught.value)
    assert PLACE in message
    assert str(tmp_path) in message
    assert "SHA-256" in message
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    with pytest.raises(FileNotFoundError, match="TIKTOKEN_CACHE_DIR"):
        ours.get_encoding(name)


def test_a_file_that_tiktoken_fetched_is_pointed_out_but_not_used(tmp_path, monkeypatch):
    address = f"{PLACE}/encodings/small.tiktoken"
    monkeypatch.setattr(load.tempfile, "gettempdir", lambda: str(tmp_path))
    left = tmp_path / "data-gym-cache" / hashlib.sha1(address.encode()).hexdigest()
    load.dump_tiktoken_bpe(RANKS, str(left))
    with pytest.raises(FileNotFoundError, match=f"TIKTOKEN_CACHE_DIR={left.parent}"):
        load.load_tiktoken_bpe(address)


def test_a_local_file_is_read_as_it_is_now(tmp_path):
    file = tmp_path / "own.tiktoken"
    load.dump_tiktoken_bpe(RANKS, str(file))
    assert load.load_tiktoken_bpe(str(file)) == RANKS
    more = RANKS | {b" the": 258}
    load.dump_tiktoken_bpe(more, str(file))
    assert load.load_tiktoken_bpe(str(file)) == more
    assert tiktoken.load.load_tiktoken_bpe(str(file)) == more
    file.unlink()
    with pytest.raises(FileNotFoundError):
        load.load_tiktoken_bpe(str(file))


@pytest.mark.parametrize("line", [b"QQ==", b"QQ== 1 2", b"Q 1", b"QQ== x", b"QQ== 1.5"])
def test_a_malformed_line_is_a_value_error_in_both(line, tmp_path, monkeypatch):
    file = tmp_path / "broken.tiktoken"
    file.write_bytes(b"Qg== 0\n\n" + line + b"\n")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    for module in (load, tiktoken.load):
        with pytest.raises(ValueError, match="Error parsing line") as caught:
            module.load_tiktoken_bpe(str(file))
        assert str(caught.value) == f"Error parsing line {line!r} in {file}"


def test_reading_and_hashes(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"content")
    assert load.read_file(str(file)) == load.read_file_cached(str(file)) == b"content"
    assert load.check_hash(b"content", hashlib.sha256(b"content").hexdigest())
    assert not load.check_hash(b"content", "0" * 64)
    for address in ("https://example.com/file", "az://folder/file"):
        with pytest.raises(OSError, match="fetches nothing"):
            load.read_file(address)
        with pytest.raises(OSError, match="fetches nothing"):
            load.read_file_cached(address)
    with pytest.raises(NotImplementedError, match="only local files"):
        load.dump_tiktoken_bpe(RANKS, "az://folder/file")


def test_a_rank_file_is_written_in_order_of_rank(tmp_path):
    file = tmp_path / "ranks"
    load.dump_tiktoken_bpe({b"b": 2, b"\xff": 0, b"a": 10}, str(file))
    assert file.read_bytes() == b"/w== 0\nYg== 2\nYQ== 10\n"
    assert base64.b64decode("/w==") == b"\xff"


def gpt2_files(folder: Path, merges: str, extra: dict[str, int]) -> list[str]:
    import json

    from fastlm.text.byte_level import CHAR_OF_BYTE
    from fastlm.vocabulary.vocabulary import BYTE_ORDER

    encoder = {CHAR_OF_BYTE[byte]: rank for rank, byte in enumerate(BYTE_ORDER)} | extra
    (folder / "vocab.bpe").write_text(f"#version: 0.2\n{merges}")
    (folder / "encoder.json").write_text(json.dumps(encoder))
    return [str(folder / "vocab.bpe"), str(folder / "encoder.json")]


def test_ranks_of_gpt2s_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    files = gpt2_files(tmp_path, "t h\nth e\nĠ the\n", {"th": 256, "the": 257, "Ġthe": 258, "<|endoftext|>": 259})
    found = load.data_gym_to_mergeable_bpe_ranks(*files)
    assert found == tiktoken.load.data_gym_to_mergeable_bpe_ranks(*files)
    assert found[b" the"] == 258
    files = gpt2_files(tmp_path, "t h\n", {"th": 256, "a": 300})
    for module in (load, tiktoken.load):
        with pytest.raises(AssertionError):
            module.data_gym_to_mergeable_bpe_ranks(*files)
        assert module.data_gym_to_mergeable_bpe_ranks(*files, clobber_one_byte_tokens=True)[b"a"] == 300


def test_models_have_the_encodings_that_tiktoken_says(monkeypatch):
    if tiktoken.__version__ != ours.__version__:
        pytest.skip(f"the tables are those of tiktoken {ours.__version__}, here is {tiktoken.__version__}")
    assert tiktoken.model.MODEL_TO_ENCODING == model.MODEL_TO_ENCODING
    assert tiktoken.model.MODEL_PREFIX_TO_ENCODING == model.MODEL_PREFIX_TO_ENCODING
    names = [*model.MODEL_TO_ENCODING, *(f"{prefix}xyz" for prefix in model.MODEL_PREFIX_TO_ENCODING)]
    for name in [*names, "gpt-4-32k", "ft:gpt-4o:me", "ft:gpt-3.5-turbo:me", "gpt-oss-120b", "gpt-5.5", "o3-mini"]:
        assert ours.encoding_name_for_model(name) == tiktoken.encoding_name_for_model(name)


def test_an_unknown_model_or_encoding():
    with pytest.raises(KeyError, match="Could not automatically map"):
        ours.encoding_for_model("no-such-model")
    with pytest.raises(ValueError, match="Unknown encoding no-such-encoding"):
        ours.get_encoding("no-such-encoding")
    with pytest.raises(ValueError, match="Expected a string"):
        ours.get_encoding(5)


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """A folder whose modules are plugins."""
    folder = tmp_path / "tiktoken_ext"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tiktoken_ext", raising=False)
    importlib.invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.startswith("tiktoken_ext.fastlm_")]:
        del sys.modules[name]
    sys.modules.pop("tiktoken_ext", None)


PLUGIN = """
def small():
    return {
        "name": "small", "pat_str": ".", "special_tokens": {"<|end|>": 256},
        "mergeable_ranks": {bytes([byte]): byte for byte in range(256)},
    }
ENCODING_CONSTRUCTORS = {NAME: small}
"""


def test_encodings_of_plugins(plugins):
    (plugins / "fastlm_one.py").write_text(PLUGIN.replace("NAME", "'small'"))
    assert ours.list_encoding_names() == [*OFFICIAL, "small"]
    encoding = ours.get_encoding("small")
    assert encoding.encode("a<|end|>", allowed_special="all") == [97, 256]
    assert pickle.loads(pickle.dumps(encoding)).name == "small"


@pytest.mark.parametrize("content", [PLUGIN.replace("NAME", "'gpt2'"), "x = 1"])
def test_a_plugin_that_is_none_or_repeats_a_name(plugins, content):
    (plugins / "fastlm_bad.py").write_text(content)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"tiktoken plugin tiktoken_ext\.fastlm_bad"):
            ours.list_encoding_names()
        with pytest.raises(OSError, match="fetches nothing"):
            ours.get_encoding("gpt2")


def test_importing_it_loads_neither_numba_nor_regex_nor_tiktoken_nor_plugins():
    program = (
        "import sys, fastlm.compat.tiktoken as tiktoken\n"
        "enc = tiktoken.Encoding('a', pat_str=PATTERN, mergeable_ranks={bytes([i]): i for i in range(256)},"
        " special_tokens={})\n"
        "assert enc.decode([97]) == 'a'\n"
        "print({'numba', 'torch', 'regex', 'tiktoken', 'tiktoken_ext', 'requests'}.intersection(sys.modules))"
    ).replace("PATTERN", repr(patterns.R50K))
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_without_tiktoken_there_are_no_plugins(monkeypatch):
    monkeypatch.setitem(sys.modules, "tiktoken_ext", None)
    assert ours.list_encoding_names() == OFFICIAL


def test_all_its_modules_can_take_the_place_of_tiktokens():
    page = (Path(__file__).parents[2] / "docs" / "migrate" / "tiktoken.md").read_text()
    # doctest's parser reads the page, whose lines are run in a process of their own
    lines = [
        example.source for example in doctest.DocTestParser().get_examples(page) if "take_the_place" in example.source
    ]
    program = (
        f"import importlib, sys\n{lines[0]}\ntake_the_place_of_tiktoken()\n"
        "import tiktoken, tiktoken.load\n"
        "from tiktoken.core import Encoding\n"
        "from tiktoken.registry import get_encoding\n"
        "from tiktoken._tiktoken import CoreBPE\n"
        "import fastlm.compat.tiktoken.core as core\n"
        "assert Encoding is core.Encoding is tiktoken.Encoding\n"
        "assert get_encoding is tiktoken.get_encoding\n"
        "assert CoreBPE is core.CoreBPE\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

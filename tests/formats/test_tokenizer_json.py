"""tokenizer.json: fastlm.load and the compatibility layer read what tokenizers reads, or refuse it by name."""

import copy
import dataclasses
import json
import logging

import pytest

import fastlm
import fastlm.compat.tokenizers as compat
from fastlm.formats import tokenizer_json
from fastlm.formats.tokenizer_json.components import UnsupportedComponentError
from tests.conftest import DATA

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers judges its own format")

# some of the splits have no scanner
pytestmark = pytest.mark.filterwarnings("ignore:no scanner for the pattern")

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
PLAIN = BYTE_LEVEL | {"use_regex": False}
SPLIT = {"type": "Split", "pattern": {"Regex": "a+"}, "behavior": "Isolated", "invert": False}
SEQUENCE_A, SEQUENCE_B = ({"Sequence": {"id": name, "type_id": k}} for k, name in enumerate("AB"))
SPECIAL = {"SpecialToken": {"id": "<|e|>", "type_id": 0}}
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [SPECIAL, SEQUENCE_A],
    "pair": [SEQUENCE_A, SEQUENCE_B],
    "special_tokens": {"<|e|>": {"id": "<|e|>", "ids": [257], "tokens": ["<|e|>"]}},
}
BERT = {"type": "BertProcessing", "sep": ["<|e|>", 257], "cls": ["!", 33]}
TRUNCATION = {"max_length": 400, "stride": 0, "strategy": "LongestFirst", "direction": "Right"}
PADDING = {
    "strategy": "BatchLongest",
    "direction": "Left",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "[PAD]",
}
TEXTS = ["ab 12<|e|>", "it's  é 日本\n", "", "<|e|>ab<|e|>"]


def base_content():
    tokens = {byte: bytes([byte]) for byte in range(256)} | {256: b"ab"}
    made = fastlm.Tokenizer(tokens, [(b"a", b"b")], ["<|e|>"], pattern="llama3")
    return tokenizer_json.content_of(made.vocabulary)


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def nested(name, depth):
    """A component in sequences in sequences."""
    return {"type": "Sequence", name: [nested(name, depth - 1)]} if depth else {"type": "NFC"}


def load(content):
    return fastlm.Tokenizer.from_vocabulary(tokenizer_json.vocabulary_of(tokenizer_json.parse_document(content)))


def answers(read, encode, content):
    """The ids of some texts, or "refused"."""
    try:
        tokenizer = read(content)
    except NotImplementedError:
        return "unsupported"
    except UnsupportedComponentError:
        return "unsupported"
    except ValueError:
        return "refused"
    except BaseException as error:
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        return "refused"
    if not isinstance(tokenizer, fastlm.Tokenizer):
        tokenizer.no_padding()
        tokenizer.no_truncation()
    return [encode(tokenizer, text) for text in TEXTS]


def plain_ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def check_readers(content):
    """Both readers refuse what tokenizers refuses, and give its ids or refuse by name what it reads."""
    text = json.dumps(content)
    expected = answers(tokenizers.Tokenizer.from_str, plain_ids, text)
    for read, encode in ((compat.Tokenizer.from_str, plain_ids), (load, lambda made, text: made.encode(text))):
        found = answers(read, encode, text)
        if expected == "refused":
            assert found in ("refused", "unsupported"), content
        else:
            assert found in (expected, "unsupported"), content
        yield found


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda c: c["pre_tokenizer"]["pretokenizers"][-1].pop("add_prefix_space"), False),
        (lambda c: [c["added_tokens"][0].pop(key) for key in ("single_word", "lstrip")], False),
        (lambda c: c["added_tokens"][0].update(id=999), True),
        (lambda c: c.update(extra=1), False),
        (lambda c: c.update(version="9.9"), False),
        (lambda c: c.pop("version"), True),
        (lambda c: c.update(truncation=TRUNCATION, padding=PADDING), True),
        (lambda c: c.update(truncation={"max_length": 4}), False),
        (lambda c: c["model"]["merges"].append(["a", "b"]), True),
        (lambda c: c["added_tokens"].append(c["added_tokens"][0]), True),
        (lambda c: c["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed", invert=True), True),
        (lambda c: c["pre_tokenizer"]["pretokenizers"][0].update(invert=True), True),
        (lambda c: c["model"].update(byte_fallback=True, unk_token="ab", fuse_unk=True, dropout=0.0), True),
        (lambda c: c["model"].update(byte_fallback=None, fuse_unk=None, ignore_merges=None), True),
        (lambda c: c["model"].pop("type"), True),
        (lambda c: c["model"]["vocab"].update({"": 300}), True),
        (lambda c: c.update(decoder=None), True),
        (lambda c: c.update(decoder={"type": "Sequence", "decoders": [BYTE_LEVEL]}), True),
        (lambda c: c.update(post_processor=BERT), True),
        (lambda c: c.update(post_processor=BERT | {"type": "RobertaProcessing"}), True),
        (lambda c: c.update(post_processor={"type": "Sequence", "processors": [BYTE_LEVEL, TEMPLATE]}), True),
        (lambda c: c.update(normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}]}), True),
        (lambda c: c.update(pre_tokenizer=sequence({"type": "Digits", "individual_digits": True}, BYTE_LEVEL)), True),
        (lambda c: c.update(added_tokens=[{**c["added_tokens"][0], "content": ""}]), True),
    ],
)
def test_all_three_readers_agree(change, same):
    content = base_content()
    change(content)
    found = list(check_readers(content))
    assert all(isinstance(ids, list) for ids in found) == same


def containers(node, path=()):
    """The paths of all entries but those of the tables."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in entries:
        yield (*path, key)
        if key not in ("vocab", "merges"):
            yield from containers(inner, (*path, key))


RICH = {
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]},
    "pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, SPLIT, PLAIN),
    "post_processor": {"type": "Sequence", "processors": [BYTE_LEVEL, TEMPLATE]},
    "decoder": {"type": "Sequence", "decoders": [BYTE_LEVEL]},
    "truncation": TRUNCATION,
    "padding": PADDING | {"strategy": {"Fixed": 3}},
}
# what tokenizers reads though it can never encode with it, or though the file contradicts itself
CONTRADICTIONS = ("Missing SpecialToken", "must use both", "same length", "in model.vocab", "not in the vocabulary")


@pytest.mark.parametrize("kind", ["base", "rich", "bert"])
def test_every_changed_entry_is_read_as_by_tokenizers(kind):
    """Each entry is removed, replaced by values of all JSON types, or gets an unknown entry."""
    content = base_content() | {"base": {}, "rich": RICH, "bert": {"post_processor": BERT}}[kind]
    tried = read = 0
    for path in list(containers(content)):
        if kind != "base" and path[0] in ("model", "added_tokens", "version"):
            continue
        for value in ("REMOVED", "UNKNOWN", None, True, 0, 1, -1, 1.5, "x", "", [], {}):
            changed = copy.deepcopy(content)
            parent = changed
            for key in path[:-1]:
                parent = parent[key]
            if value == "REMOVED":
                del parent[path[-1]]
            elif value == "UNKNOWN":
                if not isinstance(parent[path[-1]], dict):
                    continue
                parent[path[-1]]["unknown"] = 1
            else:
                parent[path[-1]] = value
            tried += 1
            try:
                found = list(check_readers(changed))
            except AssertionError:
                with pytest.raises(ValueError, match="|".join(CONTRADICTIONS)):
                    load(json.dumps(changed))
                continue
            read += all(isinstance(ids, list) for ids in found)
    assert tried > 100
    assert read > 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model"].update(type="Unigram"), r"models\.Unigram is not supported"),
        (lambda c: c["model"].update(dropout=0.1), r"models\.BPE with dropout = 0\.1 is not supported"),
        (lambda c: c["model"].update(dropout=1.5), "dropout must be between 0 and 1, got 1.5"),
        (lambda c: c["model"].update(end_of_word_suffix="</w>"), "models.BPE with end_of_word_suffix = '</w>'"),
        (lambda c: c["model"].update(unk_token=3), "unk_token must be a string or null, got 3"),
        (lambda c: c.update(truncation={"max_length": 2}), "truncation: missing field `stride`"),
        (lambda c: c.update(padding={}), "padding: missing field `strategy`"),
        (lambda c: c.update(normalizer={"type": "BertNormalizer"}), r"normalizers\.BertNormalizer is not supported"),
        (lambda c: c.update(normalizer={"type": "Nothing"}), "no normalizer is named 'Nothing'"),
        (lambda c: c.update(normalizer={"type": "Sequence", "normalizers": 3}), "normalizers must be a list, got 3"),
        (lambda c: c.update(decoder={"type": "WordPiece"}), r"decoders\.WordPiece is not supported"),
        (lambda c: c.update(post_processor={"type": "TemplateProcessing"}), "missing field `special_tokens`"),
        (
            lambda c: c.update(post_processor=TEMPLATE | {"single": [SPECIAL]}),
            "TemplateProcessing without the sequence A exactly once in single",
        ),
        (
            lambda c: c.update(post_processor={"type": "Sequence", "processors": [TEMPLATE, BERT]}),
            "post_processor BertProcessing after a TemplateProcessing is not supported",
        ),
        (lambda c: c.update(post_processor={"type": "BertProcessing"}), "BertProcessing: missing field `sep`"),
        (lambda c: c.update(post_processor={"type": "RobertaProcessing", "cls": 1, "sep": 1}), "sep must be a list"),
        (
            lambda c: c.update(pre_tokenizer={"type": "UnicodeScripts"}),
            r"pre_tokenizers\.UnicodeScripts is not supported",
        ),
        (lambda c: c.update(pre_tokenizer={"type": "FixedLength", "length": 0}), "FixedLength with length 0 is not"),
        (lambda c: c.update(pre_tokenizer=sequence({"type": "Metaspace"}, BYTE_LEVEL)), "missing field `replacement`"),
        (
            lambda c: (c.update(pre_tokenizer=None), c["model"].update(unk_token="ab")),
            "unk_token = 'ab' with pre_tokenizer null, after which characters may spell no byte, is not supported",
        ),
        (
            lambda c: (c.update(pre_tokenizer={"type": "Whitespace"}), c["model"].update(byte_fallback=True)),
            "byte_fallback = True with pre_tokenizer Whitespace, after which",
        ),
        (
            lambda c: (
                c.update(pre_tokenizer=sequence(BYTE_LEVEL, {"type": "Metaspace", "replacement": "▁"})),
                c["model"].update(ignore_merges=True),
            ),
            "ignore_merges = True with pre_tokenizer ByteLevel then Metaspace",
        ),
        (
            lambda c: (c.update(pre_tokenizer=None), c["model"]["vocab"].update({"日": 300})),
            "models.BPE with token '日' of id 300 with pre_tokenizer null",
        ),
        (lambda c: c.update(pre_tokenizer=sequence(SPLIT | {"pattern": {}}, BYTE_LEVEL)), "with String or Regex, got"),
        (
            lambda c: c.update(pre_tokenizer=sequence(SPLIT | {"pattern": {"Regex": "("}}, PLAIN)),
            r"expression '\(' is not valid",
        ),
        (lambda c: c["added_tokens"][0].update(id="0"), "id must be an unsigned 32-bit integer, got '0'"),
        (lambda c: c["added_tokens"][0].update(content="new", id=5), "'new' has id 5, which is '\\S+' in model.vocab"),
        (
            lambda c: c["added_tokens"].extend(
                {**c["added_tokens"][0], "content": name, "id": 700} for name in "ÄÖ日中"
            ),
            "have one id, 700",
        ),
        (lambda c: c.update(added_tokens=[3]), "added token 3 must be an object"),
        (lambda c: c.pop("model"), "expected an object with a 'model' object"),
        (lambda c: c["model"].update(vocab=[]), "missing vocab or merges"),
        (
            lambda c: (c["model"]["vocab"].update({"日": 300, "日a": 301}), c["model"]["merges"].append(["日", "a"])),
            "merge of token '日' of id 300, which spells no bytes, is not",
        ),
        (lambda c: c["model"]["vocab"].update({"zz": 1}), "two tokens have one id"),
        (lambda c: c["model"]["vocab"].update({"zz": 2**31}), "id 2147483648, far above the number of tokens"),
        (lambda c: c["model"]["merges"].insert(0, ["a", "b", "c"]), "merge 0 is \\['a', 'b', 'c'\\], expected two"),
        (lambda c: c["model"]["merges"].append("a b c"), "merge 1 is 'a b c', expected two tokens"),
        (lambda c: c["model"].update(merges=["a b", ["a", "b"]]), "merge 1 is .*, expected a string as the first"),
        (lambda c: c["model"].update(merges=["a b c"]), "merge 0 is 'a b c', expected two tokens with one space"),
        (
            lambda c: (c["model"]["vocab"].pop("!"), c["model"].update(ignore_merges=True)),
            "ignore_merges = True where bytes lack a token is not supported",
        ),
        (
            lambda c: c.update(
                pre_tokenizer={
                    **{"type": "Metaspace", "replacement": "▁", "split": True},
                    **{"prepend_scheme": "never", "add_prefix_space": True},
                }
            ),
            "add_prefix_space does not match declared prepend_scheme",
        ),
        (
            lambda c: (
                c.update(normalizer={"type": "Strip", "strip_left": True, "strip_right": True}),
                c["added_tokens"].append({**c["added_tokens"][0], "content": "  ", "id": 258, "normalized": True}),
            ),
            "added token '  ', which the normalizer makes empty, is not supported",
        ),
        (lambda c: c.update(normalizer=nested("normalizers", 100)), "normalizer: components nested more than"),
        (lambda c: c["model"]["merges"].append(["a", "\u4e2d"]), "merge 1: token `中` out of vocabulary"),
        (lambda c: c["model"]["merges"].append(["!", "\u0100"]), "merge 1: token `!Ā` out of vocabulary"),
    ],
)
def test_what_is_refused_is_named(change, message, tmp_path):
    content = base_content()
    change(content)
    path = tmp_path / tokenizer_json.FILE
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match=rf"tokenizer\.json: .*({message})"):
        fastlm.load(path)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"model"'])
def test_a_file_without_an_object_is_refused(content, tmp_path):
    path = tmp_path / tokenizer_json.FILE
    path.write_text(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json: expected an object with a 'model' object in it, found"):
        fastlm.load(path)
    path.write_text('["config"]')
    with pytest.raises(ValueError, match=r"tokenizer\.json: expected an object with a 'config' object in it, found"):
        fastlm.load(path)


def test_a_space_before_a_text_that_steps_split_is_refused():
    made = load(json.dumps(base_content() | {"pre_tokenizer": sequence({"type": "Whitespace"}, PLAIN)})).vocabulary
    spaced = dataclasses.replace(made, rules=dataclasses.replace(made.rules, add_prefix_space=True))
    with pytest.raises(ValueError, match="cannot add a space before a text that steps split"):
        tokenizer_json.content_of(spaced)


# what the library reads and fastlm.load refuses, so that no file means two things: see docs/formats.md
@pytest.mark.parametrize("text", ['{"version": "1.0", "version": "1.0"}', '{"a": NaN}', '{"a": "\\ud800"}', "{'a': 1}"])
def test_what_is_not_json_is_refused(text):
    for read in (load, compat.Tokenizer.from_str):
        with pytest.raises(ValueError, match=r"twice|NaN|surrogate|line 1"):
            read(text)


# --- what a file says beyond ids ---


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"post_processor": BERT},
        {"post_processor": BERT | {"type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": False}},
        {"post_processor": TEMPLATE},
        {"post_processor": {"type": "Sequence", "processors": [BYTE_LEVEL | {"trim_offsets": False}, TEMPLATE]}},
        {"decoder": None},
        {"truncation": TRUNCATION, "padding": PADDING},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}},
        {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, PLAIN)},
        {"pre_tokenizer": sequence({"type": "Punctuation", "behavior": "Contiguous"}, BYTE_LEVEL)},
        {"pre_tokenizer": sequence({"type": "Whitespace"}, PLAIN | {"add_prefix_space": True, "trim_offsets": False})},
        RICH,
    ],
)
def test_saving_keeps_all_that_was_read(change, tmp_path):
    content = base_content() | change
    content["model"]["unk_token"] = "ab"
    content["model"]["vocab"].pop("<|e|>")
    source = tmp_path / "source.json"
    source.write_text(json.dumps(content), "utf-8")
    expected = tokenizers.Tokenizer.from_file(str(source)).to_str()
    loaded = fastlm.load(source)
    loaded.save(tmp_path / "json", ["tokenizer.json"])
    loaded.save(tmp_path / "native", ["fastlm"])
    fastlm.load(tmp_path / "native").save(tmp_path / "again", ["tokenizer.json"])
    for folder in ("json", "again"):
        assert tokenizers.Tokenizer.from_file(str(tmp_path / folder / "tokenizer.json")).to_str() == expected
    assert fastlm.load(tmp_path / "json").vocabulary.fingerprint == loaded.vocabulary.fingerprint


# bytes of a file from which on it is read in the nightly lane
LARGE = 4_000_000
OFFICIAL = [
    pytest.param(path, marks=pytest.mark.nightly if path.stat().st_size > LARGE else ())
    for path in sorted([*(DATA / "tokenizers").glob("*/tokenizer.json"), *(DATA / "vectors").glob("*.tokenizer.json")])
]


@pytest.mark.parametrize("path", OFFICIAL, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_published_files_are_kept(path, tmp_path):
    loaded = fastlm.load(path)
    loaded.save(tmp_path, ["tokenizer.json"])
    again = fastlm.load(tmp_path)
    assert again.vocabulary.fingerprint == loaded.vocabulary.fingerprint
    before, after = (tokenizers.Tokenizer.from_file(str(file)) for file in (path, tmp_path / "tokenizer.json"))
    ids_of_file = [token["id"] for token in json.loads(path.read_text("utf-8"))["added_tokens"]]
    if sorted(before.get_added_tokens_decoder()) != sorted(ids_of_file):
        return  # tokenizers gives other ids than the file says
    for text in ("Hello there world", "it's  12345 é日本\n\n", "    x"):
        assert after.encode(text).tokens == before.encode(text).tokens == again_tokens(before, again, text)
        assert after.encode(text, "new world").tokens == before.encode(text, "new world").tokens
        assert after.encode(text, "new world").type_ids == before.encode(text, "new world").type_ids
        assert after.encode(text).offsets == before.encode(text).offsets


def again_tokens(judge, tokenizer, text):
    return [judge.id_to_token(token_id) for token_id in tokenizer.encode(text, add_special_tokens=True)]


# --- files of one folder ---


def other_rules(tokenizer):
    """The tokenizer with rules that vocab.json and, as the pattern is llama3, tokenizer.json cannot hold."""
    from dataclasses import replace

    from fastlm.vocabulary import Rules

    return fastlm.Tokenizer.from_vocabulary(replace(tokenizer.vocabulary, rules=Rules(add_prefix_space=True)))


@pytest.fixture
def small():
    return load(json.dumps(base_content()))


def test_a_save_removes_the_files_of_the_tokenizer_before(small, tmp_path, caplog):
    small.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} > {"tokenizer.json", "vocab.json", "merges.txt"}
    with caplog.at_level(logging.WARNING):
        written = other_rules(small).save(tmp_path)
    assert [path.name for path in written] == ["tokenizer.fastlm"]
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.fastlm"]
    assert "the format 'tokenizer.json' is left out: tokenizer.json cannot add a space" in caplog.text
    assert "removed tokenizer.json, vocab.json, merges.txt" in caplog.text
    assert fastlm.load(tmp_path).vocabulary.rules.add_prefix_space


def test_a_save_keeps_files_of_the_same_tokenizer_and_of_others(small, tmp_path):
    small.save(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"not minbpe's")
    (tmp_path / "config.json").write_text("{}")
    names = {path.name for path in tmp_path.iterdir()}
    small.save(tmp_path, ["fastlm"])
    small.save(tmp_path, ["tokenizer.json"])
    assert {path.name for path in tmp_path.iterdir()} == names
    other_rules(small).save(tmp_path, ["fastlm"])
    assert {path.name for path in tmp_path.iterdir()} == {"tokenizer.fastlm", "tokenizer.model", "config.json"}


def test_a_json_file_replaces_the_native_file_of_another_tokenizer(small, tmp_path):
    other_rules(small).save(tmp_path)
    small.save(tmp_path, ["tokenizer.json"])
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    # a folder without a tokenizer.fastlm may hold what it likes
    small.save(tmp_path / "other", ["gpt2"])
    trained = fastlm.train_bpe(["some text"], 260)
    trained.save(tmp_path / "other", ["tokenizer.json"])
    assert {path.name for path in (tmp_path / "other").iterdir()} == {"tokenizer.json", "vocab.json", "merges.txt"}


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "merges.txt"])
def test_a_folder_whose_files_disagree_is_refused(small, tmp_path, name):
    small.save(tmp_path / "a")
    fastlm.train_bpe(["some text"], 260).save(tmp_path / "b")
    (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    with pytest.raises(ValueError, match=r"a: (tokenizer\.json|vocab\.json|merges\.txt) does not hold the vocabulary"):
        fastlm.load(tmp_path / "a")
    assert fastlm.load(tmp_path / "a" / "tokenizer.fastlm").vocab == small.vocab
    # a killed save leaves its temporary files: tokenizer.fastlm, which it names first, counts
    for sibling in ("tokenizer.json", "vocab.json", "merges.txt"):
        (tmp_path / "a" / f".{sibling}.0123456789ab.tmp").touch()
    assert fastlm.load(tmp_path / "a").vocab == small.vocab


def test_a_sibling_that_was_written_otherwise_is_compared_by_content(small, tmp_path):
    small.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8"))), "utf-8")
    assert fastlm.load(tmp_path).vocab == small.vocab


@pytest.mark.parametrize("pattern", ["gpt2", "r50k_base", "llama3", "minbpe-gpt4", "cl100k_base", "starcoder"])
def test_a_fingerprint_does_not_depend_on_the_name_of_a_pattern(pattern, tmp_path):
    trained = fastlm.train_bpe(["some text, some more text"], 260, pattern=pattern)
    trained.save(tmp_path)
    for name in ("tokenizer.fastlm", "tokenizer.json"):
        assert fastlm.load(tmp_path / name).vocabulary.fingerprint == trained.vocabulary.fingerprint

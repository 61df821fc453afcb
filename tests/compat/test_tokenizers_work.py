"""How often the compatibility layer of tokenizers builds something, by counting."""

import pytest

import fastlm.compat.tokenizers as compat
from fastlm.compat.tokenizers import encoding as encoding_module
from fastlm.compat.tokenizers import text_columns
from fastlm.compat.tokenizers import tokenizer as tokenizer_module

# some of the splits have no scanner
pytestmark = pytest.mark.filterwarnings("ignore:no scanner for the pattern")

VOCAB = {char: k for k, char in enumerate(compat.pre_tokenizers.ByteLevel.alphabet())}


@pytest.fixture
def tokenizer():
    made = compat.Tokenizer(compat.models.BPE(VOCAB | {"ab": 256}, [("a", "b")]))
    made.normalizer = compat.normalizers.Sequence([compat.normalizers.NFC()])
    digits = compat.pre_tokenizers.Digits(True)
    made.pre_tokenizer = compat.pre_tokenizers.Sequence([digits, compat.pre_tokenizers.ByteLevel(False)])
    made.decoder = compat.decoders.ByteLevel()
    return made


@pytest.fixture
def built(monkeypatch):
    """The pipelines that were built."""
    pipelines = []

    class Counted(tokenizer_module.Pipeline):
        def __init__(self, *arguments):
            pipelines.append(self)
            super().__init__(*arguments)

    monkeypatch.setattr(tokenizer_module, "Pipeline", Counted)
    return pipelines


def test_other_components_do_not_invalidate_a_pipeline(tokenizer, built):
    tokenizer.encode("ab 12")
    tokenizer.decode([64])
    pipeline, decoding = tokenizer._pipeline(), tokenizer._decoding
    other = compat.Tokenizer(compat.models.BPE(VOCAB, []))
    other.pre_tokenizer = compat.pre_tokenizers.ByteLevel()
    other.pre_tokenizer.add_prefix_space = False
    other.model.fuse_unk = True
    other.train_from_iterator(["some text"], compat.trainers.BpeTrainer(vocab_size=10, show_progress=False))
    compat.Tokenizer.from_str(other.to_str())
    compat.processors.TemplateProcessing()
    tokenizer.encode("ab 12")
    tokenizer.encode_batch(["ab", "12"])
    tokenizer.decode([64])
    assert tokenizer._pipeline() is pipeline
    assert tokenizer._decoding is decoding
    assert len(built) == 1


CHANGES = {
    "option of the model": lambda t: setattr(t.model, "fuse_unk", True),
    "option of a step": lambda t: setattr(t.pre_tokenizer[0], "individual_digits", False),
    "option of the last step": lambda t: setattr(t.pre_tokenizer[1], "use_regex", False),
    "state of a step": lambda t: t.pre_tokenizer[0].__setstate__(b'{"type": "Digits", "individual_digits": false}'),
    "component": lambda t: setattr(t, "normalizer", None),
    "added token": lambda t: t.add_tokens(["xy"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_its_own_component_rebuilds_a_pipeline_once(tokenizer, built, change):
    tokenizer.encode("ab 12")
    CHANGES[change](tokenizer)
    for _ in range(3):
        tokenizer.encode("ab 12 xy")
    assert len(built) == 2


@pytest.fixture
def made(monkeypatch):
    """The numbers of offsets and words that were made."""
    counts = {"offsets": 0, "words": 0, "places": 0}
    for name in ("offsets", "words"):
        original = getattr(text_columns.TextColumns, name)

        def counted(self, start, stop, name=name, original=original):
            counts[name] += stop - start
            return original(self, start, stop)

        monkeypatch.setattr(text_columns.TextColumns, name, counted)

    class Counted(encoding_module.Places):
        def __init__(self, spans):
            counts["places"] += 1
            super().__init__(spans)

    monkeypatch.setattr(encoding_module, "Places", Counted)
    return counts


@pytest.mark.parametrize("processor", [None, compat.processors.ByteLevel(), compat.processors.TemplateProcessing()])
def test_a_token_is_located_without_the_others(tokenizer, made, processor):
    tokenizer.post_processor = processor
    encoding = tokenizer.encode("ab 12é  " * 50)
    size = len(encoding)
    offsets, words = encoding.offsets, encoding.word_ids
    made.update(offsets=0, words=0)
    assert [encoding.token_to_chars(k) for k in range(size)] == offsets
    assert [encoding.token_to_word(k) for k in range(size)] == words
    assert made == {"offsets": size, "words": size, "places": 1}


def test_characters_and_words_are_located_in_arrays_that_are_made_once(tokenizer, made):
    encoding = tokenizer.encode("ab 12 " * 50)
    size = len(encoding)
    for k in range(100):
        encoding.char_to_token(k)
        encoding.word_to_tokens(k)
    assert made == {"offsets": size, "words": size, "places": 1}
    encoding.pad(size + 5)
    assert encoding.char_to_token(0) == 0
    assert made["places"] == 2

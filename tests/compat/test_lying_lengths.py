"""Lists that report a wrong length: the layer takes the items, where tokenizers ends the process."""

import pytest

import fastlm.compat.tokenizers as ours
from fastlm.compat.tokenizers import decoders, models, normalizers, processors, trainers
from tests.reliability.layer_calls import content


class Lying(list):
    def __len__(self):
        return 1 << 40


@pytest.fixture
def tokenizer():
    return ours.Tokenizer.from_str(content())


@pytest.mark.parametrize(
    ("call", "items"),
    [
        (lambda made, items: made.decode(items), [1, 2]),
        (lambda made, items: made.decode_batch(items), [[1, 2]]),
        (lambda made, items: [one.ids for one in made.encode_batch(items)], ["a", "b"]),
        (lambda made, items: [one.ids for one in made.encode_batch_fast(items)], ["a", "b"]),
        (lambda made, items: made.encode(items, is_pretokenized=True).ids, ["a", "b"]),
        (lambda made, items: made.add_tokens(items), ["<x>", "<y>"]),
        (lambda made, items: made.train(items, trainers.BpeTrainer(vocab_size=300, show_progress=False)), []),
        (lambda made, items: ours.Encoding.merge(items).ids, [ours.Encoding()]),
        (lambda _, items: models.BPE({"a": 0, "b": 1, "ab": 2}, items).merges, [("a", "b")]),
        (lambda _, items: normalizers.Sequence(items).normalize_str("e\u0301"), [normalizers.NFC()]),
        (lambda _, items: processors.TemplateProcessing(items).num_special_tokens_to_add(False), ["$A"]),
        (lambda made, items: decoders.DecodeStream(items).step(made, 70), [71]),
        (lambda made, items: decoders.DecodeStream().step(made, items), [70, 71]),
    ],
)
def test_items_are_taken_whatever_the_length(tokenizer, call, items):
    expected = call(tokenizer, items)
    assert call(ours.Tokenizer.from_str(content()), Lying(items)) == expected


def test_a_stream_names_what_is_no_tokenizer():
    with pytest.raises(TypeError, match="'int' object is not an instance of 'Tokenizer'"):
        decoders.DecodeStream().step(3, 1)

"""Programs of the documentation of tokenizers, for byte-level BPE: one module or the other, the same output."""

import pytest

import fastlm.compat.tokenizers as ours
from tests import texts

theirs = pytest.importorskip("tokenizers", reason="tokenizers judges what its face answers")

PROGRAMS = {
    "build, train, save and use": """
        from {module} import Tokenizer, models, pre_tokenizers, decoders, trainers, processors

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
        trainer = trainers.BpeTrainer(
            vocab_size=400,
            min_frequency=2,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"],
            show_progress=False,
        )
        tokenizer.train(files, trainer=trainer)
        tokenizer.save(folder + "/byte-level-bpe.tokenizer.json", pretty=True)
        tokenizer = Tokenizer.from_file(folder + "/byte-level-bpe.tokenizer.json")
        output = tokenizer.encode("Hello, y'all! How are you 😁 ?")
        print(output.tokens, output.ids, output.offsets)
        print(tokenizer.get_vocab_size(), tokenizer.decode(output.ids))
    """,
    "post-process pairs": """
        from {module} import Tokenizer
        from {module}.processors import TemplateProcessing

        tokenizer = Tokenizer.from_str(trained)
        print(tokenizer.token_to_id("[SEP]"))
        tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[
                ("[CLS]", tokenizer.token_to_id("[CLS]")),
                ("[SEP]", tokenizer.token_to_id("[SEP]")),
            ],
        )
        output = tokenizer.encode("Hello, y'all! How are you 😁 ?")
        print(output.tokens)
        output = tokenizer.encode("Hello, y'all!", "How are you 😁 ?")
        print(output.tokens, output.type_ids)
        output = tokenizer.encode_batch(["Hello, y'all!", "How are you 😁 ?"])
        tokenizer.encode_batch([["Hello, y'all!", "How are you 😁 ?"], ["Hello to you too!", "I'm fine, thank you!"]])
        tokenizer.enable_padding(pad_id=3, pad_token="[PAD]")
        output = tokenizer.encode_batch(["Hello, y'all!", "How are you 😁 ?"])
        print(output[1].tokens, output[1].attention_mask)
    """,
    "put a pipeline together": """
        import {module} as tokenizers
        from {module} import normalizers, pre_tokenizers
        from {module}.normalizers import NFC
        from {module}.pre_tokenizers import ByteLevel, Digits

        normalizer = normalizers.Sequence([NFC()])
        print(normalizer.normalize_str("Héllò hôw are ü?"))
        pre_tokenizer = ByteLevel(add_prefix_space=False)
        print(pre_tokenizer.pre_tokenize_str("Hello! How are you? I'm fine, thank you."))
        pre_tokenizer = pre_tokenizers.Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
        print(pre_tokenizer.pre_tokenize_str("Call 911!"))
        tokenizer = tokenizers.Tokenizer.from_str(trained)
        tokenizer.normalizer = normalizer
        tokenizer.pre_tokenizer = pre_tokenizer
        encoding = tokenizer.encode("Call 911! cafe\\u0301")
        print(encoding.tokens, encoding.offsets, encoding.word_ids, encoding)
    """,
    "train from memory": """
        from {module} import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=350,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<PAD>", AddedToken("<BOS>"), "<EOS>"],
            show_progress=False,
        )
        def batch_iterator(batch_size=3):
            for start in range(0, len(documents), batch_size):
                yield documents[start : start + batch_size]
        tokenizer.train_from_iterator(batch_iterator(), trainer=trainer, length=len(documents))
        print(tokenizer.to_str())
        print(tokenizer.get_added_tokens_decoder())
    """,
    "stream": """
        from {module} import Tokenizer
        from {module}.decoders import DecodeStream

        tokenizer = Tokenizer.from_str(trained)
        stream = DecodeStream(skip_special_tokens=False)
        for id in tokenizer.encode("Hello, y'all! How are you 😁 ?").ids:
            print(repr(stream.step(tokenizer, id)))
    """,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A text file and a tokenizer.json."""
    folder = tmp_path_factory.mktemp("documented")
    (folder / "text.txt").write_text("\n".join(texts.DOCUMENTS), encoding="utf-8")
    run(PROGRAMS["build, train, save and use"], "tokenizers", folder, "")
    return folder, (folder / "byte-level-bpe.tokenizer.json").read_text()


def run(program, module, folder, trained):
    import textwrap

    given = {
        "files": [str(folder / "text.txt")],
        "folder": str(folder),
        "trained": trained,
        "documents": texts.DOCUMENTS,
    }
    exec(textwrap.dedent(program.replace("{module}", module)), given)


@pytest.mark.parametrize("name", PROGRAMS)
def test_documented_programs_print_the_same(name, trained, capfd):
    folder, content = trained
    capfd.readouterr()
    run(PROGRAMS[name], "tokenizers", folder, content)
    expected = capfd.readouterr().out.replace("\n\n", "\n").lstrip("\n")
    run(PROGRAMS[name], ours.__name__, folder, content)
    assert capfd.readouterr().out == expected
    assert expected

"""generate and stream: against transformers, and where and why a sequence ends."""

import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import fastlm  # noqa: E402
from fastlm import cli  # noqa: E402
from fastlm.generation import Completion, KernelStep, generate, stream, torch_step  # noqa: E402
from fastlm.generation.stopping import StopStrings  # noqa: E402
from fastlm.model.config import SpecialTokenIds  # noqa: E402
from fastlm.model.files import save_model  # noqa: E402
from tests.model.models import llama_of  # noqa: E402
from tests.model.variants import model_of  # noqa: E402


@pytest.mark.parametrize("variant", ["plain", "grouped", "one head of keys", "tied", "wide heads"])
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.nightly)])
def test_greedy_ids_are_those_of_transformers(variant, dtype):
    model = model_of(variant, dtype=dtype, context_length=80)
    llama = llama_of(model)
    prompts = [[5, 1, 60, 2, 77], [9], [3, 3, 96]]
    for penalty in (1.0, 1.2):
        options = {"max_new_tokens": 60, "temperature": 0.0, "repetition_penalty": penalty}
        expected = []
        for prompt in prompts:
            ids = torch.tensor([prompt])
            whole = llama.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=60,
                do_sample=False,
                repetition_penalty=penalty,
            )
            expected.append(whole[0, len(prompt) :].tolist())
        together = generate(model, prompts, **options)
        assert [completion.ids for completion in together] == expected
        assert [generate(model, prompt, **options).ids for prompt in prompts] == expected


# --- text ---


@pytest.fixture(scope="module")
def words(trained):
    """A tokenizer of 1,000 tokens, and a model for them that has learned nothing."""
    return trained, model_of("grouped", vocab_size=trained.vocab_size, context_length=300)


def test_text_is_that_of_the_ids_and_pieces_are_its_parts(words):
    tokenizer, model = words
    for seed in range(5):
        whole = generate(model, "the ", tokenizer, max_new_tokens=80, seed=seed, temperature=2.0)
        assert whole.text == tokenizer.decode(whole.ids)
        pieces = list(stream(model, "the ", tokenizer, max_new_tokens=80, seed=seed, temperature=2.0))
        assert "".join(pieces) == whole.text
        assert len(pieces) > 20
        assert whole == Completion(whole.ids, whole.text, "length")


def scripted(ids):
    """A step, and the logits of a model, that give just these ids."""

    class Script:
        at = 0

        def __call__(self, token_ids, cache):
            self.at += 1
            return torch.nn.functional.one_hot(torch.tensor([ids[self.at - 1]]), 1002).float()

    return Script()


def completed(words, ids, **options):
    """What becomes of ids that a model yields after its first, of which the text is cut off."""
    tokenizer, model = words
    ids = [*ids, *[tokenizer.encode("!")[0]] * 50]
    return generate(
        model, "a", tokenizer, temperature=0, step=scripted(ids), max_new_tokens=options.pop("count", 40), **options
    )


def test_a_stop_string_may_span_tokens_and_is_left_out(words):
    tokenizer, model = words
    first = generate(model, "a", tokenizer, temperature=0, max_new_tokens=1)
    ids = [byte for piece in "one two END three" for byte in tokenizer.encode(piece)]
    assert len(ids) == 17
    found = completed(words, ids, stop_strings=["nothing", "END"])
    assert found == Completion([*first.ids, *ids[:11]], f"{first.text}one two ", "stop")
    assert completed(words, ids, stop_strings=["END!"], count=12).text == f"{first.text}one two END"


def test_characters_are_whole(words):
    tokenizer, model = words
    id_of = {token: token_id for token_id, token in tokenizer.vocab.items()}
    ids = [id_of[bytes([byte])] for byte in "aé😀".encode()]
    first = generate(model, "a", tokenizer, temperature=0, max_new_tokens=1)
    pieces = list(stream(model, "a", tokenizer, temperature=0, max_new_tokens=8, step=scripted(ids)))
    assert pieces == [first.text, "a", "é", "😀"]
    pieces = list(stream(model, "a", tokenizer, temperature=0, max_new_tokens=7, step=scripted(ids)))
    assert pieces == [first.text, "a", "é", "\ufffd"]


def test_a_stop_token_ends_and_is_left_out(words):
    tokenizer, model = words
    first = generate(model, "a", tokenizer, temperature=0, max_new_tokens=1)
    end = tokenizer.special_tokens["<|endoftext|>"]
    ids = [*tokenizer.encode("one two"), end, *tokenizer.encode("three")]
    found = completed(words, ids)
    assert found == Completion(first.ids + tokenizer.encode("one two"), f"{first.text}one two", "stop")
    assert completed(words, ids, stop_tokens=[], count=6).finish_reason == "length"
    assert completed(words, ids, stop_tokens=[], stop_strings=["<|end"]).text == f"{first.text}one two"
    assert completed(words, ids, stop_tokens=first.ids) == Completion([], "", "stop")


def test_a_string_is_one_stop_string_and_an_id_one_stop_token(words):
    tokenizer, model = words
    first = generate(model, "a", tokenizer, temperature=0, max_new_tokens=1)
    ids = tokenizer.encode("one two END three")
    for strings in ("END", ["END"], iter(["END"]), {"END"}):
        assert completed(words, ids, stop_strings=strings).text == f"{first.text}one two "
    assert completed(words, ids, stop_strings="DNE", count=6).finish_reason == "length"
    end = tokenizer.encode(" two")[0]
    for tokens in (end, np.int64(end), [end], {end}, np.array([end])):
        assert completed(words, ids, stop_tokens=tokens).text == f"{first.text}one"
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        completed(words, ids, stop_tokens="<|endoftext|>")


def test_the_models_end_ids_stop_a_generation(words):
    tokenizer, model = words
    first = generate(model, "a", tokenizer, temperature=0, max_new_tokens=1)
    one, two, three = (tokenizer.encode(text)[0] for text in ("one", " two", " three"))
    end = tokenizer.special_tokens["<|endoftext|>"]
    for ends, expected in (((), 4), ((two,), 2), ((three, one), 1), ((998,), 41)):
        model.special_token_ids = SpecialTokenIds(eos=ends)
        found = completed(words, [one, two, three, end])
        assert (len(found.ids), found.finish_reason) == (min(expected, 40), "length" if expected > 40 else "stop")
        assert found.ids[0] == first.ids[0]
    model.special_token_ids = SpecialTokenIds(eos=(two,))
    assert len(completed(words, [one, two, three, end], stop_tokens=[three]).ids) == 3
    del model.special_token_ids


def test_a_tokenizer_that_is_not_the_models_is_refused(words):
    tokenizer, model = words
    other = fastlm.train_bpe(["other text"], 262, ["<|endoftext|>"])
    model.tokenizer_fingerprint = tokenizer.vocabulary.fingerprint
    try:
        assert generate(model, "a", tokenizer, max_new_tokens=1).ids
        for prompt in ("a", [1], [[1], [2]]):
            with pytest.raises(ValueError, match=f"the model was trained with .* {model.tokenizer_fingerprint}; the o"):
                generate(model, prompt, other)
        with pytest.raises(ValueError, match="the model was trained with"):
            stream(model, "a", other)
    finally:
        del model.tokenizer_fingerprint


def holed(unused, size):
    """A tokenizer of bytes with ids that have no token."""
    used = [token_id for token_id in range(size) if token_id not in unused][:256]
    return fastlm.Tokenizer({token_id: bytes([byte]) for byte, token_id in enumerate(used)}, [])


@pytest.mark.parametrize("unused", [{3, 200, 256}, set(range(256, 290)), {0}])
@pytest.mark.parametrize("options", [{"seed": 3}, {"temperature": 0}, {"temperature": 0, "repetition_penalty": 1.5}])
@pytest.mark.parametrize("step", [None, torch_step])
def test_ids_without_a_token_are_never_sampled(unused, options, step):
    tokenizer, model = holed(unused, 290), model_of("plain", vocab_size=290)
    with torch.no_grad():  # such ids would be the likeliest
        model.lm_head.weight[sorted(unused)] *= 10
    made = None if step is None else step(model)
    for prompts in ("a", ["a", "bc"]):
        found = generate(model, prompts, tokenizer, max_new_tokens=30, step=made, **options)
        for completion in found if isinstance(found, list) else [found]:
            assert len(completion.ids) == 30
            assert not unused & set(completion.ids)
            assert completion.text == tokenizer.decode(completion.ids)
    # without a tokenizer nothing says which ids have one
    assert unused & set(generate(model, [1], max_new_tokens=30, **options).ids)


def test_a_step_for_the_greatest_logit_needs_a_token_for_each_id():
    tokenizer, model = holed({3}, 257), model_of("plain", vocab_size=257)
    with pytest.raises(ValueError, match="which may be of an id that the tokenizer lacks"):
        generate(model, "a", tokenizer, temperature=0, step=KernelStep(model, greatest=True))


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=4), st.data())
def test_stop_strings_do_not_depend_on_how_the_text_comes(text, strings, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    stop = StopStrings(strings)
    pieces = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    passed = "".join(stop.step(piece) for piece in pieces)
    passed += stop.finish()
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(string) for string in strings)]
    expected = text
    if ends:
        expected = text[: ends[0] - max(len(string) for string in strings if text[: ends[0]].endswith(string))]
    assert (passed, stop.found) == (expected, bool(ends))


@given(st.lists(st.text("abc", min_size=1, max_size=3), max_size=12), st.lists(st.text("abc", min_size=1, max_size=4)))
def test_no_more_is_held_back_than_may_be_a_stop_string(pieces, strings):
    stop = StopStrings(strings)
    passed, text = "", ""
    for piece in pieces:
        text += piece
        passed += stop.step(piece)
        if stop.found:
            break
        held = text[len(passed) :]
        assert not held or any(string.startswith(held) and string != held for string in strings)


# --- ends and batches ---


def test_a_sequence_ends_with_the_context():
    model = model_of("plain", context_length=10)
    prompts = [[1] * 9, [1, 2, 3], [4]]
    found = generate(model, prompts, max_new_tokens=7, temperature=0)
    assert [len(completion.ids) for completion in found] == [1, 7, 7]
    assert [completion.finish_reason for completion in found] == ["context", "length", "length"]
    assert found == [generate(model, prompt, max_new_tokens=7, temperature=0) for prompt in prompts]
    assert generate(model, [1], max_new_tokens=1000).finish_reason == "context"
    with pytest.raises(
        ValueError, match="prompt 1 has 10 tokens; expected 1 to 9, as the model's context length is 10"
    ):
        generate(model, [[1], [1] * 10])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_drawn_does_not_depend_on_the_batch(dtype):
    model = model_of("grouped", dtype=dtype)
    options = {"max_new_tokens": 20, "seed": 3, "top_p": 0.95, "repetition_penalty": 1.1}
    prompts = [[5, 1, 60, 2], [9], [3, 3, 96]]
    together = generate(model, prompts, **options)
    assert together == generate(model, prompts, **options)
    assert together[:2] == generate(model, prompts[:2], **options)
    assert together[0] == generate(model, prompts[0], **options)
    others = generate(model, [prompts[0], [8, 8, 8, 8, 8, 8], [1]], **options)
    assert together[0] == others[0]
    assert together != generate(model, prompts, **{**options, "seed": 4})


def test_the_kernel_and_torch_draw_the_same():
    model = model_of("all")
    options = {"max_new_tokens": 40, "seed": 5, "temperature": 1.3, "top_k": 40, "min_p": 0.001}
    kernel, by_torch = (
        generate(model, [1, 2], step=step, **options) for step in (KernelStep(model), torch_step(model))
    )
    assert kernel == by_torch == generate(model, [1, 2], **options)


def test_a_step_for_several_sequences_by_the_kernel():
    model = model_of("plain")
    prompts = [[5, 1, 60, 2], [9], [3, 3, 96]]
    options = {"max_new_tokens": 20, "temperature": 0}
    assert generate(model, prompts, step=KernelStep(model), **options) == generate(model, prompts, **options)


@pytest.mark.parametrize(
    ("prompt", "options", "error", "message"),
    [
        ([], {}, ValueError, "prompt 0 has 0 tokens"),
        ("text", {}, ValueError, "a text as prompt needs a tokenizer"),
        ([[1], []], {}, ValueError, "prompt 1 has 0 tokens"),
        ([97], {}, IndexError, "prompt 0 has the id 97; the model knows 0 to 96"),
        ([1, -1], {}, IndexError, "prompt 0 has the id -1"),
        ([1, "a"], {}, TypeError, "'str' object cannot be interpreted as an integer"),
        ([[1], [1.0]], {}, TypeError, "'float' object cannot be interpreted as an integer"),
        ([1], {"max_new_tokens": 0}, ValueError, "max_new_tokens is 0; expected a positive integer"),
        ([1], {"max_new_tokens": 2.0}, ValueError, "max_new_tokens is 2.0"),
        ([1], {"stop_strings": ["a"]}, ValueError, "stop strings need a tokenizer"),
        ([1], {"top_p": 2.0}, ValueError, "top_p is 2.0"),
        ([1], {"seed": -1}, ValueError, "seed is -1"),
        ([1], {"nothing": 1}, TypeError, "nothing"),
    ],
)
def test_bad_arguments_are_refused_at_once(prompt, options, error, message):
    with pytest.raises(error, match=message):
        generate(model_of("plain"), prompt, **options)


def test_bad_stop_strings_are_refused(words):
    tokenizer, model = words
    with pytest.raises(ValueError, match="a stop string is empty"):
        stream(model, "a", tokenizer, stop_strings=[""])
    with pytest.raises(TypeError, match=r"stop string b'a' is of type bytes; expected str"):
        stream(model, "a", tokenizer, stop_strings=[b"a"])


def test_logits_of_nan_end_it_with_an_error():
    model = model_of("plain")
    with torch.no_grad():
        model.ln_final.weight[0] = float("nan")
    with pytest.raises(ValueError, match="nan or infinite"):
        generate(model, [1])


def test_ids_may_be_integers_of_numpy():
    model, ids = model_of("plain"), np.array([1, 2], np.uint16)
    assert generate(model, list(ids), temperature=0) == generate(model, [1, 2], temperature=0)


# --- the package and the command ---


def test_generate_is_a_name_of_the_package_that_loads_torch_when_used():
    program = (
        "import sys, fastlm\n"
        "assert not {'torch', 'numba'} & set(sys.modules)\n"
        "from fastlm import generate\n"
        "assert fastlm.generate is generate and 'torch' in sys.modules\n"
        "print('generate' in fastlm.__all__)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert run.stdout == "True\n"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fastlm.nothing  # noqa: B018


def test_the_command(words, tmp_path, capsys):
    tokenizer, model = words
    save_model(model, tmp_path, tokenizer)
    tokenizer.save(tmp_path)
    arguments = [str(tmp_path), "--prompt", "the ", "--max-new-tokens", "20", "--seed", "3", "--top-p", "0.9"]
    for extra, step in (([], None), (["--int8"], KernelStep(model, int8=True))):
        assert cli.main(["generate", *arguments, *extra]) == 0
        expected = generate(model, "the ", tokenizer, max_new_tokens=20, seed=3, top_p=0.9, step=step)
        assert capsys.readouterr().out == f"the {expected.text}\n"
    assert cli.main(["generate", *arguments, "--temperature", "-1"]) == 1
    assert "temperature is -1.0" in capsys.readouterr().err
    assert cli.main(["generate", str(tmp_path / "nothing")]) == 1
    assert "nothing" in capsys.readouterr().err

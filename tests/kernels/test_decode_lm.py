"""The Numba kernel against the torch step, whose logits it computes."""

import gc
import os
import platform
import shutil
import subprocess
import sys
import weakref
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from numba import njit  # noqa: E402

import fastlm  # noqa: E402
from fastlm.generation import (  # noqa: E402
    KernelStep,
    KVCache,
    generate,
    packing,
    prefill,
    quantization,
    stream,
    torch_step,
)
from fastlm.kernels import decode_lm as kernel  # noqa: E402
from tests.model.variants import VARIANTS, model_of  # noqa: E402

ROOT = Path(fastlm.__file__).resolve().parents[1]
PROMPTS = [[5, 1, 60, 2], [9], [3, 3, 96]]


def decoded(model, step, count=20):
    """Logits (count, B, V) of steps after PROMPTS, the same ids for every step."""
    ids = torch.randint(0, model.config.vocab_size, (count, 3), generator=torch.Generator().manual_seed(2))
    cache = KVCache.empty(model, 3, 40)
    prefill(model, PROMPTS, cache)
    return torch.stack([step(following, cache) for following in ids]), cache


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_cache_are_those_of_torch(variant):
    model = model_of(variant)
    (expected, expected_cache), (found, cache) = decoded(model, torch_step(model)), decoded(model, KernelStep(model))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(cache.keys, expected_cache.keys, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(cache.values, expected_cache.values, rtol=1e-5, atol=1e-5)
    assert torch.equal(cache.lengths, expected_cache.lengths)


KINDS = [{}, {"int8": True}, {"int4": True}, {"greatest": True}]


@pytest.mark.parametrize("options", KINDS)
def test_sequences_together_and_threads_change_no_bit(options):
    model = model_of("grouped and biased")
    expected, _ = decoded(model, KernelStep(model, **options), count=6)
    ids = torch.randint(0, model.config.vocab_size, (6, 3), generator=torch.Generator().manual_seed(2))
    for row, prompt in enumerate(PROMPTS):
        cache = KVCache.empty(model, 1, 40)
        prefill(model, [prompt], cache)
        alone, several = KernelStep(model, **options), KernelStep(model, num_threads=2, **options)
        together = several.verify(ids[:, row], cache)
        assert cache.lengths.tolist() == [len(prompt)]
        for place, token_id in enumerate(ids[:, row : row + 1]):
            logits = alone(token_id, cache)
            # what is greatest is found among the rows of one thread
            if "greatest" in options:
                assert logits[0].argmax() == expected[place, row].argmax() == together[place].argmax()
            else:
                assert torch.equal(logits[0], together[place])
            # prefill computes prompts together in another order of additions than alone
            torch.testing.assert_close(logits[0].max(), expected[place, row].max(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 0.7, "seed": 3}])
def test_looked_up_tokens_are_the_same(options, sampling):
    if "greatest" in options and sampling["temperature"]:
        return
    model = model_of("grouped and biased")
    prompt = [5, 6, 7, 5, 6, 8, 5, 6]
    step = KernelStep(model, **options)
    given = {"max_new_tokens": 40, "step": step, **sampling}
    expected = generate(model, prompt, **given)
    for lookup in (1, 4, 7):
        assert generate(model, prompt, lookup=lookup, **given) == expected
    assert len(prompt) + len(expected.ids) == model.config.context_length


def test_looked_up_tokens_save_steps(monkeypatch):
    model = model_of("plain")
    step = KernelStep(model)
    calls = []
    verify = step.verify
    monkeypatch.setattr(step, "verify", lambda ids, cache: calls.append(len(ids)) or verify(ids, cache))
    # a model that has begun to repeat itself
    completion = generate(model, [1], max_new_tokens=46, temperature=0, step=step, lookup=4)
    assert completion == generate(model, [1], max_new_tokens=46, temperature=0, step=step)
    assert sum(calls) >= 45
    assert len(calls) < 45


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lookup": 8}, "lookup is 8; expected an integer from 0 to 7"),
        ({"lookup": -1}, "lookup is -1"),
        ({"lookup": 2, "prompt": [[1], [2]]}, "lookup is given for 2 prompts; expected one"),
        ({"lookup": 2, "step": lambda ids, cache: None}, "lookup is given for a step that computes one token"),
    ],
)
def test_what_cannot_be_looked_up(options, message):
    prompt = options.pop("prompt", [1])
    with pytest.raises(ValueError, match=message):
        generate(model_of("plain"), prompt, **options)


@pytest.mark.parametrize(("width", "heads"), [(64, 4), (36, 6)])
def test_bfloat16_is_multiplied_in_float32(width, heads):
    """In place where rows are multiples of 64, and in a copy with padded rows elsewhere."""
    shape = {"d_model": width, "d_ff": width, "num_heads": heads}
    model, exact = model_of("grouped", dtype=torch.bfloat16, **shape), model_of("grouped", **shape)
    weights = {name: weight.float() for name, weight in model.state_dict().items()}
    exact.load_state_dict(weights, rope_layout="half")
    assert packing.in_place(model) == (width == 64)
    step, of_float32 = KernelStep(model), KernelStep(exact)
    cache, expected = KVCache.empty(model, 1, 16, torch.float32), KVCache.empty(exact, 1, 16)
    for token_id in torch.tensor([[3], [1], [4], [1], [5]]):
        assert torch.equal(step(token_id, cache), of_float32(token_id, expected))


def test_weights_are_read_where_they_are():
    model = model_of("plain", d_model=64, d_ff=128, num_heads=4)
    step, cache = KernelStep(model, copy=False), KVCache.empty(model, 1, 16)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    assert not step(torch.tensor([3]), cache).any()
    assert not any(array.nbytes for name, array in step._matrices._asdict().items())
    with pytest.raises(ValueError, match="copy is False, but weights are quantized, or their rows are no multiples"):
        KernelStep(model_of("plain"), copy=False)


def test_threads_end_when_one_fails():
    model = model_of("plain")
    step = KernelStep(model, num_threads=2)
    real, cache = step._step, KVCache.empty(model, 1, 8)

    def fails(*arguments):
        if arguments[7] == 0:
            raise KeyboardInterrupt
        real(*arguments)

    step._step = fails
    with pytest.raises(KeyboardInterrupt):
        step(torch.tensor([3]), cache)
    step._step = real
    assert torch.equal(step(torch.tensor([3]), cache), KernelStep(model)(torch.tensor([3]), KVCache.empty(model, 1, 8)))
    with pytest.raises(ValueError, match="num_threads is 0; expected an integer of at least 1"):
        KernelStep(model, num_threads=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_greedy_tokens_are_those_of_torch(variant):
    model = model_of(variant)
    by_kernel, by_torch = (
        generate(model, [7, 30, 2], max_new_tokens=45, temperature=0, step=step(model))
        for step in (KernelStep, torch_step)
    )
    assert by_kernel == by_torch
    assert by_kernel == generate(model, [7, 30, 2], max_new_tokens=45, temperature=0)


def rounded(matrix):
    """A matrix as 8 bits hold it: each group of 64 in a row at 127 steps of its greatest number, by plain numpy."""
    result = matrix.copy()
    for row in result:
        for start in range(0, len(row), 64):
            group = row[start : start + 64]
            scale = np.abs(group).max() / 127
            if scale > 0:
                group[:] = np.round(group / scale) * scale
    return result


@pytest.mark.parametrize("variant", ["plain", "all", "tied", "grouped"])
def test_int8_is_the_model_with_rounded_weights(variant):
    model = model_of(variant, d_model=132, d_ff=200)
    step = KernelStep(model, int8=True)
    embedding = model.token_embeddings.weight.detach().clone()
    with torch.no_grad():
        if model.config.tie_embeddings:  # what the output layer has is rounded, what the embedding has is not
            model.lm_head.weight = torch.nn.Parameter(embedding.clone())
            model.token_embeddings.weight = torch.nn.Parameter(embedding)
        for matrix in packing._matrices(model):
            matrix.copy_(torch.from_numpy(rounded(matrix.numpy())))
    # what came before is the rounded model's too, so the difference is that of 16-bit vectors alone
    (expected, _), (found, _) = decoded(model, torch_step(model)), decoded(model, step)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_weights_of_zero_are_no_trouble_in_8_bits():
    model = model_of("plain")
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    logits, _ = decoded(model, KernelStep(model, int8=True), count=2)
    assert not logits.any()


@given(st.data())
def test_product_of_int8_is_the_sum_of_products(data):
    rows, groups = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    width = 64 * groups
    matrix = random.integers(-127, 128, (rows, width)).astype(np.int8)
    scales = random.random((rows, groups)).astype(np.float32)
    x = (random.standard_normal(width) * 10.0 ** random.integers(-20, 20)).astype(np.float32)
    if data.draw(st.booleans()):
        matrix[:], x[:] = random.choice([-127, 127], (rows, width)), 1  # the greatest sums that there are
    matrices = empty()._replace(quantized=matrix.ravel(), scales=scales.ravel())
    result = multiplied(kernel.INT8, matrices, 0, rows, x[None])[0]
    exact = (matrix.reshape(rows, groups, 64) * scales[..., None].astype(np.float64)).reshape(rows, width)
    bound = np.abs(exact) @ np.abs(x.reshape(groups, 64)).max(1).repeat(64) / 32767
    assert (np.abs(result - exact @ x.astype(np.float64)) <= bound + 1e-30).all()


@given(st.data())
def test_product_of_int4_is_the_sum_of_products(data):
    rows, groups = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    width = 64 * groups
    numbers = random.integers(-8, 8, (rows, groups, 2, 32))
    scales = random.random((rows, groups, 2)).astype(np.float32)
    nibbles = ((numbers[:, :, 0] + 8) | (numbers[:, :, 1] + 8) << 4).astype(np.uint8)
    x = random.standard_normal(width).astype(np.float32)
    result = multiplied(kernel.INT4, empty()._replace(nibbles=nibbles.ravel(), scales=scales.ravel()), 0, rows, x[None])
    exact = (numbers * scales[..., None].astype(np.float64)).reshape(rows, width)
    bound = np.abs(exact) @ np.abs(x.reshape(groups, 64)).max(1).repeat(64) / 32767
    assert (np.abs(result[0] - exact @ x.astype(np.float64)) <= bound + 1e-30).all()


@given(rows=st.integers(1, 9), width=st.integers(1, 200), seed=st.integers(0, 2**32))
def test_int4_is_as_near_as_its_steps_allow(rows, width, seed):
    matrix = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    stride = -(-width // 64) * 64
    nibbles, scales = np.empty(rows * stride // 2, np.uint8), np.empty(rows * stride // 32, np.float32)
    quantization.quantize(torch.from_numpy(matrix), stride, kernel.INT4, nibbles, scales)
    low, high = (nibbles & 15).astype(int) - 8, (nibbles >> 4).astype(int) - 8
    numbers = np.stack([low.reshape(-1, 32), high.reshape(-1, 32)], 1).reshape(-1, 32)
    found = (numbers * scales[:, None]).reshape(rows, stride)
    greatest = np.abs(np.pad(matrix, ((0, 0), (0, stride - width)))).reshape(-1, 32).max(1)
    error = np.abs(found[:, :width] - matrix)
    assert (error <= np.repeat(greatest / 6, 32).reshape(rows, stride)[:, :width] + 1e-6).all()
    assert not found[:, width:].any()
    plain = np.round(matrix / (np.repeat(greatest / 7, 32).reshape(rows, stride)[:, :width] + 1e-30))
    plain = plain * np.repeat(greatest / 7, 32).reshape(rows, stride)[:, :width]
    assert np.square(error).sum() <= np.square(plain - matrix).sum() * (1 + 1e-5) + 1e-9


@given(rows=st.integers(1, 9), groups=st.integers(1, 4), before=st.integers(0, 3), seed=st.integers(0, 2**32))
def test_product_is_the_sum_of_products(rows, groups, before, seed):
    random = np.random.default_rng(seed)
    width = 64 * groups
    weights = random.standard_normal((before + rows) * width).astype(np.float32)
    x = random.standard_normal(width).astype(np.float32)
    matrix = weights.reshape(-1, width)[before:].astype(np.float64)
    bits = (weights.view(np.uint32) >> 16).astype(np.uint16)
    for kind, matrices, exact in (
        (kernel.FULL, empty()._replace(full=weights), matrix),
        (
            kernel.HALF_PRECISION,
            empty()._replace(half=bits),
            (bits.astype(np.uint32) << 16).view(np.float32).reshape(-1, width)[before:].astype(np.float64),
        ),
    ):
        result = multiplied(kind, matrices, before * width, rows, x[None])[0]
        assert (np.abs(result - exact @ x) <= 1e-6 * (np.abs(exact) @ np.abs(x))).all()


@pytest.mark.parametrize("kind", [kernel.FULL, kernel.HALF_PRECISION, kernel.INT8, kernel.INT4])
@given(rows=st.integers(1, 9), count=st.integers(1, 8), groups=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_a_product_has_the_same_bits_in_every_company(kind, rows, count, groups, seed):
    random = np.random.default_rng(seed)
    width = 64 * groups
    matrices = empty()._replace(
        full=random.standard_normal(rows * width).astype(np.float32),
        half=(random.standard_normal(rows * width).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16),
        quantized=random.integers(-127, 128, rows * width).astype(np.int8),
        nibbles=random.integers(0, 256, rows * width // 2).astype(np.uint8),
        scales=random.random(rows * width // 32).astype(np.float32),
    )
    x = random.standard_normal((count, width)).astype(np.float32)
    together = multiplied(kind, matrices, 0, rows, x)
    for n in range(count):
        np.testing.assert_array_equal(together[n], multiplied(kind, matrices, 0, rows, x[n : n + 1])[0])
    # a thread multiplies some of the rows
    middle = rows // 2
    parts = np.full((count, rows), 7, np.float32)
    for part in ((0, middle), (middle, rows)):
        multiplied(kind, matrices, 0, rows, x, part, parts)
    np.testing.assert_array_equal(parts, together)


def empty() -> kernel.Matrices:
    return packing.empty_matrices(kernel.FULL, 0, 0, 0)


def multiplied(kind, matrices, start, rows, x, part=None, result=None):
    """Rows of a matrix times vectors, (N, rows)."""
    width = x.shape[1]
    rounded = kernel.Rounded(np.empty(x.shape, np.int16), np.empty((len(x), width // 64), np.float32))
    result = np.full((len(x), rows), 7, np.float32) if result is None else result
    kernel.prepare_input(kind, x, width, rounded)
    kernel.product(kind, matrices, start, part or (0, rows), width, x, rounded, result, 0)
    return result


def products_of_both_kinds(matrix, x):
    """A matrix of float32 times x, all of it exact, and with nothing exact for sure but the greatest number."""
    rows, width = matrix.shape
    groups = width // 64
    in_8_bits, scales = np.empty(rows * width, np.int8), np.empty(rows * groups, np.float32)
    quantization.to_int8(torch.from_numpy(matrix), width, in_8_bits, scales)
    widest = scales.reshape(rows, groups).max(1)
    matrices = empty()._replace(full=matrix.ravel(), quantized=in_8_bits, scales=scales, widest_scales=widest)
    rounded = kernel.Rounded(np.empty((1, width), np.int16), np.empty((1, groups), np.float32))
    found = np.empty((1, rows), np.float32)
    kernel.product_for_greatest(matrices, 0, (0, rows), width, x[None], rounded, found)
    return multiplied(kernel.FULL, matrices, 0, rows, x[None])[0], found[0]


@given(st.data())
def test_the_greatest_logit_is_found_among_few(data):
    rows, groups = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 4))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    width = 64 * groups
    size = 10.0 ** data.draw(st.integers(-40, 18))
    matrix = (random.standard_normal((rows, width)) * size).astype(np.float32)
    matrix *= random.choice([1, 1, 1, 50], (rows, width)).astype(np.float32)
    if data.draw(st.booleans()):  # rows that are close, and equal ones
        matrix[:] = matrix[0] * (1 + 1e-6 * random.integers(-3, 3, (rows, 1))).astype(np.float32)
    x = (random.standard_normal(width) * 10.0 ** data.draw(st.integers(-38, 18))).astype(np.float32)
    for value in data.draw(st.lists(st.sampled_from([np.nan, np.inf, 0.0]), max_size=1)):
        into = matrix.reshape(-1) if data.draw(st.booleans()) else x
        into[random.integers(len(into))] = value
    exact, found = products_of_both_kinds(matrix, x)
    best = exact.argmax()  # of nan the first
    assert found.argmax() == best
    np.testing.assert_array_equal(found[best], exact[best])
    if np.isfinite(exact).all():
        assert (found[(found != exact)] < exact[best]).all()


def test_few_rows_are_multiplied_to_find_the_greatest():
    random = np.random.default_rng(3)
    rows, width = 10_000, 512
    matrix = random.standard_normal((rows, width)).astype(np.float32)
    x = random.standard_normal(width).astype(np.float32)
    exact, found = products_of_both_kinds(matrix, x)
    assert 1 <= (found == exact).sum() <= rows // 100


@njit
def exponentials(x):
    return np.array([kernel.exp(number) for number in x], np.float32)


def test_exp_is_near_the_last_place():
    x = np.linspace(-87.33, 88.37, 1_000_003).astype(np.float32)
    expected = np.exp(x.astype(np.float64))
    assert (np.abs(exponentials(x) - expected) <= 1.1 * np.spacing(expected.astype(np.float32))).all()


def test_exp_of_what_is_out_of_range():
    x = np.array([0, -87.4, -1e30, -np.inf, 88.4, 1e30, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(exponentials(x), np.array([1, 0, 0, 0, np.inf, np.inf, np.inf, np.nan], np.float32))


def test_the_same_bits_every_time():
    model = model_of("plain")
    first, second = (decoded(model, KernelStep(model))[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_step_holds_its_own_copy_of_the_matrices():
    model = model_of("plain")
    step = KernelStep(model)
    before, _ = decoded(model, step, count=1)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    after, _ = decoded(model, step, count=1)
    assert torch.equal(before, after)
    step.pack(model)
    assert not decoded(model, step, count=1)[0].any()


def test_the_kernel_is_used_for_few_sequences_of_float32_or_bfloat16(monkeypatch):
    taken = []
    monkeypatch.setattr(
        kernel, "compiled", lambda: lambda *arguments: (taken.append(arguments[5].tolist()), arguments[8].fill(0))
    )
    packing._idle_steps.clear()
    model, wide = model_of("plain"), model_of("plain", dtype=torch.float64)
    with pytest.raises(ValueError, match="prompt"):
        generate(model, [])
    for several in (model, [[1]] * 9), (wide, [1]):
        generate(*several, max_new_tokens=3)
    assert not taken
    generate(model, [5, 6], max_new_tokens=3)
    assert taken == [[2], [3]]
    taken.clear()
    generate(model_of("plain", dtype=torch.bfloat16), [[5, 6], [7]], max_new_tokens=2)
    assert taken == [[2, 1]]
    packing._idle_steps.clear()  # its step computes nothing
    with pytest.raises(ValueError, match=r"torch.bfloat16 on cpu and of one shape; got torch.float64 on cpu"):
        KernelStep(wide)


def test_generate_sees_what_training_changed():
    model, other = model_of("plain"), model_of("plain")
    options = {"max_new_tokens": 20, "temperature": 0}
    before = generate(model, [1], **options)
    with torch.no_grad():
        for weight, changed in zip(model.parameters(), other.parameters(), strict=True):
            changed.mul_(1.5).add_(0.01)
            weight.data = changed.clone()  # which torch does not count as a change
    after = generate(model, [1], **options)
    assert before != after == generate(model, [1], step=torch_step(model), **options)


def test_two_at_a_time_of_one_model():
    tokenizer = fastlm.Tokenizer({i: bytes([i]) for i in range(256)}, [])
    model = model_of("plain", vocab_size=256)
    options = {"max_new_tokens": 20, "temperature": 0}
    pieces = list(zip_longest(*(stream(model, [first], tokenizer, **options) for first in (1, 2)), fillvalue=""))
    for first, of_one in zip((1, 2), zip(*pieces, strict=True), strict=True):
        assert "".join(of_one) == generate(model, [first], tokenizer, **options).text


def test_memory_goes_with_the_model():
    model = model_of("plain")
    generate(model, [1], max_new_tokens=2)
    assert model in packing._idle_steps
    kept = weakref.ref(packing._idle_steps[model])
    del model
    gc.collect()
    assert kept() is None


def test_what_is_asked_of_the_logits_decides_what_of_them_is_exact(monkeypatch):
    made = []
    monkeypatch.setattr(packing, "KernelStep", lambda model, greatest: made.append(greatest) or KernelStep(model))
    packing._idle_steps.clear()
    for options in ({"temperature": 0}, {"temperature": 0, "repetition_penalty": 1.2}, {"temperature": 1}):
        generate(model_of("plain"), [1], max_new_tokens=2, **options)
    assert made == [True, False, False]
    with pytest.raises(ValueError, match="int8 and greatest are given; expected one of them"):
        KernelStep(model_of("plain"), int8=True, greatest=True)


@pytest.mark.parametrize("options", [{}, {"temperature": 0, "repetition_penalty": 1.2}])
def test_a_step_that_knows_only_the_greatest_logit_is_for_greedy_decoding(options):
    model = model_of("plain")
    step = KernelStep(model, greatest=True)
    assert generate(model, [1], max_new_tokens=2, temperature=0, step=step).ids
    with pytest.raises(
        ValueError, match=r"step knows no logits but the greatest, with temperature .*; expected 0 and 1"
    ):
        generate(model, [1], max_new_tokens=2, step=step, **options)


def test_greedy_and_sampled_calls_of_one_model_in_turn():
    model = model_of("plain")
    sampled = generate(model, [1], max_new_tokens=9, seed=4, step=KernelStep(model))
    greedy = generate(model, [1], max_new_tokens=9, temperature=0, step=KernelStep(model))
    for _ in range(2):
        assert generate(model, [1], max_new_tokens=9, seed=4) == sampled
        assert generate(model, [1], max_new_tokens=9, temperature=0) == greedy


@pytest.mark.parametrize("options", [{}, {"int8": True}, {"greatest": True}])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_seen(options, value):
    model = model_of("plain")
    with torch.no_grad():
        model.lm_head.weight[3, 5] = value
    logits = KernelStep(model, **options)(torch.tensor([1]), KVCache.empty(model, 1, 8))
    assert torch.equal(~logits[0].isfinite(), torch.arange(97) == 3)


def test_a_step_takes_weights_of_its_own_shape_only():
    with pytest.raises(ValueError, match="of one shape"):
        KernelStep(model_of("plain")).pack(model_of("grouped"))


def test_weights_that_the_configuration_does_not_know_are_refused():
    model = model_of("plain")
    model.lm_head.weight = torch.nn.Parameter(torch.zeros(96, 36))
    with pytest.raises(ValueError, match=r"lm_head.weight has the shape \(96, 36\); the configuration says \(97, 36\)"):
        KernelStep(model)


def test_a_wrapped_model_is_decoded_as_the_bare_one():
    model = model_of("tied")
    wrapped = torch.compile(model, backend="eager")
    options = {"max_new_tokens": 20, "temperature": 0}
    assert generate(wrapped, [1, 2], **options) == generate(model, [1, 2], **options)


def test_an_abandoned_stream_gives_its_memory_back():
    tokenizer = fastlm.Tokenizer({i: bytes([i]) for i in range(256)}, [])
    model = model_of("plain", vocab_size=256)
    pieces = stream(model, [65], tokenizer, max_new_tokens=40)
    next(pieces)
    assert model not in packing._idle_steps
    pieces.close()
    assert model in packing._idle_steps


def test_what_does_not_fit_is_refused():
    model = model_of("plain")
    step = KernelStep(model)
    cache = KVCache.empty(model, 1, 8)
    with pytest.raises(IndexError, match="token id 97 is out of range; expected 0 to 96"):
        step(torch.tensor([97]), cache)
    with pytest.raises(IndexError, match="token id -1"):
        step(torch.tensor([-1]), cache)
    for wrong in (
        KVCache.empty(model_of("grouped"), 1, 8),
        KVCache.empty(model_of("plain", dtype=torch.float64), 1, 8),
        KVCache.empty(model, 2, 8),
        KVCache.empty(model, 1, 49),
    ):
        with pytest.raises(ValueError, match=r"expected \(\d,\) ids and \(2, \d, 6, \d+, 6\), torch.float32"):
            step(torch.tensor([3]), wrong)
    assert cache.lengths.tolist() == [0]


def test_a_full_cache_loses_its_last_token_as_with_torch():
    model = model_of("plain")
    results = []
    for step in (torch_step(model), KernelStep(model)):
        cache = KVCache.empty(model, 1, 4)
        prefill(model, [[1, 2, 3, 4]], cache)
        results.append(torch.stack([step(torch.tensor([5]), cache), step(torch.tensor([6]), cache)]))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


PROGRAM = """
import torch
from fastlm.generation import KernelStep, generate
from tests.model.variants import model_of
model = model_of("grouped")
for int8 in (False, True):
    print(generate(model, [7, 30, 2], max_new_tokens=20, temperature=0, step=KernelStep(model, int8=int8)).ids)
"""


@pytest.mark.nightly  # compiles the kernel again
def test_another_processor_and_a_damaged_cache(tmp_path):
    """Without AVX2 products of 8 bits are written otherwise; what cannot be loaded from the cache is compiled anew."""
    expected = [
        generate(model_of("grouped"), [7, 30, 2], max_new_tokens=20, temperature=0, step=step).ids
        for step in (KernelStep(model_of("grouped"), int8=int8) for int8 in (False, True))
    ]
    shutil.copytree(os.environ["NUMBA_CACHE_DIR"], tmp_path / "cache")
    damaged = list((tmp_path / "cache").rglob("decode_lm.decode_tokens*.nb[ic]"))
    assert damaged, "nothing was cached, so there is nothing to damage"
    for path in damaged:
        path.write_bytes(path.read_bytes()[:50])
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    if platform.machine() == "x86_64":
        environment |= {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}
    command = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "".join(f"{ids}\n" for ids in expected)


def test_without_a_place_for_the_cache_it_is_compiled_in_the_process(monkeypatch):
    def njit(signature, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(kernel, "njit", njit)
    with pytest.warns(RuntimeWarning, match="compiled in this process, because Numba's cache failed: cannot cache"):
        assert kernel.compiled.__wrapped__() is kernel.decode_tokens


def test_torchs_default_dtype_changes_nothing():
    model = model_of("plain")
    expected = generate(model, [1], max_new_tokens=5)
    torch.set_default_dtype(torch.float64)
    try:
        for step in (None, torch_step(model), KernelStep(model)):
            assert generate(model, [1], max_new_tokens=5, step=step) == expected
        assert generate(model_of("plain", dtype=torch.bfloat16), [1], max_new_tokens=5).ids
        greedy = generate(model, [1], max_new_tokens=5, temperature=0)
    finally:
        torch.set_default_dtype(torch.float32)
    assert greedy == generate(model, [1], max_new_tokens=5, temperature=0)

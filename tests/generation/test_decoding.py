"""Prefill and step: the same logits as the whole forward pass, in one graph, whatever the neighbours."""

import pytest

torch = pytest.importorskip("torch")

from fastlm.generation import KVCache, decode_step, prefill, torch_step  # noqa: E402
from tests.model.variants import VARIANTS, model_of  # noqa: E402

PROMPT_LENGTHS = (5, 1, 9)


def ids_for(model, length=20):
    return torch.randint(0, model.config.vocab_size, (3, length), generator=torch.Generator().manual_seed(1))


def prompts_in(ids):
    return [ids[row, :length].tolist() for row, length in enumerate(PROMPT_LENGTHS)]


def after_prompts(ids, count):
    """What follows the prompts in `ids`, (count, B)."""
    return torch.stack([ids[row, n : n + count] for row, n in enumerate(PROMPT_LENGTHS)], 1)


# with dynamic scaling a token keeps the rotation of the length at which it was decoded
@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant != "dynamic"])
def test_logits_are_those_of_the_whole_sequence(variant):
    model = model_of(variant, dtype=torch.float64)
    ids = ids_for(model)
    expected = model(ids)
    cache = KVCache.empty(model, 3, 20)
    logits = prefill(model, prompts_in(ids), cache)
    step = torch_step(model)
    for done, following in enumerate(after_prompts(ids, 11)):
        for row, length in enumerate(PROMPT_LENGTHS):
            torch.testing.assert_close(logits[row], expected[row, length + done - 1], rtol=0, atol=1e-10)
        logits = step(following, cache)
    assert cache.lengths.tolist() == [length + 11 for length in PROMPT_LENGTHS]


@pytest.mark.parametrize("variant", ["plain", "grouped"])
def test_a_sequence_does_not_depend_on_its_neighbours(variant):
    model = model_of(variant, dtype=torch.float64)
    ids = ids_for(model)
    together = KVCache.empty(model, 3, 20)
    logits = [prefill(model, prompts_in(ids), together)]
    logits += [decode_step(model, following, together) for following in after_prompts(ids, 5)]
    for row, prompt in enumerate(prompts_in(ids)):
        alone = KVCache.empty(model, 1, 15)
        single = [prefill(model, [prompt], alone)]
        single += [decode_step(model, following[row : row + 1], alone) for following in after_prompts(ids, 5)]
        torch.testing.assert_close(torch.stack(single)[:, 0], torch.stack(logits)[:, row], rtol=0, atol=1e-12)


def test_the_cache_has_the_heads_of_keys_and_values_only():
    model = model_of("grouped")
    assert KVCache.empty(model, 3, 20).keys.shape == (2, 3, 2, 20, 6)


def test_bfloat16():
    model = model_of("grouped", dtype=torch.bfloat16)
    ids = ids_for(model)
    cache = KVCache.empty(model, 3, 20)
    prefill(model, prompts_in(ids), cache)
    following = after_prompts(ids, 1)[0]
    expected = torch.stack([model(ids[row : row + 1])[0, n] for row, n in enumerate(PROMPT_LENGTHS)])
    torch.testing.assert_close(decode_step(model, following, cache), expected, rtol=0.1, atol=0.1)
    assert cache.keys.dtype == torch.bfloat16


def test_a_full_cache_loses_its_last_token_and_nothing_else():
    model = model_of("plain")
    cache = KVCache.empty(model, 2, 6)
    prefill(model, [[1, 2, 3, 4, 5, 6], [7]], cache)
    keys = cache.keys.clone()
    decode_step(model, torch.tensor([9, 8]), cache)
    assert torch.equal(cache.keys[:, 0, :, :5], keys[:, 0, :, :5])
    assert torch.equal(cache.keys[:, 1, :, :1], keys[:, 1, :, :1])
    assert not torch.equal(cache.keys[:, 0, :, 5], keys[:, 0, :, 5])


@pytest.mark.parametrize(
    "variant",
    [
        "grouped",
        "post",
        pytest.param("plain", marks=pytest.mark.nightly),
        pytest.param("interleaved", marks=pytest.mark.nightly),
    ],
)
def test_a_step_is_one_graph_for_all_lengths(variant):
    from torch._dynamo.testing import CompileCounterWithBackend

    model = model_of(variant)
    ids = ids_for(model)
    counter = CompileCounterWithBackend("aot_eager")
    torch._dynamo.reset()
    step = torch.compile(decode_step, fullgraph=True, dynamic=False, backend=counter)
    eager, compiled = KVCache.empty(model, 3, 20), KVCache.empty(model, 3, 20)
    for cache in (eager, compiled):
        prefill(model, prompts_in(ids), cache)
    places = [tensor.data_ptr() for tensor in (compiled.keys, compiled.values, compiled.lengths)]
    for following in after_prompts(ids, 8):
        torch.testing.assert_close(step(model, following, compiled), decode_step(model, following, eager))
    assert counter.frame_count == 1
    assert places == [tensor.data_ptr() for tensor in (compiled.keys, compiled.values, compiled.lengths)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_is_captured_as_a_cuda_graph():
    model = model_of("grouped").cuda()
    ids = ids_for(model)
    eager, captured = KVCache.empty(model, 3, 20), KVCache.empty(model, 3, 20)
    for cache in (eager, captured):
        prefill(model, prompts_in(ids), cache)
    given = after_prompts(ids, 8).cuda()
    token_ids = given[0].clone()
    decode_step(model, token_ids, KVCache.empty(model, 3, 20))  # warms up
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = decode_step(model, token_ids, captured)
    for following in given:
        token_ids.copy_(following)
        graph.replay()
        torch.testing.assert_close(logits, decode_step(model, following, eager))


def test_a_compiled_step_gives_the_eager_logits(monkeypatch):
    torch_compile = torch.compile
    asked = {}

    def without_a_compiler(function, *, mode, **options):
        asked.update(options)
        return torch_compile(function, backend="aot_eager", **options)

    monkeypatch.setattr(torch, "compile", without_a_compiler)
    model = model_of("plain")
    caches = [KVCache.empty(model, 1, 8) for _ in range(2)]
    steps = [torch_step(model), torch_step(model, compile=True)]
    for cache in caches:
        prefill(model, [[1, 2]], cache)
    logits = [step(torch.tensor([3]), cache) for step, cache in zip(steps, caches, strict=True)]
    torch.testing.assert_close(*logits)
    assert asked == {"fullgraph": True, "dynamic": False}


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([[1, 2], []], "prompt 1 has 0 tokens; expected 1 to 8"),
        ([[1] * 9, [1]], "prompt 0 has 9 tokens; expected 1 to 8"),
        ([[1]], "1 prompts for a cache of 2 sequences"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(prompts, message):
    model = model_of("plain")
    cache = KVCache.empty(model, 2, 8)
    with pytest.raises(ValueError, match=message):
        prefill(model, prompts, cache)
    assert not cache.keys.any()


def test_an_unknown_id_is_refused():
    model = model_of("plain")
    with pytest.raises(IndexError, match="97"):
        prefill(model, [[97]], KVCache.empty(model, 1, 8))


def test_steps_ask_for_no_gradient():
    model = model_of("plain")
    cache = KVCache.empty(model, 1, 8)
    assert not prefill(model, [[1]], cache).requires_grad
    assert not decode_step(model, torch.tensor([3]), cache).requires_grad

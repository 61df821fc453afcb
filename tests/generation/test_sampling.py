"""Temperature, penalty and filters against transformers and a plain reference; draws against their distribution."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from fastlm.generation import Sampler, Sampling  # noqa: E402
from fastlm.generation.sampling import keep_min_p, keep_top_k, keep_top_p, penalize_repetition  # noqa: E402

INF = math.inf


def softmax(row):
    exponentials = [math.exp(x - max(row)) for x in row]
    return [x / sum(exponentials) for x in exponentials]


def kept(logits):
    return [[at for at, x in enumerate(row) if x > -INF] for row in logits.tolist()]


# few different values, so that there are ties, and -inf, of which one row may have all but one
rows = st.lists(st.sampled_from([-INF, -50.0, -1.0, -0.5, 0.0, 0.25, 1.0, 3.0]), min_size=1, max_size=12).filter(
    lambda row: max(row) > -INF
)


@given(rows, st.integers(1, 15))
def test_top_k_keeps_the_k_greatest_and_their_equals(row, k):
    least = sorted(row, reverse=True)[min(k, len(row)) - 1]
    assert kept(keep_top_k(torch.tensor([row]), k)) == [[at for at, x in enumerate(row) if x >= least and x > -INF]]


@given(rows, st.sampled_from([1e-9, 0.1, 0.3, 0.5, 0.75, 0.9, 0.999]))
def test_top_p_keeps_the_fewest_that_reach_p(row, p):
    probabilities = softmax(row)
    expected, total = [], 0.0
    for at in sorted(range(len(row)), key=lambda at: (-row[at], at)):
        if total < p - 1e-12:
            expected.append(at)
        total += probabilities[at]
    assert kept(keep_top_p(torch.tensor([row]), p)) == [sorted(expected)]


@given(rows)
def test_a_filter_of_one_keeps_all(row):
    logits = torch.tensor([row])
    assert torch.equal(keep_top_p(logits, 1.0), logits)
    assert torch.equal(keep_top_k(logits, len(row)), logits)


@given(rows, st.sampled_from([1e-9, 0.1, 0.3, 0.75, 1.0]))
def test_min_p_keeps_what_has_the_share(row, p):
    probabilities = softmax(row)
    expected = [at for at, x in enumerate(probabilities) if x >= p * max(probabilities) * (1 - 1e-6) and x > 0]
    assert kept(keep_min_p(torch.tensor([row]), p)) == [expected]


@given(st.lists(rows, min_size=1, max_size=3))
def test_rows_do_not_depend_on_each_other(several):
    width = max(map(len, several))
    logits = torch.tensor([[*row, *[-INF] * (width - len(row))] for row in several])
    sampling = Sampling(temperature=0.7, top_k=4, top_p=0.8, min_p=0.05)
    together = sampling.filtered(logits)
    for row, expected in zip(logits, together, strict=True):
        assert torch.equal(sampling.filtered(row.unsqueeze(0))[0], expected)


def test_top_p_of_many_almost_equal_tokens():
    """More than are sorted at first are needed."""
    logits = torch.zeros(2, 5000)
    logits[1, 7] = 20.0
    assert kept(keep_top_p(logits, 0.5)) == [list(range(2500)), [7]]


@pytest.mark.parametrize("seed", range(5))
def test_filters_are_those_of_transformers(seed):
    transformers = pytest.importorskip("transformers")
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 300, generator=random, dtype=torch.float64) * 3
    ids = torch.randint(0, 300, (4, 20), generator=random)
    p = 0.05 + 0.9 * float(torch.rand((), generator=random))
    for processor, ours in (
        (transformers.TopKLogitsWarper(7), keep_top_k(logits, 7)),
        (transformers.TopKLogitsWarper(1000), keep_top_k(logits, 1000)),
        (transformers.TopPLogitsWarper(p), keep_top_p(logits, p)),
        (transformers.MinPLogitsWarper(p), keep_min_p(logits, p)),
    ):
        assert torch.equal(processor(ids, logits), ours)
    seen = torch.zeros(4, 300, dtype=torch.bool).scatter(1, ids, True)
    for penalty in (0.5, 1.3):
        processor = transformers.RepetitionPenaltyLogitsProcessor(penalty)
        assert torch.equal(processor(ids, logits.clone()), penalize_repetition(logits, seen, penalty))
    together = transformers.LogitsProcessorList(
        [
            transformers.TemperatureLogitsWarper(0.7),
            transformers.TopKLogitsWarper(50),
            transformers.TopPLogitsWarper(p),
            transformers.MinPLogitsWarper(0.02),
        ]
    )
    ours = Sampling(temperature=0.7, top_k=50, top_p=p, min_p=0.02).filtered(logits)
    torch.testing.assert_close(ours.softmax(-1), together(ids, logits).softmax(-1), rtol=1e-12, atol=0)


def drawn(sampling, logits, count, seed=0):
    """`count` ids of each row of logits, (B, count)."""
    sampler = Sampler(sampling, [[0]] * len(logits), logits.shape[1], seed)
    return torch.stack([sampler(logits) for _ in range(count)], 1)


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(temperature=0.5), Sampling(temperature=2.0, top_p=0.8), Sampling(top_k=3, min_p=0.01)],
)
def test_draws_have_the_distribution(sampling):
    logits = torch.tensor([[1.0, 0.0, -INF, 2.0, 0.5, 0.0, -1.0], [0.0] * 6 + [-3.0]])
    count = 4000
    ids = drawn(sampling, logits, count)
    for row, probabilities in zip(ids, sampling.filtered(logits).softmax(-1).double(), strict=True):
        observed = torch.bincount(row, minlength=7).double()
        assert not observed[probabilities == 0].any()
        expected = (probabilities * count)[probabilities > 0]
        statistic = float(((observed[probabilities > 0] - expected) ** 2 / expected).sum())
        # the seed is fixed; by chance one in some 10,000 seeds exceeds this
        freedom = len(expected) - 1
        assert statistic < freedom + 4 * math.sqrt(2 * freedom) + 8


def test_a_seed_gives_its_ids_and_another_others():
    logits = torch.zeros(3, 50)
    first = drawn(Sampling(), logits, 20, seed=7)
    assert torch.equal(first, drawn(Sampling(), logits, 20, seed=7))
    assert not torch.equal(first, drawn(Sampling(), logits, 20, seed=8))
    assert len({tuple(row) for row in first.tolist()}) == 3
    assert torch.equal(first[:2], drawn(Sampling(), logits[:2], 20, seed=7))


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    drawn(Sampling(), torch.zeros(2, 5), 3)
    assert torch.equal(state, torch.get_rng_state())


def test_a_temperature_of_zero_takes_the_first_of_the_greatest():
    assert drawn(Sampling(temperature=0), torch.tensor([[0.0, 3.0, 3.0], [5.0, -INF, 5.0]]), 2).tolist() == [
        [1, 1],
        [0, 0],
    ]


@pytest.mark.parametrize("temperature", [1e-300, 1e-30, 1e30])
def test_extreme_temperatures(temperature):
    ids = drawn(Sampling(temperature=temperature), torch.tensor([[0.0, 1e-3, -INF, 2.0]]), 200)[0].tolist()
    assert set(ids) == ({3} if temperature < 1 else {0, 1, 3})


def test_repetition_counts_prompt_and_drawn_tokens():
    sampler = Sampler(Sampling(temperature=0, repetition_penalty=2.0), [[1], [2, 2]], 3, 0)
    logits = torch.tensor([[1.0, 1.9, 0.9], [-2.0, -1.5, -1.0]])
    # 1.9 / 2; then 0.95 against 0.5; of -1 * 2, -1.5 * 2, -2 what is least negative
    assert [sampler(logits).tolist() for _ in range(3)] == [[0, 1], [1, 0], [1, 2]]


@pytest.mark.parametrize("bad", [math.nan, INF])
def test_logits_that_are_not_finite_are_refused(bad):
    for sampling in (Sampling(), Sampling(temperature=0)):
        with pytest.raises(ValueError, match="nan or infinite"):
            drawn(sampling, torch.tensor([[0.0, 1.0], [0.0, bad]]), 1)
    with pytest.raises(ValueError, match="nan or infinite"):
        drawn(Sampling(), torch.tensor([[-INF, -INF]]), 1)


@pytest.mark.parametrize(("uniform", "place"), [(0.0, 5), (1 - 2**-53, 34)])
def test_the_least_and_the_greatest_random_number(monkeypatch, uniform, place):
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: torch.tensor(uniform, dtype=torch.float64))
    random = np.random.default_rng(0)
    for _ in range(500):
        logits = torch.from_numpy(random.standard_normal((1, 40)))
        logits[0, :5] = logits[0, -5:] = -INF
        assert int(drawn(Sampling(), logits, 1)) == place


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0; expected zero or a positive number"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": INF}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0; expected a positive integer"),
        ({"top_k": 1.5}, "top_k is 1.5"),
        ({"top_p": 0.0}, "top_p is 0.0; expected a number above 0, at most 1"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"min_p": math.nan}, "min_p is nan"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0; expected a positive number"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**options)


@pytest.mark.parametrize("seed", [-1, 1.5, "a"])
def test_seeds_that_are_none_are_refused(seed):
    with pytest.raises(ValueError, match="seed is"):
        Sampler(Sampling(), [[0]], 3, seed)

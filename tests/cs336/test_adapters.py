"""CS336's adapters: names and arguments of the assignment, and results by its formulas.

The adapters of layers and of the whole model are tested in tests/model/test_layers.py.
"""

import importlib.util
import inspect
import io
import math
import shutil
from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastlm import Tokenizer  # noqa: E402
from fastlm.cs336 import adapters  # noqa: E402
from fastlm.model import TransformerLM  # noqa: E402
from tests import texts  # noqa: E402

# the functions of the assignment's tests/adapters.py with the names of their arguments
SIGNATURES = {
    "run_linear": "d_in d_out weights in_features",
    "run_embedding": "vocab_size d_model weights token_ids",
    "run_swiglu": "d_model d_ff w1_weight w2_weight w3_weight in_features",
    "run_scaled_dot_product_attention": "Q K V mask",
    "run_multihead_self_attention": (
        "d_model num_heads q_proj_weight k_proj_weight v_proj_weight o_proj_weight in_features"
    ),
    "run_multihead_self_attention_with_rope": (
        "d_model num_heads max_seq_len theta q_proj_weight k_proj_weight v_proj_weight o_proj_weight in_features "
        "token_positions"
    ),
    "run_rope": "d_k theta max_seq_len in_query_or_key token_positions",
    "run_transformer_block": "d_model num_heads d_ff max_seq_len theta weights in_features",
    "run_transformer_lm": ("vocab_size context_length d_model num_layers num_heads d_ff rope_theta weights in_indices"),
    "run_rmsnorm": "d_model eps weights in_features",
    "run_silu": "in_features",
    "run_get_batch": "dataset batch_size context_length device",
    "run_softmax": "in_features dim",
    "run_cross_entropy": "inputs targets",
    "run_gradient_clipping": "parameters max_l2_norm",
    "get_adamw_cls": "",
    "run_get_lr_cosine_schedule": "it max_learning_rate min_learning_rate warmup_iters cosine_cycle_iters",
    "run_save_checkpoint": "model optimizer iteration out",
    "run_load_checkpoint": "src model optimizer",
    "get_tokenizer": "vocab merges special_tokens",
    "run_train_bpe": "input_path vocab_size special_tokens kwargs",
}


def test_names_and_arguments_are_the_assignments():
    assert sorted(adapters.__all__) == sorted(SIGNATURES)
    found = {name: " ".join(inspect.signature(getattr(adapters, name)).parameters) for name in SIGNATURES}
    assert found == SIGNATURES


def test_a_copy_of_the_file_works_alone(tmp_path):
    copy = shutil.copy(adapters.__file__, tmp_path / "adapters.py")
    spec = importlib.util.spec_from_file_location("student_adapters", copy)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    weights, x = torch.randn(3, 2), torch.randn(4, 2)
    assert torch.equal(module.run_linear(2, 3, weights, x), x @ weights.T)


def test_names_of_a_compiled_model_are_taken():
    torch.manual_seed(0)
    sizes = (20, 8, 8, 1, 2, 16, 1e4)
    model = TransformerLM(*sizes, rope_layout="interleaved")
    weights = {f"_orig_mod.{name}": weight for name, weight in model.state_dict().items()}
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(adapters.run_transformer_lm(*sizes, weights, ids), model(ids))


def test_rope_rotates_neighbours():
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    positions = torch.tensor([0, 3, 1, 7, 2])
    found = adapters.run_rope(4, 100.0, 8, x, positions)
    for pair in range(2):
        angles = positions.double() / 100.0 ** (2 * pair / 4)
        first, second = x[..., 2 * pair], x[..., 2 * pair + 1]
        assert torch.allclose(found[..., 2 * pair], first * angles.cos() - second * angles.sin())
        assert torch.allclose(found[..., 2 * pair + 1], first * angles.sin() + second * angles.cos())


def test_batches_are_uniform_windows():
    dataset = np.arange(100, dtype=np.uint16)
    starts: Counter[int] = Counter()
    for _ in range(300):
        inputs, targets = adapters.run_get_batch(dataset, 32, 7, "cpu")
        assert inputs.shape == targets.shape == (32, 7)
        assert inputs.dtype == torch.int64
        assert torch.equal(inputs + 1, targets)
        starts.update(inputs[:, 0].tolist())
    assert (min(starts), max(starts), len(starts)) == (0, 92, 93)
    expected = 300 * 32 / 93
    assert max(abs(count - expected) for count in starts.values()) < 5 * math.sqrt(expected)
    with pytest.raises((RuntimeError, AssertionError), match=r"(?i)cuda"):
        adapters.run_get_batch(dataset, 2, 3, "cuda:99")


def test_gradient_clipping():
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(5, 5)) for _ in range(6)]
    parameters[-1].requires_grad_(requires_grad=False)
    torch.cat([parameter.flatten() for parameter in parameters]).sum().backward()
    before = [None if parameter.grad is None else parameter.grad.clone() for parameter in parameters]
    norm = math.sqrt(sum(float((grad**2).sum()) for grad in before if grad is not None))
    adapters.run_gradient_clipping(parameters, 1e-2)
    for parameter, grad in zip(parameters[:-1], before, strict=False):
        assert torch.allclose(parameter.grad, grad * (1e-2 / (norm + 1e-6)), atol=1e-6)
    assert parameters[-1].grad is None


def test_adamw_is_the_algorithm_of_the_handout():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(3, 2, dtype=torch.float64))
    expected = weight.detach().clone()
    optimizer = adapters.get_adamw_cls()([weight], lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    first, second = torch.zeros_like(expected), torch.zeros_like(expected)
    for step in range(1, 101):
        optimizer.zero_grad()
        (weight**2).sum().backward()
        grad = 2 * expected
        optimizer.step()
        first = 0.9 * first + 0.1 * grad
        second = 0.999 * second + 0.001 * grad**2
        rate = 1e-3 * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        expected = expected - rate * first / (second.sqrt() + 1e-8)
        expected = expected - 1e-3 * 0.01 * expected
    assert torch.allclose(weight, expected, atol=1e-4)


def test_the_learning_rate_schedule():
    rates = [adapters.run_get_lr_cosine_schedule(it, 1.0, 0.1, 7, 21) for it in range(25)]
    for it, rate in enumerate(rates):
        if it < 7:
            expected = it / 7
        elif it <= 21:
            expected = 0.1 + 0.5 * (1 + math.cos((it - 7) / 14 * math.pi)) * 0.9
        else:
            expected = 0.1
        assert rate == pytest.approx(expected)


@pytest.mark.parametrize("as_file", [False, True])
def test_checkpoints(tmp_path, as_file):
    def trained(steps):
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
        optimizer = adapters.get_adamw_cls()(model.parameters(), lr=0.1)
        return model, optimizer, step(model, optimizer, steps)

    def step(model, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.ones(2, 4)).square().sum().backward()
            optimizer.step()
        return steps

    model, optimizer, done = trained(5)
    out = io.BytesIO() if as_file else tmp_path / "checkpoint.pt"
    adapters.run_save_checkpoint(model, optimizer, done, out)
    if as_file:
        out.seek(0)
    other, other_optimizer, _ = trained(0)
    assert adapters.run_load_checkpoint(out, other, other_optimizer) == 5
    step(model, optimizer, 3)
    step(other, other_optimizer, 3)
    for mine, theirs in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


def test_bpe_and_tokenizer(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("<|endoftext|>".join(texts.DOCUMENTS * 2), "utf-8")
    vocab, merges = adapters.run_train_bpe(path, 300, ["<|endoftext|>"])
    assert len(vocab) == 300 == 257 + len(merges)
    assert set(vocab.values()) == {b"<|endoftext|>", *(bytes([byte]) for byte in range(256)), *map(b"".join, merges)}
    tokenizer = adapters.get_tokenizer(vocab, merges, ["<|endoftext|>"])
    text = "".join(texts.DOCUMENTS) + "<|endoftext|>"
    ids = tokenizer.encode(text)
    assert list(tokenizer.encode_iterable(text.splitlines(keepends=True))) == tokenizer.encode(text)
    assert ids[-1] == tokenizer.encode("<|endoftext|>")[0]
    assert tokenizer.decode(ids) == text
    assert adapters.get_tokenizer(vocab, merges).decode(ids) == text
    # a special token that the vocabulary lacks is added to it
    added = adapters.get_tokenizer(vocab, merges, ["<|endoftext|>", "<|user|>"])
    assert added.encode("<|user|>") == [300]


def test_the_courses_merges(data):
    vectors = data / "vectors"
    published = [vectors / f"cs336_train-bpe-reference-{name}" for name in ("vocab.json", "merges.txt")]
    for path in published:
        if not path.exists():
            pytest.skip(f"no file {path}")
    expected = Tokenizer.from_files(*published, ["<|endoftext|>"])
    vocab, merges = adapters.run_train_bpe(data / "english" / "cs336_corpus.en", 500, ["<|endoftext|>"])
    assert merges == expected.merges
    assert vocab == expected.vocab

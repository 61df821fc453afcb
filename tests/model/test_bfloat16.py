"""Products of bfloat16 as a processor without instructions for them computes them, beside torch's own.

Which of both is taken is said by the tests, so that both run on every machine.
"""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402, N812

from fastlm.model import TransformerLM, bfloat16, linear_cross_entropy  # noqa: E402
from fastlm.model.bfloat16 import FEW_ROWS, attention, linear, product  # noqa: E402
from fastlm.training.hardware import measured_flops  # noqa: E402
from tests.model.models import TINY, made, some_ids  # noqa: E402

EPS = torch.finfo(torch.bfloat16).eps
CPU = torch.device("cpu")


@pytest.fixture
def as_float32(monkeypatch):
    """A processor without instructions for bfloat16."""
    monkeypatch.setattr(bfloat16, "LEFT_TO_TORCH", False)


def drawn(*shape, seed=1, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def plain_linear(x, weight):
    """The definition: operands are rounded, all else is exact, and the result is rounded."""
    return (x.bfloat16().double() @ weight.bfloat16().double().T).bfloat16()


def plain_attention(q, k, v, mask=None):
    q, k, v = (heads.bfloat16().double() for heads in (q, k, v))
    k, v = (heads.repeat_interleave(q.shape[1] // heads.shape[1], 1) for heads in (k, v))
    if mask is None:
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~mask, float("-inf"))
    return (scores.softmax(-1) @ v).bfloat16()


def near(found, expected):
    """Within one rounding of each number or, where it is a sum that cancels, an eighth of one of the largest."""
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=EPS, atol=EPS * float(expected.abs().max()) / 8)


def roundings(found, expected):
    """How far all numbers together are from what they should be, in roundings."""
    assert found.dtype == expected.dtype
    return float((found.double() - expected.double()).norm() / expected.double().norm()) / EPS


def results(function, *operands, autocast):
    """What a function gives, and the gradients of its operands."""
    leaves = [operand.clone().requires_grad_() for operand in operands]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = function(*leaves)
    slope = drawn(*found.shape, seed=9).to(found.dtype)
    return [found.detach(), *torch.autograd.grad(found, leaves, slope)]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("shape", [(7, 24), (2, 5, 24), (2, 1, 3, 24), (FEW_ROWS, 24), (24,)])
def test_linear_is_that_of_torch_and_of_the_definition(as_float32, autocast, shape):
    dtype = torch.float32 if autocast else torch.bfloat16
    x, weight = drawn(*shape, dtype=dtype), drawn(18, 24, seed=2, dtype=dtype)
    found = results(linear, x, weight, autocast=autocast)
    for other in (F.linear, plain_linear):
        for mine, expected in zip(found, results(other, x, weight, autocast=autocast), strict=True):
            near(mine, expected)
    assert [tensor.dtype for tensor in found] == [torch.bfloat16, dtype, dtype]


MASK = torch.tensor([[True] * (row + 1) + [False] * (8 - row) for row in range(9)])


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize("mask", [None, MASK, MASK.roll(1, 1).expand(2, 1, 9, 9)])
def test_attention_is_that_of_torch_and_of_the_definition(monkeypatch, autocast, groups, mask):
    monkeypatch.setattr(bfloat16, "LEFT_TO_TORCH", False)
    dtype = torch.float32 if autocast else torch.bfloat16
    q, k, v = (drawn(2, heads, 9, 8, seed=heads + i, dtype=dtype) for i, heads in enumerate((4, groups, groups)))
    if mask is not None and mask.dim() == 4:
        mask = mask | torch.eye(9, dtype=torch.bool)  # a query that sees no key has no result

    def all_of(function):
        return results(lambda q, k, v: function(q, k, v, mask), q, k, v, autocast=autocast)

    found, exact = all_of(attention), all_of(plain_attention)
    monkeypatch.setattr(bfloat16, "LEFT_TO_TORCH", True)
    for mine, torchs, expected in zip(found, all_of(attention), exact, strict=True):
        assert roundings(mine, torchs) <= 1
        # torch rounds the exponentials of scores too
        assert roundings(mine, expected) <= roundings(torchs, expected) <= 1


def test_only_products_of_bfloat16_on_a_processor_without_them_are_taken_from_torch(monkeypatch):
    x, weight = drawn(9, 24), drawn(18, 24, seed=2)
    heads = drawn(1, 2, 9, 8)
    calls = []
    for name in ("_Linear", "_Attention"):
        function = getattr(bfloat16, name)
        monkeypatch.setattr(function, "apply", lambda *operands, of=function.apply: (calls.append(1), of(*operands))[1])

    def taken(dtype, autocast=None, device=CPU):
        calls.clear()
        with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
            linear(x.to(device, dtype), weight.to(device, dtype))
            attention(*[heads.to(device, dtype)] * 3)
        return len(calls)

    monkeypatch.setattr(bfloat16, "LEFT_TO_TORCH", False)
    assert taken(torch.bfloat16) == taken(torch.float32, torch.bfloat16) == taken(torch.float16, torch.bfloat16) == 2
    assert taken(torch.float32) == taken(torch.float64) == taken(torch.float16) == 0
    assert taken(torch.float64, torch.bfloat16) == taken(torch.bfloat16, torch.float16) == 0
    assert taken(torch.bfloat16, device="meta") == 0
    monkeypatch.setattr(bfloat16, "LEFT_TO_TORCH", True)
    assert taken(torch.bfloat16) == taken(torch.float32, torch.bfloat16) == 0


@pytest.mark.parametrize("autocast", [False, True])
def test_products_of_a_loss(as_float32, autocast):
    a, b = drawn(9, 24, dtype=torch.bfloat16), drawn(24, 18, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        near(product(a, b), a @ b)
    assert torch.equal(product(a.double(), b.double()), a.double() @ b.double())
    assert measured_flops(CPU, torch.bfloat16) > 0


def steps(narrow, checkpoint):
    """Losses of a few steps with weights of bfloat16, or by autocast."""
    config = replace(TINY, d_model=32, d_ff=48, num_heads=4, num_kv_heads=2)
    model = made(config, torch.bfloat16 if narrow else torch.float32)
    model.checkpoint_activations = checkpoint
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ids, documents, losses = some_ids(config, 4), torch.tensor([[0] * 6 + [1] * 10] * 4), []
    for _ in range(6):
        with torch.autocast("cpu", torch.bfloat16, enabled=not narrow):
            hidden = model.hidden(ids, document_ids=documents)
            loss = linear_cross_entropy(hidden, model.lm_head.weight, ids.roll(-1, 1), chunk_tokens=24)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return torch.tensor(losses)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_training_is_near_that_of_torch(monkeypatch, narrow, checkpoint):
    monkeypatch.setattr(bfloat16, "LEFT_TO_TORCH", True)
    expected = steps(narrow, checkpoint)
    monkeypatch.setattr(bfloat16, "LEFT_TO_TORCH", False)
    found = steps(narrow, checkpoint)
    assert expected[-1] < 0.99 * expected[0]
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=0)


def test_inference_is_near_that_of_torch(monkeypatch):
    model, ids = made(dtype=torch.bfloat16), some_ids(TINY)
    found = []
    for left in (True, False):
        monkeypatch.setattr(bfloat16, "LEFT_TO_TORCH", left)
        with torch.inference_mode():
            found += [model(ids), model(ids[0])]
    assert roundings(found[2], found[0]) <= 2
    assert roundings(found[3], found[1]) <= 2


# torch's own tracing of an autograd.Function makes an instance of it
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize(
    ("narrow", "checkpoint"), [(False, True), pytest.param(True, False, marks=pytest.mark.nightly)]
)
def test_it_compiles_to_one_graph(as_float32, narrow, checkpoint):
    torch.compiler.reset()
    model, ids = made(dtype=torch.bfloat16 if narrow else torch.float32), some_ids(TINY)
    model.checkpoint_activations = checkpoint
    documents = torch.tensor([[0] * 8 + [1] * 8] * 2)

    def loss_of(ids, targets):
        with torch.autocast("cpu", torch.bfloat16, enabled=not narrow):
            hidden = model.hidden(ids, document_ids=documents)
            return linear_cross_entropy(hidden, model.lm_head.weight, targets)

    found = []
    for function in (loss_of, torch.compile(loss_of, fullgraph=True, backend="aot_eager")):
        loss = function(ids, ids.flip(1))
        loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in model.parameters())])
        model.zero_grad()
    for eager, graph in zip(*found, strict=True):
        assert float((eager - graph).norm()) <= 3e-2 * float(eager.norm())


def test_a_program_for_elsewhere_has_torch_s_own_products(as_float32):
    model = TransformerLM.from_config(TINY, dtype=torch.bfloat16).eval()
    shapes = {"token_ids": {0: torch.export.Dim("batch", min=1, max=64), 1: torch.export.Dim("length", min=2, max=15)}}
    program = torch.export.export(model, (some_ids(TINY)[:, :7],), dynamic_shapes=shapes)
    called = {str(node.target) for node in program.graph.nodes}
    assert "aten.linear.default" in called
    assert not any("flash" in name or "float32" in name for name in called)

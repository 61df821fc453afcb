"""Optimizers, the schedule, and checkpoints."""

import io
import json

import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from torch import nn  # noqa: E402

from fastlm.files.atomic import remove_unfinished  # noqa: E402
from fastlm.model import TransformerLM  # noqa: E402
from fastlm.model.safetensors_file import write_archive  # noqa: E402
from fastlm.training import AdamW, clip_gradients, cosine_schedule, load_checkpoint, save_checkpoint  # noqa: E402
from fastlm.training.checkpoint import snapshot  # noqa: E402
from fastlm.training.checkpoint_rotation import CheckpointRotation  # noqa: E402
from fastlm.training.optimizer import make_optimizers  # noqa: E402
from tests.model import damage, tiny  # noqa: E402
from tests.reference import training as reference  # noqa: E402


def test_the_schedule_is_the_handouts():
    for arguments in [(1.0, 0.1, 7, 21), (3e-4, 3e-5, 1, 2), (1.0, 1.0, 0, 5), (0.5, 0.0, 0, 1)]:
        for t in range(30):
            assert cosine_schedule(t, *arguments) == pytest.approx(reference.learning_rate(t, *arguments), abs=1e-15)
    assert cosine_schedule(0, 1.0, 0.1, 7, 21) == 0
    # a warm-up of all steps ends at the highest rate
    assert [cosine_schedule(it, 1.0, 0.1, 5, 5) for it in (4, 5, 6)] == [0.8, 1.0, 0.1]
    assert cosine_schedule(1, 1.0, 0.0, 1, 1) == 1.0


@pytest.mark.parametrize("most", [1e-2, 1e3])
def test_gradients_are_clipped_as_the_handout_says(most):
    def parameters():
        torch.manual_seed(2)
        made = [nn.Parameter(torch.randn(5, 5)) for _ in range(6)]
        for parameter in made[:-1]:
            parameter.grad = torch.randn(5, 5)
        made[0].requires_grad_(False)
        return made

    ours, theirs = parameters(), parameters()
    norm = clip_gradients(ours, most)
    assert float(norm) == pytest.approx(float(torch.cat([p.grad for p in theirs[:-1]]).norm()))
    reference.clip(theirs, most)
    assert ours[-1].grad is None
    for mine, other in zip(ours[:-1], theirs[:-1], strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=1e-9)


def test_optimizers_cover_every_parameter_once_and_decay_matrices_only(tmp_path):
    model = TransformerLM.from_config(tiny.MODEL)
    for kind in ("adamw", "muon"):
        optimizers = make_optimizers(model, tiny.config(tmp_path / "run", optimizer=kind, weight_decay=0.3))
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        covered = [parameter for group in groups for parameter in group["params"]]
        assert sorted(map(id, covered)) == sorted(map(id, model.parameters()))
        for group in groups:
            assert {p.dim() >= 2 for p in group["params"]} == {group["weight_decay"] == 0.3}
        if kind == "muon":
            hidden = {id(p) for name, p in model.named_parameters() if name.startswith("layers.") and p.dim() == 2}
            assert {id(p) for p in optimizers[1].param_groups[0]["params"]} == hidden


def step_once(model, optimizer):
    model(torch.arange(6)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


OPTIMIZERS = {
    "adamw": lambda parameters: AdamW(parameters, lr=1e-2, fused=True),
    "amsgrad": lambda parameters: AdamW(parameters, lr=1e-2, amsgrad=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=1e-2),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=1e-2, momentum=0.9),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("to_path", [True, False])
@pytest.mark.parametrize("tied", [False, True])
def test_a_state_comes_back_bit_for_bit(tmp_path, kind, to_path, tied):
    def made(seed):
        torch.manual_seed(seed)
        model = TransformerLM(**{**tiny.MODEL.to_dict(), "tie_embeddings": tied})
        return model, OPTIMIZERS[kind](model.parameters())

    model, optimizer = made(1)
    for _ in range(3):
        step_once(model, optimizer)
    place = tmp_path / "checkpoint" if to_path else io.BytesIO()
    save_checkpoint(model, optimizer, 3, place)
    if not to_path:
        place.seek(0)
    other, other_optimizer = made(2)
    assert load_checkpoint(place, other, other_optimizer) == 3
    for _ in range(2):
        step_once(model, optimizer)
        step_once(other, other_optimizer)
    ours, theirs = snapshot(model, [optimizer], 5, {}), snapshot(other, [other_optimizer], 5, {})
    assert ours[1] == theirs[1]
    assert ours[0].keys() == theirs[0].keys()
    assert all(torch.equal(ours[0][name], theirs[0][name]) for name in ours[0])
    first, second = optimizer.state_dict()["param_groups"], other_optimizer.state_dict()["param_groups"]
    assert first == second
    assert [type(v) for v in first[0].values()] == [type(v) for v in second[0].values()]


def test_a_checkpoint_is_a_safetensors_file_with_bare_names(tmp_path):
    model = TransformerLM.from_config(tiny.MODEL)
    compiled = torch.compile(model, backend="eager")
    save_checkpoint(compiled, AdamW(model.parameters()), 7, tmp_path / "checkpoint")
    with safe_open(tmp_path / "checkpoint", "pt") as file:
        assert set(file.keys()) == {f"model.{name}" for name in model.state_dict()}
        assert json.loads(file.metadata()["fastlm"])["iteration"] == 7
    other = TransformerLM.from_config(tiny.MODEL)
    load_checkpoint(tmp_path / "checkpoint", torch.compile(other, backend="eager"), AdamW(other.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_what_does_not_fit_is_refused_before_anything_changes(tmp_path):
    model, optimizer = damage.trained_model(1)
    path = tmp_path / "checkpoint"
    save_checkpoint(model, optimizer, 1, path)
    deeper = TransformerLM(**{**tiny.MODEL.to_dict(), "num_layers": 3})
    wider = TransformerLM(**{**tiny.MODEL.to_dict(), "d_ff": 25})
    double = TransformerLM.from_config(tiny.MODEL, dtype=torch.float64)
    same = TransformerLM.from_config(tiny.MODEL)
    for other, other_optimizer, message in [
        (deeper, AdamW(deeper.parameters()), "layers.2.* is missing for this model"),
        (wider, AdamW(wider.parameters()), r"ffn.w1.weight is .* of shape \(24, 16\); expected .* \(25, 16\)"),
        (double, AdamW(double.parameters()), "float32 .* expected torch.float64"),
        (same, torch.optim.SGD(same.parameters()), "optimizer 0: a group of parameters has other options"),
        (same, AdamW(list(same.parameters())[1:]), "optimizer 0: a group of parameters has other"),
        (same, AdamW([{"params": [p]} for p in same.parameters()]), "1 groups of parameters; expected"),
    ]:
        before = damage.state_bytes(other, other_optimizer)
        with pytest.raises(ValueError, match=message) as error:
            load_checkpoint(path, other, other_optimizer)
        assert str(path) in str(error.value)
        assert damage.state_bytes(other, other_optimizer) == before
    with pytest.raises(OSError, match="nothing"):
        load_checkpoint(tmp_path / "nothing", model, optimizer)


def test_a_forged_state_with_a_right_checksum_is_refused():
    model, optimizer = damage.trained_model(1)
    before = damage.state_bytes(model, optimizer)

    def forge(change):
        tensors, document = snapshot(model, [optimizer], 1, {})
        document = json.loads(json.dumps(document))
        change(tensors, document)
        write_archive(file := io.BytesIO(), tensors, document)
        file.seek(0)
        with pytest.raises(ValueError, match="checkpoint: "):
            load_checkpoint(file, model, optimizer)
        assert damage.state_bytes(model, optimizer) == before

    forge(lambda t, d: d.pop("optimizers"))
    forge(lambda t, d: d.update(optimizers=[]))
    forge(lambda t, d: d.update(optimizers={}))
    forge(lambda t, d: d.update(iteration="3"))
    forge(lambda t, d: d.update(version=2))
    forge(lambda t, d: d["optimizers"][0].update(groups=[3]))
    forge(lambda t, d: d["optimizers"][0]["groups"][0].update(lr="fast"))
    forge(lambda t, d: d["optimizers"][0]["groups"][0].update(betas=[0.9]))
    forge(lambda t, d: d["optimizers"][0]["groups"][0].pop("lr"))
    forge(lambda t, d: d["optimizers"][0]["scalars"].update({"-1": {"step": 1}}))
    forge(lambda t, d: d["optimizers"][0]["scalars"].update({"999": {}}))
    forge(lambda t, d: t.update({"optimizer.0.0.exp_avg": torch.zeros(3)}))
    forge(lambda t, d: t.update({"optimizer.0.0.exp_avg": t["optimizer.0.0.exp_avg"].double()}))
    forge(lambda t, d: t.update({"optimizer.0.x.exp_avg": torch.zeros(())}))
    forge(lambda t, d: t.update({"optimizer.0.0": torch.zeros(())}))
    forge(lambda t, d: t.pop("model.ln_final.weight"))
    forge(lambda t, d: t.update({"model.more": torch.zeros(1)}))


def test_states_that_cannot_be_kept_are_refused(tmp_path):
    model = nn.Linear(3, 3)
    optimizer = torch.optim.LBFGS(model.parameters())

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(3)).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with pytest.raises(TypeError, match="LBFGS keeps"):
        save_checkpoint(model, optimizer, 1, tmp_path / "checkpoint")
    assert not list(tmp_path.iterdir())


def test_damage_is_refused_before_anything_changes():
    assert damage.accepted_checkpoints(300, seed=3) == 0
    wrong, read = damage.misread_configs(150, seed=3)
    assert wrong == 0
    assert read < 75


def test_the_newest_checkpoints_stay(tmp_path):
    checkpoints = CheckpointRotation(tmp_path / "made", 2)
    assert checkpoints.newest() is None
    for step in (9, 10, 100_000_000):
        checkpoints.save(step, ({"a": torch.zeros(2)}, {}))
    (tmp_path / "made" / "step-abc").touch()
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [
        "step-00000010.safetensors",
        "step-100000000.safetensors",
        "step-abc",
    ]
    assert checkpoints.newest() == tmp_path / "made" / "step-100000000.safetensors"


def test_only_what_a_killed_writer_left_is_removed(tmp_path):
    left, others = ".config.toml.0123456789ab.tmp", [".other.tmp", "a.0123456789ab.tmp", ".x.0123456789AB.tmp"]
    for name in (left, *others):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    remove_unfinished(tmp_path / "nothing")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)

"""Every public name of tokenizers exists in the compatibility layer, and works or is refused by its name."""

import importlib
import inspect
import pkgutil
import typing
from types import ModuleType

import pytest

from fastlm.compat import tokenizers as ours
from fastlm.compat.tokenizers.refused_members import REFUSED_MEMBERS

theirs = pytest.importorskip("tokenizers", minversion="0.23")

# the compiled module, which the packages re-export
COMPILED = "tokenizers.tokenizers"
SPECIAL_METHODS = {"__call__", "__getitem__", "__setitem__", "__delitem__", "__len__", "__iter__"}


def module_names() -> list[str]:
    found = [found.name for found in pkgutil.walk_packages(theirs.__path__, "tokenizers.")]
    return ["tokenizers", *[name for name in found if name != COMPILED]]


def public_names(module: ModuleType) -> list[str]:
    """The names that a module defines; for a package also the names that it re-exports."""
    found = []
    for name, value in vars(module).items():
        is_foreign = hasattr(typing, name) or name == "Enum"
        is_compiled = isinstance(value, ModuleType) and not hasattr(value, "__path__") and hasattr(module, "__path__")
        if name.startswith("_") or is_foreign or (is_compiled and value.__name__.count(".") < 2):
            continue
        if hasattr(module, "__path__") or getattr(value, "__module__", None) == module.__name__:
            found.append(name)
    return found


def public_members(cls: type) -> list[str]:
    return [
        name for name in dir(cls) if not name.startswith("_") or (name in SPECIAL_METHODS and name not in dir(type))
    ]


def layer_of(name: str) -> ModuleType:
    return importlib.import_module("fastlm.compat." + name)


NAMES = [(module, name) for module in module_names() for name in public_names(importlib.import_module(module))]


def test_the_walk_finds_the_library():
    assert len(NAMES) > 105
    assert {("tokenizers", "Tokenizer"), ("tokenizers", "tools"), ("tokenizers.models", "WordPiece")} <= set(NAMES)
    assert ("tokenizers.tools.visualizer", "EncodingVisualizer") in NAMES
    assert {"train", "from_file", "save"} <= set(public_members(theirs.CharBPETokenizer))


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_the_name_exists_with_its_members(module, name):
    expected, found = getattr(importlib.import_module(module), name), getattr(layer_of(module), name)
    assert isinstance(found, type) == isinstance(expected, type)
    assert callable(found) == callable(expected) or typing.get_args(expected)
    for member in public_members(expected) if isinstance(expected, type) else ():
        judge, one = inspect.getattr_static(expected, member), inspect.getattr_static(found, member)
        assert callable(getattr(found, member)) == callable(getattr(expected, member)), member
        if hasattr(judge, "__set__") or isinstance(judge, property):
            assert hasattr(one, "__get__"), member


@pytest.mark.parametrize("name", sorted(REFUSED_MEMBERS))
def test_a_refused_class_names_itself_and_its_methods(name):
    module, _, short = name.rpartition(".")
    cls = getattr(layer_of("tokenizers." + module if module else "tokenizers"), short)
    with pytest.raises(NotImplementedError, match=f": {name} is not supported"):
        cls()
    with pytest.raises(NotImplementedError, match=f": {name} is not supported"):
        cls("argument", option=1)
    methods, attributes = REFUSED_MEMBERS[name]
    for method in methods.split():
        with pytest.raises(NotImplementedError, match=f": {name}.{method} is not supported"):
            getattr(cls, method)("argument", option=1)
    for attribute in attributes.split():
        assert isinstance(vars(cls)[attribute], property)
        with pytest.raises(NotImplementedError, match=f": {name}.{attribute} is not supported"):
            vars(cls)[attribute].fget(None)


def test_a_refused_module_function_names_itself():
    with pytest.raises(NotImplementedError, match=r"tools\.visualizer\.HTMLBody is not supported"):
        ours.tools.visualizer.HTMLBody(["a"])


@pytest.mark.parametrize("token_ids", [[], [3], [3, 4]])
def test_the_data_of_the_visualizer(token_ids):
    results = []
    for module in (importlib.import_module("tokenizers.tools.visualizer"), ours.tools.visualizer):
        state = module.CharState(5)
        state.tokens += token_ids
        state.anno_ix = 7
        annotation = module.Annotation(1, 2, "label")
        key = state.partition_key()
        results.append([state.char_ix, state.token_ix, state.is_multitoken, tuple(key), key._fields, vars(annotation)])
    assert results[0] == results[1]


def outcome(action):
    try:
        return action()
    except Exception as error:  # noqa: BLE001 - types of exceptions are compared
        # tokenizers raises a bare Exception where this layer raises ValueError
        return ValueError if type(error) is Exception else type(error)


def assigned(t, kind, index, value):
    steps = t.processors.Sequence([t.processors.ByteLevel(), t.processors.BertProcessing(("a", 1), ("b", 2))])
    values = {
        "step": lambda: t.processors.ByteLevel(trim_offsets=False),
        "template": lambda: t.processors.TemplateProcessing("[x] $A", special_tokens=[("[x]", 9)]),
        "sequence": lambda: t.processors.Sequence([t.processors.ByteLevel()]),
        "itself": lambda: steps,
        "none": lambda: None,
        "number": lambda: 5,
        "other": lambda: t.decoders.ByteLevel(),
    }
    if kind == "set":
        steps[index] = values[value]()
    else:
        del steps[index]
    return repr(steps)


@pytest.mark.parametrize("value", ["step", "template", "sequence", "itself", "none", "number", "other"])
@pytest.mark.parametrize("index", [0, 1, 2, -1, 2**70, "a", None, 0.0, True])
def test_steps_are_replaced_as_in_tokenizers(index, value):
    for kind in ("set", "delete"):
        expected = outcome(lambda kind=kind: assigned(theirs, kind, index, value))
        assert outcome(lambda kind=kind: assigned(ours, kind, index, value)) == expected


def test_a_replaced_step_takes_effect(trained):
    tokenizer = ours.Tokenizer.from_str(layered(trained))
    tokenizer.post_processor = ours.processors.Sequence([ours.processors.ByteLevel(trim_offsets=False)])
    before = tokenizer.encode("the cat").ids
    tokenizer.post_processor[0] = ours.processors.TemplateProcessing("<|user|> $A", special_tokens=[("<|user|>", 1)])
    assert tokenizer.encode("the cat").ids == [1, *before]


def layered(trained) -> str:
    from fastlm.formats import tokenizer_json

    return tokenizer_json.write(trained.vocabulary)["tokenizer.json"].decode()


AFFIXES = [{}, {"continuing_subword_prefix": ""}, {"end_of_word_suffix": ""}]
AFFIXES += [AFFIXES[1] | AFFIXES[2]]


@pytest.mark.parametrize("of_trainer", AFFIXES)
@pytest.mark.parametrize("of_model", AFFIXES)
def test_training_sets_the_affixes_of_the_trainer(of_model, of_trainer):
    found = []
    for t in (theirs, ours):
        alphabet = sorted(t.pre_tokenizers.ByteLevel.alphabet())
        tokenizer = t.Tokenizer(t.models.BPE({char: k for k, char in enumerate(alphabet)}, [], **of_model))
        tokenizer.pre_tokenizer = t.pre_tokenizers.ByteLevel(add_prefix_space=False)
        states = [tokenizer.to_str()]
        for _ in range(2):
            options = {"vocab_size": 265, "initial_alphabet": alphabet, "show_progress": False, **of_trainer}
            tokenizer.train_from_iterator(["the cat the mat the cats"], t.trainers.BpeTrainer(**options))
            model = tokenizer.model
            states += [tokenizer.to_str(), model.continuing_subword_prefix, model.end_of_word_suffix]
        found.append(states)
    assert found[1] == found[0]

"""Checkpoints: the state of model, optimizers and run as tensors and JSON. Nothing is pickled.

Tensors are named `model.NAME`, and `optimizer.I.J.KEY` for the state KEY of parameter J in optimizer I. Nothing changes
before everything in a file is known to fit.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from fastlm.files.atomic import replacing
from fastlm.files.remote import fetched, is_address, location
from fastlm.model.safetensors_file import FileOrPath, read_archive, write_archive
from fastlm.model.state import unwrapped
from fastlm.training.parallel import gathered

Snapshot = tuple[dict[str, Tensor], dict[str, Any]]

VERSION = 1


def save_checkpoint(model: nn.Module, optimizer: Optimizer, iteration: int, out: FileOrPath) -> None:
    """Writes the state of a model and its optimizer, and the number of steps done.

    Args:
        model: Any module. Prefixes that torch.compile and DistributedDataParallel add to names are left out.
        optimizer: An optimizer whose state is numbers and tensors of its parameters' shapes, as AdamW, SGD and Muon.
        iteration: Number of steps done.
        out: A path, where the file appears whole or not at all, or a binary file to write to.

    Raises:
        OSError: The file cannot be written.
        TypeError: The optimizer has a state of another kind.
    """
    tensors, document = snapshot(model, [optimizer], iteration, {})
    if isinstance(out, str | os.PathLike):
        with replacing(location(out)) as file:
            write_archive(file, tensors, document)
    else:
        write_archive(out, tensors, document)


def load_checkpoint(src: FileOrPath, model: nn.Module, optimizer: Optimizer) -> int:
    """Restores the state of a model and its optimizer that `save_checkpoint` wrote.

    Args:
        src: The path, or a binary file.
        model: The model.
        optimizer: The optimizer.

    Returns:
        The number of steps done.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is damaged, or does not fit model and optimizer, which are then unchanged.
    """
    if isinstance(src, str) and is_address(src):
        with fetched(location(src)) as file:
            return load_checkpoint(file, model, optimizer)
    where, tensors, document = read_checkpoint(src)
    restore(where, tensors, document, model, [optimizer])
    iteration: int = document["iteration"]
    return iteration


def snapshot(model: nn.Module, optimizers: Sequence[Optimizer], iteration: int, run: Mapping[str, Any]) -> Snapshot:
    """Copies a state to main memory. Shards are gathered, so all processes must call this.

    Args:
        model: The model.
        optimizers: Its optimizers.
        iteration: Number of steps done.
        run: Other values to save, which JSON can represent.

    Returns:
        Tensors by name, and a document.

    Raises:
        TypeError: An optimizer has a state that cannot be saved.
    """
    tensors = {f"model.{name}": _saved(tensor) for name, tensor in unwrapped(model.state_dict()).items()}
    described = []
    for number, optimizer in enumerate(optimizers):
        content = optimizer.state_dict()
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        scalars: dict[str, dict[str, Any]] = {}
        for index, state in content["state"].items():
            for key, value in state.items():
                if isinstance(value, Tensor) and _fits(value, parameters[index]):
                    tensors[f"optimizer.{number}.{index}.{key}"] = _saved(value)
                elif value is None or isinstance(value, bool | int | float | str):
                    scalars.setdefault(str(index), {})[key] = value
                else:
                    raise TypeError(f"{type(optimizer).__name__} keeps {key} of {type(value)}, which cannot be saved")
        described.append({"groups": content["param_groups"], "scalars": scalars})
    return tensors, {"version": VERSION, "iteration": iteration, "optimizers": described, "run": dict(run)}


def read_checkpoint(src: FileOrPath) -> tuple[str, dict[str, Tensor], dict[str, Any]]:
    """Reads a checkpoint, as `read_archive`, and checks its document."""
    where, tensors, document = read_archive(src)
    try:
        _check_document(document)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: what it says of its state is not right: {error}") from None
    return where, tensors, document


def restore(
    where: str,
    tensors: Mapping[str, Tensor],
    document: Mapping[str, Any],
    model: nn.Module,
    optimizers: Sequence[Optimizer],
) -> None:
    """Restores the state that `read_checkpoint` returned, or raises ValueError and changes nothing."""
    weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    live = model.state_dict()
    bare = dict(zip(live, unwrapped(live), strict=True))
    if wrong := sorted(set(bare.values()) ^ set(weights)):
        raise ValueError(f"{where}: {wrong[0]} is {'not of' if wrong[0] in weights else 'missing for'} this model")
    for name, tensor in live.items():
        found = weights[bare[name]]
        if (found.shape, found.dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(
                f"{where}: {bare[name]} is {found.dtype} of shape {tuple(found.shape)}; "
                f"expected {tensor.dtype} of shape {tuple(tensor.shape)}"
            )
    if len(document["optimizers"]) != len(optimizers):
        raise ValueError(f"{where}: {len(document['optimizers'])} optimizers; expected {len(optimizers)}")
    states = []
    for number, optimizer in enumerate(optimizers):
        with _located(f"{where}: optimizer {number}"):
            states.append(_optimizer_state(number, optimizer, tensors, document["optimizers"][number]))
    for name, tensor in live.items():
        # keeps the metadata of the state dict, which say the layout of rotary positions
        live[name] = _placed(weights[bare[name]], tensor)
    model.load_state_dict(live)
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict(state)


def _optimizer_state(
    number: int, optimizer: Optimizer, tensors: Mapping[str, Tensor], described: Mapping[str, Any]
) -> dict[str, Any]:
    """The argument of Optimizer.load_state_dict; ValueError if a checkpoint's state does not fit the optimizer."""
    own = optimizer.state_dict()["param_groups"]
    groups = described["groups"]
    if len(groups) != len(own):
        raise ValueError(f"{len(groups)} groups of parameters; expected {len(own)}")
    merged = []
    for group, expected in zip(groups, own, strict=True):
        if group.keys() != expected.keys() or group["params"] != expected["params"]:
            raise ValueError("a group of parameters has other options or parameters than this optimizer's")
        if wrong := [name for name in group if not _is_like(group[name], expected[name])]:
            raise ValueError(f"{wrong[0]} is {group[wrong[0]]!r}; expected a value such as {expected[wrong[0]]!r}")
        merged.append({k: tuple(v) if isinstance(expected[k], tuple) else v for k, v in group.items()})
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith(f"optimizer.{number}."):
            index, key = name.split(".", 3)[2:]
            parameter = parameters[_index(index, parameters)]
            if not _fits(tensor, parameter):
                raise ValueError(f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)}, unlike its parameter")
            state.setdefault(int(index), {})[key] = _placed(tensor, parameter) if tensor.dim() else tensor
    for index, scalars in described["scalars"].items():
        state.setdefault(_index(index, parameters), {}).update(scalars)
    return {"state": state, "param_groups": merged}


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that contains nan or infinity, if any."""
    return next((name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())), None)


def _fits(value: Tensor, parameter: Tensor) -> bool:
    """Whether a tensor can be a state of a parameter: one number, or one number per weight."""
    return value.dim() == 0 or (value.shape == parameter.shape and value.dtype == parameter.dtype)


def _index(text: str, parameters: Sequence[Tensor]) -> int:
    """The number of a parameter, checked."""
    if not text.isdecimal() or len(text) > 9 or int(text) >= len(parameters):
        raise ValueError(f"state of parameter {text!r:.20}; expected 0 to {len(parameters) - 1}")
    return int(text)


def _is_like(value: Any, expected: Any) -> bool:
    """Whether an option has the type of an optimizer's own."""
    numbers = (int, float)
    if isinstance(expected, tuple | list):
        return isinstance(value, list) and len(value) == len(expected) and all(map(_is_like, value, expected))
    return type(value) is type(expected) or (type(value) in numbers and type(expected) in numbers)


def _check_document(document: Any) -> None:
    if document["version"] != VERSION:
        raise ValueError(f"version is {document['version']!r}; expected {VERSION}")
    if type(document["iteration"]) is not int or document["iteration"] < 0:
        raise ValueError(f"iteration is {document['iteration']!r}; expected an integer not below 0")
    optimizers = document["optimizers"]
    described = isinstance(optimizers, list) and all(isinstance(optimizer, dict) for optimizer in optimizers)
    if not described or not isinstance(document["run"], dict):
        raise ValueError("expected a list of optimizers, and an object as the run")
    for optimizer in optimizers:
        groups, scalars = optimizer["groups"], optimizer["scalars"]
        if not (isinstance(groups, list) and all(isinstance(group, dict) for group in groups)):
            raise ValueError("groups of parameters are not a list of objects")
        if not (isinstance(scalars, dict) and all(isinstance(state, dict) for state in scalars.values())):
            raise ValueError("scalars of an optimizer are not an object of objects")


def _saved(tensor: Any) -> Tensor:
    """A copy in main memory of a tensor, with all its shards."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"a state of {type(tensor)} cannot be saved; expected tensors")
    return gathered(tensor.detach()).to("cpu", copy=True).contiguous()


def _placed(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor, sharded as `like` is. Each process takes its shards of the whole, which it has read itself."""
    if isinstance(like, DTensor):
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
    return tensor


@contextlib.contextmanager
def _located(where: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None

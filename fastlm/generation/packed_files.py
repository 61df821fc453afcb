"""Models that decode from mapped files: weights of 8 or 4 bits are packed once, and kept in the model's folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fastlm.files.atomic import replacing
from fastlm.generation.decoding import KVCache
from fastlm.generation.file_rows import FileRows
from fastlm.generation.packing import (
    MATRIX_DTYPES,
    MAX_TOKENS,
    VECTOR_DTYPES,
    KernelStep,
    Packed,
    empty_matrices,
    fits,
    in_place,
    packed_starts,
)
from fastlm.kernels import decode_lm as kernel
from fastlm.model import files, hf, hf_weights
from fastlm.model.safetensors_file import read_archive, write_archive
from fastlm.model.transformer import TransformerLM
from fastlm.tokenizer import Tokenizer

WeightKind = Literal["float32", "bfloat16", "int8", "int4"]
_KINDS = {"int8": kernel.INT8, "int4": kernel.INT4}
_VERSION = 1


class MappedStep(KernelStep):
    """A KernelStep that also processes prompts, so that no other copy of the weights is read.

    Attributes:
        file_rows: The embedding's rows in a file, to be read there in place of the model's matrix.
    """

    file_rows: FileRows | None = None

    def _embedded(self, token_ids: Tensor) -> Tensor:
        return super()._embedded(token_ids) if self.file_rows is None else self.file_rows(token_ids)

    @torch.no_grad()
    def prefill(self, prompts: Sequence[Sequence[int]], cache: KVCache) -> Tensor:
        """Processes prompts, some tokens at a time, as `generation.prefill` does.

        Args:
            prompts: B lists of ids, each of at least one.
            cache: The cache to fill.

        Returns:
            Logits of the token after each prompt, (B, V).
        """
        logits = []
        for row, prompt in enumerate(prompts):
            ids = torch.tensor(prompt)
            self._check_cache(ids, cache, len(ids))
            # the last token alone, because only its logits are needed
            for first, last in _chunks(len(ids)):
                places = torch.arange(first, last)
                rows = torch.full((last - first,), row)
                needed = last == len(ids)
                found = self._logits(ids[first:last], places, rows, cache, needed=needed)
            logits.append(found[-1])
        cache.lengths.copy_(torch.tensor([len(prompt) for prompt in prompts]))
        return torch.stack(logits)


def decoding_model(
    folder: str | os.PathLike[str], tokenizer: Tokenizer | None = None, *, kind: WeightKind, num_threads: int = 1
) -> tuple[TransformerLM, KernelStep]:
    """Loads a model to decode it on the CPU, without a second copy of its weights.

    Weights in the dtype of the files are decoded from the mapped files, where the kernel can read them in place.
    Weights of 8 and 4 bits are packed at the first call, and kept in the folder in a file with a checksum, which later
    calls map. They are packed again when the model's files have changed. The files must not change while the model is
    in use.

    Args:
        folder: A folder of transformers or of fastlm.
        tokenizer: The tokenizer that makes the ids; see `import_llama`.
        kind: Kind of the weights in the kernel.
        num_threads: Number of threads that compute a step.

    Returns:
        The model, whose weights are mapped, and the step.

    Raises:
        OSError: A file cannot be read.
        ValueError: The folder holds no model that fastlm computes, or the kind is unknown.
    """
    folder = Path(folder)
    if kind not in ("float32", "bfloat16", *_KINDS):
        raise ValueError(f"kind is {kind!r}; expected float32, bfloat16, int8 or int4")
    if kind in _KINDS:
        model = _load(folder, tokenizer, None)
        return model, _packed_step(model, folder, kind, num_threads)
    dtype = torch.float32 if kind == "float32" else torch.bfloat16
    model = _load(folder, tokenizer, dtype)
    # torch processes prompts faster than the kernel where its products read the same weights
    step_type = KernelStep if kind == "float32" else _step_type(model)
    # after a conversion the weights are in memory, and a copy would be a second one
    return model, step_type(model, num_threads=num_threads, copy=not in_place(model))


def _load(folder: Path, tokenizer: Tokenizer | None, dtype: torch.dtype | None) -> TransformerLM:
    read = files.load_model if (folder / files.CONFIG).exists() else hf.import_llama
    model = read(folder, tokenizer, dtype=dtype, mapped=True)
    # torch processes prompts in the dtype of the model, the kernel in float32
    dtypes = VECTOR_DTYPES if dtype is None and _step_type(model) is MappedStep else MATRIX_DTYPES
    return model if fits(model, dtypes) else model.float()


def _step_type(model: TransformerLM) -> type[KernelStep]:
    """A step that processes prompts too, unless positions depend on their lengths, as torch's prefill computes them."""
    scaling = model.config.rope_scaling
    return KernelStep if scaling is not None and scaling.depends_on_length else MappedStep


def _packed_step(model: TransformerLM, folder: Path, kind: str, num_threads: int) -> KernelStep:
    path = folder / f"fastlm.{kind}.safetensors"
    wanted = {
        "version": _VERSION,
        "kind": kind,
        "config": model.config.to_dict(),
        "source": _source(folder),
    }
    # the kernel checks nothing, so where each matrix begins follows from the model and not from a file
    starts = packed_starts(model)
    packed = _read(path, kind, wanted, starts)
    if packed is None:
        made = KernelStep(model, int8=kind == "int8", int4=kind == "int4")
        _write(path, made.packed, wanted)
        packed = _read(path, kind, wanted, starts) or made.packed
    step = _step_type(model)(model, num_threads=num_threads, packed=packed)
    if isinstance(step, MappedStep):
        # the embedding is the only matrix of the model that the step reads
        step.file_rows = FileRows.of(*_embedding_of(folder), model.token_embeddings.weight)
    return step


def _embedding_of(folder: Path) -> tuple[Path, str]:
    """The file and the name of the embedding in a folder whose model is loaded."""
    if (folder / files.CONFIG).exists():
        return folder / files.WEIGHTS, "token_embeddings.weight"
    return hf_weights.file_of(folder, hf_weights.EMBEDDING), hf_weights.EMBEDDING


def _source(folder: Path) -> list[list[Any]]:
    """What tells whether the files of a model have changed: name, size and time of each."""
    names = sorted(path.name for path in folder.glob("*.safetensors") if not path.name.startswith("fastlm."))
    found = []
    for name in [*names, hf.CONFIG, files.CONFIG]:
        if (folder / name).exists():
            stat = (folder / name).stat()
            found.append([name, stat.st_size, stat.st_mtime_ns])
    return found


def _read(path: Path, kind: str, wanted: dict[str, Any], starts: list[int]) -> Packed | None:
    """The matrices of a file, mapped; None where the file is missing, damaged, or of another model."""
    if not path.exists():
        return None
    try:
        _, tensors, document = read_archive(path, mapped=True)
        numbers, scales = tensors["numbers"].numpy(), tensors["scales"].numpy()
    except (ValueError, KeyError):
        return None
    matrices = empty_matrices(_KINDS[kind], starts[-1], 0, 0)
    named: dict[str, Any] = {"quantized": numbers.view(np.int8)} if kind == "int8" else {"nibbles": numbers}
    mapped = matrices._replace(scales=scales, **named)
    same = all((a.shape, a.dtype) == (b.shape, b.dtype) for a, b in zip(mapped, matrices, strict=True))
    return Packed(_KINDS[kind], mapped, tuple(starts[:-1])) if same and document == wanted else None


def _write(path: Path, packed: Packed, wanted: dict[str, Any]) -> None:
    """Keeps packed matrices in a file, where the folder can be written."""
    numbers = packed.matrices.quantized if packed.kind == kernel.INT8 else packed.matrices.nibbles
    tensors = {
        "numbers": torch.from_numpy(numbers.view(np.uint8)),
        "scales": torch.from_numpy(packed.matrices.scales),
    }
    if not os.access(path.parent, os.W_OK):
        return
    with replacing(path) as file:
        write_archive(file, tensors, wanted)


def _chunks(length: int) -> list[tuple[int, int]]:
    """The tokens of a prompt in parts of at most MAX_TOKENS, the last one alone."""
    return list(pairwise([*range(0, length - 1, MAX_TOKENS), length - 1, length]))

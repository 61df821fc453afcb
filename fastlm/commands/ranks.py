"""The options --rank and --world-size of commands that share a job."""

from __future__ import annotations

import os
from typing import Annotated

from fastlm.commands.inputs import option
from fastlm.corpus.ranks import Rank

RankOption = Annotated[str | None, option("INT|auto")]
WorldSize = Annotated[int | None, option("INT")]
AUTO = "auto"
# the number of a task and of all tasks, by scheduler
_VARIABLES = (
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("RANK", "WORLD_SIZE"),
)


def rank_of(rank: str | None, world_size: int | None) -> Rank | None:
    """The rank that the options name; None without them.

    Args:
        rank: A number, or "auto" for the variables of a scheduler.
        world_size: The number of processes; with "auto" by default the scheduler's.

    Raises:
        ValueError: The options are incomplete or out of range, or no scheduler has set its variables.
    """
    if rank is None:
        if world_size is not None:
            raise ValueError("--world-size needs --rank")
        return None
    if rank == AUTO:
        for number, count in _VARIABLES:
            if number in os.environ and (world_size is not None or count in os.environ):
                return Rank(_int(os.environ[number], number), world_size or _int(os.environ[count], count))
        known = " or ".join(" and ".join(names) for names in _VARIABLES)
        raise ValueError(f"--rank auto needs the variables {known}")
    if world_size is None:
        raise ValueError("--rank needs --world-size")
    return Rank(_int(rank, "--rank"), world_size)


def _int(text: str, name: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{name} must be an integer of at least 0, got {text!r}")
    return int(text)

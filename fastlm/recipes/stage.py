"""What a stage is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastlm.recipes.recipe import Recipe


@dataclass(frozen=True)
class StageJob:
    """The work of a stage.

    Attributes:
        recipe: The recipe.
        run: Directory of the run.
        folder: Folder to write to. It may have the files of an earlier process that was stopped in the same work.
    """

    recipe: Recipe
    run: Path
    folder: Path

    def finished(self, stage: str) -> Path:
        """The folder of another stage, which is finished."""
        return self.run / stage


@dataclass(frozen=True)
class StageResult:
    """What a stage made.

    Attributes:
        outputs: Files and folders, by path in the folder of the stage, that later stages depend on. They are the same
            in each run of the same stage, so they have no times.
        figures: What the stage reports, with values that JSON can represent.
        summary: The figures as a line of text.
    """

    outputs: list[str]
    figures: dict[str, Any]
    summary: str


@dataclass(frozen=True)
class Stage:
    """A stage of a run.

    Attributes:
        name: Its name, and that of its folder.
        needs: The stages whose outputs it reads.
        work: Does the work. It may be killed at any moment, and is then called again.
        options: Everything else that decides its outputs, with values that JSON can represent.
        versions: What an unfinished stage needs unchanged to be continued, besides its inputs and options, from the
            recipe and the directory of the run.
        version: Grows when a stage makes other outputs of the same options.
    """

    name: str
    needs: tuple[str, ...]
    work: Callable[[StageJob], StageResult]
    options: Callable[[Recipe], Any] = field(default=lambda recipe: None)
    versions: Callable[[Recipe, Path], Any] = field(default=lambda recipe, run: None)
    version: int = 1

"""`fastlm run`: a whole run from a corpus to a report."""

from __future__ import annotations

from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from fastlm.commands.inputs import OptionalPath, option
from fastlm.commands.output import say


def run(
    recipe: Annotated[Positional[str], arg(metavar="RECIPE")],
    /,
    out: OptionalPath = None,
    corpus: Annotated[tuple[str, ...], option("[INPUT ...]")] = (),
    validation_corpus: Annotated[tuple[str, ...], option("[INPUT ...]")] = (),
    set: Annotated[UseAppendAction[tuple[str, ...]], option("NAME=VALUE")] = (),  # noqa: A002 - the name of the option
    until: str = "report",
    dry_run: bool = False,
) -> None:
    """Run a recipe: corpus, tokenizer, shards, training, evaluation, export, report.

    A stage is skipped if its options, and the contents that it reads, are unchanged. The same command continues a run
    that was stopped at any moment.

    Args:
        recipe: A recipe of fastlm (embedded, tinystories, laptop), or a .toml file.
        out: Directory of the run; by default the one that the recipe names.
        corpus: Text to use instead of the recipe's: files, directories, globs or addresses.
        validation_corpus: Text for evaluation only; by default, with --corpus, a hundredth of the documents.
        set: A field of the recipe and its value, such as training.steps=100; repeat the option for several.
        until: Last stage to run.
        dry_run: Check the recipe, print which stages would run and what training would cost, and write nothing.
    """
    from fastlm.recipes.recipe import load_recipe, parse_change

    changes: dict[str, Any] = {} if out is None else {"out": str(out)}
    changes |= _of_corpus(corpus, validation_corpus)
    changes |= dict(map(parse_change, set))
    loaded = load_recipe(recipe, changes)
    if dry_run:
        from fastlm.recipes.cost import training_plan
        from fastlm.recipes.run import STAGES, unchanged_stages

        unchanged = unchanged_stages(loaded)
        for stage in STAGES:
            say(f"{stage.name}: {'unchanged' if stage.name in unchanged else 'would run'}")
        plan = training_plan(loaded)
        for line in (plan.first_line(), *plan.cost_lines()):
            say(f"training: {line}")
        return
    from fastlm.recipes.run import run_recipe

    folder = run_recipe(loaded, say, until)
    if until == "report":
        say(f"report in {folder / 'report' / 'report.md'}, model in {folder / 'training' / 'model'}")


def _of_corpus(corpus: tuple[str, ...], validation_corpus: tuple[str, ...]) -> dict[str, Any]:
    """The changes of a recipe that another corpus means."""
    changes: dict[str, Any] = {}
    if corpus:
        changes |= {"corpus.embedded": False, "corpus.inputs": list(corpus), "corpus.validation_inputs": []}
        if not validation_corpus:
            changes["shards.validation_fraction"] = 0.01
    if validation_corpus:
        changes |= {"corpus.validation_inputs": list(validation_corpus), "shards.validation_fraction": 0.0}
    return changes

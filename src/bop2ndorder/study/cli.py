"""The command line. Snakemake, DVC and a person call the same commands.

Imports stand inside the commands, so that each starts as fast as what it does allows.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .numerics import pin
from .sentences import Sentence, Sentences, echo, one
from .workflow.failures import Failed, noted
from .workflow.processes import end_with_caller, tidy_at_sigterm

if TYPE_CHECKING:
    from .workflow.products import Workflow


@click.group(cls=Sentences)
@click.version_option(package_name="bop2ndorder")
@click.option(
    "--params",
    default="params.yaml",
    show_default=True,
    help="The file of the study. All paths count from the nearest folder, upward, that has it; "
    "from here, where its path is absolute.",
)
@click.option("--scale", help="quick, small or paper; by default the file's.")
@click.option(
    "--work", type=Path, default=".", show_default=True, help="Where data, runs and logs go."
)
@click.pass_context
def main(ctx: click.Context, params: str, scale: str | None, work: Path) -> None:
    """Reproduce, and look beyond, "A Bop and Beyond" (2021).

    `snakemake` calls the commands in their order, for all runs; by hand, begin with `bop2ndorder
    plan`, which says what there is to do. `bop2ndorder COMMAND --help` explains each.
    """
    end_with_caller()
    pin("numpy")  # whatever the command computes
    ctx.obj = lambda: _workflow(params, scale, work)


def _workflow(params: str, scale: str | None, work: Path) -> "Workflow":
    from .config import ParamsError, load_study
    from .workflow.products import Workflow

    try:
        study = load_study(params, **({"scale": scale} if scale else {}))
    except ParamsError as error:
        raise Failed(str(error)) from None
    return Workflow(study, study.scale, work, params)


Load = Callable[[], "Workflow"]


@main.command()
@click.argument("name")
@click.pass_obj
def prepare(load: Load, name: str) -> None:
    """Make the data set NAME, which ends in a hash.

    A NAME that is none is answered with those of the scale.
    """
    workflow = load()
    found = {run.data: run.settings for run in workflow.runs.values()}
    settings = one(found, name, "data set")
    from .data.preparation import prepare

    source, target = workflow.study.local.get(settings.data.source), workflow.data(name)
    with noted(workflow.note(name), target):
        prepare(settings.data.prepared(), target, Path(source) if source else None)


@main.command()
@click.argument("run")
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    help="How old a checkpoint gets before an epoch writes the next; by default each does.",
)
@click.option(
    "--runs-per-gpu",
    type=click.IntRange(min=1),
    default=1,
    help="How many runs share a GPU, the same for all at work; by default each has its own.",
)
@click.option(
    "--tensorboard",
    type=Path,
    metavar="FOLDER",
    help="Write what TensorBoard shows to FOLDER/RUN; needs the extra tensorboard.",
)
@click.pass_obj
def train(
    load: Load,
    run: str,
    checkpoint_every: float,
    runs_per_gpu: int,
    tensorboard: Path | None,
) -> None:
    """Train RUN, an id of `plan --list`, from where it was stopped if it was."""
    workflow = load()
    planned = one(workflow.runs, run, "run")
    from .workflow.launch import launch

    launch(workflow, planned, checkpoint_every, runs_per_gpu, tensorboard)


@main.command()
@click.argument("runs", nargs=-1, required=True)
@click.pass_obj
def evaluate(load: Load, runs: tuple[str, ...]) -> None:
    """Check the files of RUNS and write their records.

    A network that came with git and is not trained here answers its images again instead.
    """
    from .run.evaluate import accuracy
    from .workflow.answer import answer_again, is_only_shipped
    from .workflow.make import write_record

    workflow = load()
    for run in runs:
        one(workflow.runs, run, "run")
        if is_only_shipped(workflow, run):
            (split, top1), note = answer_again(workflow, run), ", as its record says"
        else:
            (split, top1), note = accuracy(write_record(workflow, run)), ""
        echo(f"{run}: {split} top-1 {top1:.2f} %{note}")


def _product(command: str, kind: str, text: str, *parameters: click.Parameter) -> None:
    """Add a command that makes a product of the records."""

    @click.pass_obj
    def make(load: Load, experiment: str | None = None) -> None:
        workflow = load()
        if experiment is not None:
            one(workflow.experiments, experiment, "experiment")
        from .workflow.make import make

        product = kind if experiment is None else f"{kind}-{experiment}"
        key = workflow.key(product)  # of what is there now, whatever changes meanwhile
        # What is made in part counts as not made.
        workflow.key_file(product).unlink(missing_ok=True)
        make(workflow, product)
        workflow.mark(product, key)

    main.add_command(Sentence(command, callback=make, params=[*parameters], help=text))


EXPERIMENT = click.Argument(["experiment"])
_product("analyse", "analysis", "Make tables and figures of EXPERIMENT.", EXPERIMENT)
_product("notebook", "notebook", "Run the notebook of EXPERIMENT.", EXPERIMENT)
_product("metrics", "metrics", "Make what `dvc metrics` and `dvc plots` show.")
_product("claims", "claims", "Make claims.csv, a verdict for each claim.")
_product("report", "report", "Make the report page from tables and figures.")


@main.command()
@click.pass_obj
def salvage(load: Load) -> None:
    """After a failure, make the report of what is there."""
    from .workflow.make import salvage

    for line in salvage(load()):
        echo(line, err=True)


@main.command()
@click.argument("experiment")
@click.pass_obj
def ship(load: Load, experiment: str) -> None:
    """Copy a network of each row of EXPERIMENT's table to git.

    It is the first seed's, with one bit for each binary weight, in results/SCALE/models, with a
    card that says what it is.
    """
    workflow = load()
    one(workflow.experiments, experiment, "experiment")
    from .workflow.ship import ship

    echo(f"written: {ship(workflow, experiment)}")


@main.command()
@click.pass_obj
def readme(load: Load) -> None:
    """Bring the results that README.md shows up to date.

    They are those of the largest scale that has results.
    """
    workflow = load()
    from .analysis.pages.readme import write_readme

    write_readme(Path("README.md"), workflow.results.parent, workflow.study.claims)


@main.command()
@click.option("--list", "every", is_flag=True, help="A line for every run.")
@click.pass_obj
def plan(load: Load, every: bool) -> None:
    """What is done, what is left to do, and how long it may take."""
    from .workflow.plan import describe

    echo(describe(load(), every))


@main.command()
@click.option("--retrain", type=click.IntRange(1), metavar="N", help="Train N recorded runs first.")
@click.option("--seed", type=click.IntRange(0), help="Draws them; by default the clock's.")
@click.pass_obj
def verify(load: Load, retrain: int | None, seed: int | None) -> None:
    """Hold the runs on this machine against the committed records.

    The exit code is 1 where a run is not reproduced though all that may change its bits is equal, 2
    where no run is here. With --retrain, runs drawn by chance are trained from nothing in a
    temporary folder, which is removed afterwards.
    """
    from .workflow.verify import NOTHING, Kind, describe, verify

    workflow = load()
    if retrain:
        from .workflow.retrain import retrain as again

        outcomes = again(workflow, retrain, seed)
    elif seed is not None:
        raise Failed("--seed draws the runs that --retrain trains: give it with --retrain N")
    else:
        outcomes = verify(workflow)
    if all(outcome.kind == Kind.ABSENT for outcome in outcomes):
        echo(f"Error: verify: {NOTHING}", err=True)
        sys.exit(2)
    echo(describe(outcomes))
    sys.exit(any(outcome.kind == Kind.FAILED for outcome in outcomes))


@main.command()
@click.option("--only", default="", help="Only kinds of run with this text in their name.")
@click.option("--check", is_flag=True, help="Show it again, though it is noted.")
@click.option("--begin", is_flag=True, help="HEAD's code does something new: begin with it.")
@click.pass_obj
def same(load: Load, only: str, check: bool, begin: bool) -> None:
    """Show that edited code does the same: runs keep their names.

    A run's id holds a hash of the code that trains. Code that gives the same bits as an earlier
    one, in short trainings of every kind, is noted as equal to it in codes.json.
    """
    from .workflow import same as module

    tidy_at_sigterm()
    equal, text = (True, module.begin()) if begin else module.same(load().study, only, check)
    echo(text)
    sys.exit(0 if equal else 1)


@main.command(hidden=True, cls=click.Command)  # for `same`, in no folder of a study
@click.argument("task", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def exercise(task: Path, out: Path) -> None:
    """Do the short trainings that the file TASK lists, what they did goes to OUT; see `same`."""
    from .run.exercise import exercise

    exercise(task, out)


@main.command()
@click.pass_obj
def shelve(load: Load) -> None:
    """Put aside runs that the study no longer names.

    They and their records go to .stale; those there that it names again are taken back. `make
    clean-stale` deletes what is there.
    """
    from .workflow.shelf import shelve

    for line in shelve(load()):
        echo(line)

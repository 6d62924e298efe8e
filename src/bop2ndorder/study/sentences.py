"""What a command says: its text, the names that it knows, and one sentence where it fails."""

import os
import re
import sys
from typing import Any

import click

from .workflow.failures import Failed, noted


class Sentence(click.Command):
    """Works in the study's folder, and ends, where it fails, with one sentence.

    It tells command, run, what is wrong, and the log.
    """

    def invoke(self, ctx: click.Context) -> Any:
        given = ctx.find_root().params
        subject = " ".join([self.name, *(v for v in ctx.params.values() if type(v) is str and v)])
        log = f"{re.sub(r'[^a-z0-9._-]+', '-', subject)}.txt"
        try:
            _enter(given["params"])
            with noted(given["work"] / "logs" / "failed" / log):
                return super().invoke(ctx)
        except Failed as failed:
            raise click.ClickException(f"{subject}: {failed}") from failed


class Sentences(click.Group):
    """The group of all commands; each is a `Sentence`, also where it fails."""

    command_class = Sentence

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a study needs them, which is that of cli.py."""
        return list(self.commands)


def echo(text: str, err: bool = False) -> None:
    """Print a text; what reads it, as `head`, may have seen enough."""
    try:
        click.echo(text, err=err)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one(known: Any, name: str, what: str) -> Any:
    """The thing of that name, or a sentence that tells the names, or where they are."""
    if name not in known:
        names = (
            "`bop2ndorder plan --list` lists them (an id changes with the settings and the code "
            "that decide the result)"
            if what == "run"
            else f"it has {', '.join(known)}"
        )
        raise Failed(f"no {what} {name!r} in this scale of the study: {names}")
    return known[name] if isinstance(known, dict) else name


def _enter(params: str) -> None:
    """Change into the study's folder; see `enter_root`."""
    from .config import ParamsError, enter_root

    try:
        enter_root(params)
    except ParamsError as error:
        raise Failed(str(error)) from None

"""The command line: `wsss init`, `check`, `plan`, `why`, `done`."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated

import typer

from wsss.errors import UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Weakly supervised semantic segmentation, from image-level labels to the tables of the papers.",
)
Config = Annotated[list[Path] | None, typer.Option("--configfile", "-c", help="Settings on top of config.yaml.")]


def _one_line_errors(command: Callable[..., None]) -> Callable[..., None]:
    @wraps(command)
    def wrapped(*arguments: object, **options: object) -> None:
        try:
            command(*arguments, **options)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(1) from None

    return wrapped


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@_one_line_errors
def plan(context: typer.Context) -> None:
    """Say what the next run will do and why; takes the arguments of snakemake (--configfile, targets)."""
    from wsss.plan import plan as describe

    print(describe(context.args))


@app.command()
@_one_line_errors
def why(path: Annotated[Path, typer.Argument(help="A file or folder below results/.")]) -> None:
    """Print what produced a result: settings, code, data, versions, costs, and its parents."""
    from wsss.why import why as explain

    print(explain(path))

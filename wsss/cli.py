"""The command line: `wsss init`, `check`, `plan`, `why`, `show`, `tables`, `warm`."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated

import typer

from wsss.config import ROOT, merge, read_yaml, resolve
from wsss.errors import UserError, one_line
from wsss.settings import Settings

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


def _settings(files: list[Path] | None) -> Settings:
    overlay: dict[str, object] = {}
    for path in files or []:
        overlay = merge(overlay, read_yaml(path))
    return resolve(overlay)


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


@app.command()
@_one_line_errors
def show(configfile: Config = None) -> None:
    """Print the first table of a configuration's results, and where all tables, figures and the report lie."""
    from wsss.targets import built_figures, built_tables

    settings = _settings(configfile)
    root = Path("results", settings.dataset)
    tables = [root / "tables" / f"{name}.md" for name in built_tables(settings)]
    figures = [root / "figures" / f"{name}.png" for name in built_figures(settings)]
    for table in tables[:1]:
        if not table.is_file():
            raise UserError(f"{table}: is not there yet; run snakemake with this configuration")
        print(table.read_text(encoding="utf-8"))
    print("Tables (also .csv, .html, .tex):", *tables, sep="\n  ")
    print("Figures:", *figures, sep="\n  ")
    print(f"Report:\n  {root / 'report.html'}")


@app.command()
@_one_line_errors
def tables(configfile: Config = None) -> None:
    """Make the tables from what exists, after a run that failed in parts; what is missing gets the status `failed`."""
    from wsss import chains, targets
    from wsss.data.manifest import read_manifest
    from wsss.tables import build

    settings = _settings(configfile)
    root = Path("results", settings.dataset)
    for name, table in targets.built_tables(settings).items():
        cells = targets.evaluations(settings, table)
        build(
            name=name,
            definition=table.model_dump(mode="json", exclude_none=True),
            classes=read_manifest(root / "data").classes,
            evaluations={cell: root / chains.evaluation_path(*cell) for cell in cells},
            seeds=table.seeds or settings.seeds,
            published=ROOT / "published",
            out_prefix=root / "tables" / name,
            voc=settings.data.source == "voc",
            allow_missing=True,
            test_scores=getattr(settings.data, "test_scores", None),
        )
        print(root / "tables" / f"{name}.md")


@app.command()
@_one_line_errors
def init(
    path: Annotated[Path, typer.Argument(help="VOC layout, a CSV image,labels with a folder, or a folder per class.")],
    name: Annotated[str, typer.Option(help="Name of the data set: results/NAME, config/NAME.yaml.")],
    preset: Annotated[str, typer.Option(help="tiny, small (MobileNetV2) or paper.")] = "small",
    weights: Annotated[Path | None, typer.Option(help="Initial weights for the preset's network, from a file.")] = None,
    force: Annotated[bool, typer.Option(help="Overwrite config/NAME.yaml.")] = False,
) -> None:
    """Recognise a folder of images, write config/NAME.yaml, and print the command that runs it."""
    from wsss.data import init as own

    target = own.init(path, name, preset, weights=weights, force=force)
    print(own.summary(path))
    print(f"wrote {target}; run it with:\n  {own.command(target)}")


@app.command()
@_one_line_errors
def check(configfile: Config = None) -> None:
    """Validate settings and data; lists every fault at once, with file names."""
    from wsss import targets
    from wsss.data.check import check as faults_of

    settings = _settings(configfile)
    folder = Path("results", settings.dataset, "data")
    findings = targets.faults(settings) + faults_of(
        settings.data.model_dump(mode="json"), folder if folder.is_dir() else None
    )
    for line in findings:
        print(one_line(line))
    faults = [line for line in findings if not line.startswith("warning")]
    print(f"{settings.dataset}: {len(faults)} fault(s), {len(findings) - len(faults)} warning(s)")
    if faults:
        raise typer.Exit(1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@_one_line_errors
def warm(context: typer.Context) -> None:
    """Run a command (snakemake with its arguments) whose jobs are forks of one process: no time lost on imports.

    Without a command: compile the kernels, so that no job has to.
    """
    from wsss.warm import load, serve

    if context.args:
        raise typer.Exit(serve(context.args))
    load()


if __name__ == "__main__":
    app()

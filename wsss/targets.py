"""What a run makes: the tables and figures that `build` selects, the evaluations behind them, and their faults."""

import difflib
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from wsss import chains, interface, slices
from wsss.config import ROOT
from wsss.errors import UserError
from wsss.figure_settings import Curve, Figure, Montage, Words
from wsss.published import VOC_CLASSES, read_published
from wsss.server_scores import read_server_scores, refuse_unknown
from wsss.settings import TRAINED, Settings
from wsss.table_settings import Table


def built_tables(settings: Settings) -> dict[str, Table]:
    """The tables that `build` selects; UserError when a pattern matches none or a chain is impossible."""
    known = [*settings.tables, *settings.figures]
    for pattern in settings.build:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise UserError(f"build: no table or figure matches '{pattern}'; there are: {', '.join(known)}")
    tables = settings.tables
    chosen = {name: tables[name].with_rounds(settings.rounds) for name in tables if _selected(settings, name)}
    published = read_published(ROOT / "published")
    for name, table in chosen.items():
        _check_splits(settings, table.splits, f"tables.{name}.splits")
        for row in table.rows:
            where = f"tables.{name}, row '{row.row}'"
            _check_splits(settings, row.splits or (), f"{where}, splits")
            for key in ("published", "quoted"):
                if reference := getattr(row, key):
                    published.check(reference, f"{where}, {key}")
            for chain in chains_of_row(row):
                chains.check_chain(settings, chain, where)
                _refuse_unscored(settings, chain, where)
    return chosen


def _check_splits(settings: Settings, names: Sequence[str], where: str) -> None:
    """Columns for splits that a data set lacks are left out; names that no data set has are misspelt."""
    known = list(dict.fromkeys((*settings.data.evaluate, "train", "val", "test")))
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"scored splits are: {', '.join(known)}"
            raise UserError(f"{where}: there is no scored split '{name}'; {hint}")


def built_figures(settings: Settings) -> dict[str, Figure]:
    """The figures that `build` selects, of scored splits; UserError when a chain is impossible."""
    chosen = {
        name: figure.with_rounds(settings.rounds) if isinstance(figure, Montage) else figure
        for name, figure in settings.figures.items()
        if _selected(settings, name) and figure.split in settings.data.evaluate
    }
    for name, figure in chosen.items():
        for chain in figure.chains:
            chains.check_chain(settings, chain, f"figures.{name}")
            refuse = _refuse_wordless if isinstance(figure, Words) else _refuse_unscored
            refuse(settings, chain, f"figures.{name}")
    return chosen


def _selected(settings: Settings, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in settings.build)


def _refuse_wordless(settings: Settings, chain: Sequence[str], where: str) -> None:
    network = settings.classify.get(chain[-1])
    if network is None or not interface.provides("methods", network.method, "word_map"):
        raise UserError(f"{where}: ends in {chain[-1]}, which is no classifier with visual words (word_map)")


def _refuse_unscored(settings: Settings, chain: Sequence[str], where: str) -> None:
    stage = chains.stage_of(settings, chain[-1])
    if stage == "pseudo" and len(chain) == 1:
        raise UserError(f"{where}: {chain[-1]} is the ground truth itself; add a network that learns from it")
    if stage not in chains.SCORED:
        raise UserError(
            f"{where}: ends in {chain[-1]} ({stage}), which has no score; add a variant of {', '.join(chains.SCORED)}"
        )


def faults(settings: Settings) -> list[str]:
    """Every fault of variants, their options and the tables' chains that the types alone do not show."""
    checks: list[Callable[[], object]] = [lambda: built_tables(settings), lambda: built_figures(settings)]
    for stage in TRAINED:
        checks += [partial(slices.train_config, settings, stage, name) for name in getattr(settings, stage)]
    checks += [partial(slices.refine_config, settings, name) for name in settings.refine]
    checks += [partial(slices.affinity_labels_config, settings, name) for name in settings.affinity]
    checks.append(lambda: _check_server_scores(settings))
    found = []
    for check in checks:
        try:
            check()
        except UserError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))


def _check_server_scores(settings: Settings) -> None:
    if settings.data.source == "voc" and (path := settings.data.test_scores):
        tables = [table.with_rounds(settings.rounds) for table in settings.tables.values()]
        runs = [run for table in tables for run in _tested(settings, table)]
        refuse_unknown(read_server_scores(path, VOC_CLASSES), runs, path)


def chains_of_row(row: Any) -> list[list[str]]:
    """The chains that must run for a row."""
    return ([row.chain] if row.chain else []) + (row.mean_of or [])


def evaluations(settings: Settings, table: Table) -> list[tuple[tuple[str, ...], int, str]]:
    """All (chain, seed, split) whose evaluation fills a cell of the table."""
    found = {
        (tuple(chain), seed, split): None
        for row in table.rows
        for chain in chains_of_row(row)
        for split in (row.splits or table.splits)
        if split in settings.data.evaluate
        for seed in (table.seeds or settings.seeds)
    }
    return list(found)


def archives(settings: Settings, table: Table) -> list[tuple[tuple[str, ...], int]]:
    """All (chain, seed) whose predictions of VOC's test split the table waits for; none without the test images."""
    return _tested(settings, table) if settings.data.source == "voc" and settings.data.test else []


def _tested(settings: Settings, table: Table) -> list[tuple[tuple[str, ...], int]]:
    return [
        (tuple(chain), seed)
        for row in table.rows
        for chain in chains_of_row(row)
        if "test" in (row.splits or table.splits) and chains.stage_of(settings, chain[-1]) == "predict"
        for seed in (table.seeds or settings.seeds)
    ]


def figure_evaluations(settings: Settings, figure: Figure) -> list[tuple[tuple[str, ...], int, str]]:
    """All (chain, seed, split) whose evaluation a figure needs: curves show all seeds, pictures the first."""
    if isinstance(figure, Words):
        return []
    seeds = settings.seeds if isinstance(figure, Curve) else settings.seeds[:1]
    return list(dict.fromkeys((tuple(chain), seed, figure.split) for chain in figure.chains for seed in seeds))

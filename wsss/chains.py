"""Chains: sequences of variant names that are the paths of results. What each stage reads, from settings alone.

    classify/<a>  cam/<a>/<b>  affinity/<a>/<b>/<c>  refine/<a>/<b>/<c>/<d>  pseudo/...  segment/...  predict/...

Every function that ends in `_config` returns the plain dict slice that is a rule's `params.config`.
"""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import PurePath
from typing import Any

from wsss import interface
from wsss.errors import UserError
from wsss.figure_settings import Curve, Figure, Words
from wsss.settings import STAGES, TRAINED, Network, Settings, Table

BEFORE = {
    "classify": (None,),
    "cam": ("classify",),
    "affinity": ("cam", "refine"),
    "refine": ("cam", "refine", "affinity"),
    "pseudo": ("cam", "refine"),
    "segment": ("pseudo", "predict"),
    "predict": ("segment",),
}
SCORED = ("cam", "refine", "pseudo", "predict")
"""Stages whose results are label or score maps, so that an evaluation of them exists."""

NEEDED = {"classify": "class_maps", "affinity": "labels", "segment": "logits", "refine": "refine"}
"""What a method must define to serve a stage."""

WEIGHT_FILES = {".pth", ".pt", ".params", ".safetensors"}
NETWORK_FILES = {"resnet50": "resnet", "resnet101": "resnet"}


def stage_of(settings: Settings, variant: str) -> str:
    """The stage under which a variant stands in the settings; UserError when none has it."""
    for stage in STAGES:
        if variant in getattr(settings, stage):
            return stage
    raise UserError(f"there is no variant '{variant}' under {', '.join(STAGES)}")


def check_chain(settings: Settings, chain: Sequence[str], where: str) -> None:
    """Refuse a chain whose stages do not follow each other, naming the table and row `where` it stands."""
    before: str | None = None
    for variant in chain:
        try:
            stage = stage_of(settings, variant)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        masks = stage == "pseudo" and settings.pseudo[variant].source == "ground_truth"
        if before not in ((None,) if masks else BEFORE[stage]):
            raise UserError(
                f"{where}: '{variant}' ({stage}) cannot follow {before or 'the images'} in {'/'.join(chain)}"
            )
        before = stage
    _check_walks(settings, chain, where)


def _check_walks(settings: Settings, chain: Sequence[str], where: str) -> None:
    """A refinement by a trained network stands behind that network, and nothing else does."""
    for before, name in zip((None, *chain), chain, strict=False):
        network = settings.affinity.get(before) if before else None
        if (name in walks(settings)) != (network is not None) or (
            network and network.method != settings.refine[name].method
        ):
            raise UserError(
                f"{where}: '{name}' cannot follow '{before}' in {'/'.join(chain)}; behind an affinity network stands a "
                "refinement by its own method, and such a refinement only there"
            )


def walks(settings: Settings) -> list[str]:
    """Refinements by a trained network: their method builds one."""
    methods = {name: given.method for name, given in settings.refine.items()}
    return [
        n for n, m in methods.items() if interface.exists("methods", m) and interface.provides("methods", m, "build")
    ]


def maps_before(settings: Settings, chain: Sequence[str]) -> Sequence[str]:
    """The chain up to the maps that the next stage reads: a network behind them holds none."""
    return chain[:-1] if chain[-1] in settings.affinity else chain


def variant(settings: Settings, name: str) -> Any:
    """Settings of a variant by its name."""
    return getattr(settings, stage_of(settings, name))[name]


def keeps_scores(settings: Settings, name: str) -> bool:
    """Whether a variant's result holds score maps, whose background threshold is still open."""
    stage = stage_of(settings, name)
    if stage == "refine":
        return interface.constant("methods", settings.refine[name].method, "OUTPUT", "scores") == "scores"
    return stage == "cam"


def network_config(settings: Settings, network: Network, where: str) -> dict[str, Any]:
    """Everything that builds a network: the keyword arguments of networks.assemble, defaults filled in."""
    role = settings.backbones[network.backbone]
    file = backbone_file(settings, network)
    if not interface.exists("backbones", file):
        known = sorted({*NETWORK_FILES, *interface.names("backbones")} - {*NETWORK_FILES.values()})
        raise UserError(
            f"backbones.{network.backbone}.network: there is no '{role.network}'; known: {', '.join(known)}"
        )
    given = role.options | ({"network": role.network} if file != role.network else {})
    return {
        "method": network.method,
        "network": file,
        "output_stride": network.output_stride,
        "backbone_options": _without(
            interface.options("backbones", file, given, f"backbones.{network.backbone}.options"),
            "output_stride",
        ),
        "options": interface.options("methods", network.method, network.options, f"{where}.options"),
    }


def backbone_file(settings: Settings, network: Network) -> str:
    """Name of the file in wsss/backbones that builds a network's backbone."""
    name = settings.backbones[network.backbone].network
    return NETWORK_FILES.get(name, name)


def _check_method(stage: str, name: str, method: str) -> None:
    try:
        suits = interface.provides("methods", method, NEEDED[stage])
    except UserError as error:
        raise UserError(f"{stage}.{name}.method: {error}") from None
    if not suits:
        raise UserError(f"{stage}.{name}.method: '{method}' cannot serve {stage} (it defines no {NEEDED[stage]})")


def initial_weights(settings: Settings, network: Network) -> str | None:
    """The file with a backbone's initial weights: the user's, the one that a rule downloads, or none."""
    role = settings.backbones[network.backbone]
    if role.weights == "none":
        return None
    if PurePath(role.weights).suffix in WEIGHT_FILES:
        return role.weights
    return f"resources/weights/{role.network}-{role.weights}.pth"


def train_config(settings: Settings, stage: str, name: str) -> dict[str, Any]:
    """Slice of a training rule: network and recipe."""
    network: Network = getattr(settings, stage)[name]
    _check_method(stage, name, network.method)
    _check_start(settings, network, f"{stage}.{name}")
    config = network_config(settings, network, f"{stage}.{name}") | {"start": network.start}
    if hook := interface.hook(network.method, stage):
        config["data_options"] = interface.options(
            "methods", network.method, network.data, f"{stage}.{name}.data", function=hook
        )
    elif network.data:
        raise UserError(f"{stage}.{name}.data: {network.method} has no options for its samples; remove the key")
    return config | {"recipe": settings.recipes[network.recipe].model_dump(mode="json")}


def _check_start(settings: Settings, network: Network, where: str) -> None:
    """A network that takes over another's weights needs that one, on the same backbone; others must not name one."""
    starts = interface.provides("methods", network.method, "start")
    if starts != (network.start is not None):
        remedy = "name the variant of classify that it starts from" if starts else "remove the key"
        raise UserError(f"{where}.start: {network.method} {'needs' if starts else 'cannot use'} one; {remedy}")
    if network.start and settings.classify[network.start].backbone != network.backbone:
        raise UserError(f"{where}.start: '{network.start}' stands on another backbone; use one on {network.backbone}")


def cam_config(settings: Settings, classify: str, name: str) -> dict[str, Any]:
    """Slice of CAM inference: scales, flip, order, and the network that it loads."""
    network = network_config(settings, settings.classify[classify], f"classify.{classify}")
    return settings.cam[name].model_dump(mode="json", exclude={"background"}) | {"network": network}


def refine_config(settings: Settings, name: str) -> dict[str, Any]:
    """Slice of a refinement: method, background threshold, options with defaults."""
    given = settings.refine[name]
    _check_method("refine", name, given.method)
    options = interface.options("methods", given.method, given.options, f"refine.{name}.options", function="refine")
    return given.model_dump(mode="json") | {"options": options}


def walk_config(settings: Settings, affinity: str, name: str) -> dict[str, Any]:
    """Slice of a refinement by a trained network: method, options, and the network that it loads."""
    network = network_config(settings, settings.affinity[affinity], f"affinity.{affinity}")
    return _without(refine_config(settings, name), "background") | {"network": network}


def affinity_labels_config(settings: Settings, name: str) -> dict[str, Any]:
    """Slice of an affinity network's training labels: method, threshold, options with defaults."""
    given = settings.affinity[name]
    _check_method("affinity", name, given.method)
    where = f"affinity.{name}.labels"
    options = interface.options("methods", given.method, given.labels, where, function="labels")
    return {"method": given.method, "background": given.background, "options": options}


def pseudo_config(settings: Settings, chain: Sequence[str], name: str) -> dict[str, Any]:
    """Slice of the pseudo labels; the threshold counts only when it is still open."""
    background = settings.pseudo[name].background if keeps_scores(settings, chain[-1]) else 0.0
    return {"background": background}


def predict_config(settings: Settings, segment: str, name: str) -> dict[str, Any]:
    """Slice of segmentation inference, with the network that it loads."""
    network = network_config(settings, settings.segment[segment], f"segment.{segment}")
    return settings.predict[name].model_dump(mode="json") | {"network": network}


def evaluate_config(settings: Settings, chain: Sequence[str], split: str) -> dict[str, Any]:
    """Slice of an evaluation: the fixed threshold, the held-out subset, the convention, the contract."""
    return {
        "chooses": split == threshold_split(settings),
        "fixed": _fixed_background(settings, chain) if keeps_scores(settings, chain[-1]) else None,
        "holdout": settings.evaluate.holdout,
        "convention": settings.evaluate.convention,
        "contract": contract(settings, chain),
    }


def threshold_split(settings: Settings) -> str:
    """The scored split on whose ground truth thresholds are chosen: one whose maps are those of the training images."""
    names = [name for name, holder in settings.data.evaluate.items() if holder == settings.data.train]
    return "train" if "train" in names else names[0] if names else settings.data.train


def contract(settings: Settings, chain: Sequence[str]) -> dict[str, Any]:
    """What a number of this chain rests on, as far as settings know: weights, scales, flips, CRF."""
    stages = {stage_of(settings, name): name for name in chain}
    last = stage_of(settings, chain[-1])
    inference = variant(settings, stages["predict"] if last == "predict" else stages["cam"])
    roles = [settings.backbones[variant(settings, stages[stage]).backbone] for stage in TRAINED if stage in stages]
    presets = [_preset(settings, name) for name in chain if name in settings.refine]
    found = {
        "convention": settings.evaluate.convention,
        "weights": ", ".join(f"{role.network}: {_weights_name(role.weights)}" for role in roles),
        "scales": " ".join(f"{scale:g}" for scale in inference.scales),
        "flip": str(inference.flip).lower(),
        "crf": inference.crf or "none" if last == "predict" else ", ".join(filter(None, presets)) or "none",
        "labels_at_inference": last != "predict" or inference.labels,
        "supervision": "masks" if "cam" not in stages else "image-level labels",
    }
    if not keeps_scores(settings, chain[-1]) and "cam" in stages:
        found["pseudo_threshold"] = _label_background(settings, chain)
    return found


def _preset(settings: Settings, name: str) -> str | None:
    """The CRF preset of a refinement; None where it has none."""
    return refine_config(settings, name)["options"].get("preset")


def needs_evaluation(settings: Settings, chain: Sequence[str], name: str) -> bool:
    """Whether stage variant `name` after `chain` needs the threshold that an evaluation of `chain` chooses."""
    maps = maps_before(settings, chain)
    return (
        name not in walks(settings)
        and keeps_scores(settings, maps[-1])
        and isinstance(variant(settings, name).background, str)
    )


def built_tables(settings: Settings) -> dict[str, Table]:
    """The tables that `build` selects; UserError when a pattern matches none or a chain is impossible."""
    known = [*settings.tables, *settings.figures]
    for pattern in settings.build:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise UserError(f"build: no table or figure matches '{pattern}'; there are: {', '.join(known)}")
    tables = settings.tables
    chosen = {name: tables[name].with_rounds(settings.rounds) for name in tables if _selected(settings, name)}
    for name, table in chosen.items():
        for row in table.rows:
            for chain in chains_of_row(row):
                check_chain(settings, chain, f"tables.{name}, row '{row.row}'")
                _refuse_unscored(settings, chain, f"tables.{name}, row '{row.row}'")
    return chosen


def built_figures(settings: Settings) -> dict[str, Figure]:
    """The figures that `build` selects, of scored splits; UserError when a chain is impossible."""
    chosen = {
        name: figure
        for name, figure in settings.figures.items()
        if _selected(settings, name) and figure.split in settings.data.evaluate
    }
    for name, figure in chosen.items():
        for chain in figure.chains:
            check_chain(settings, chain, f"figures.{name}")
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
    stage = stage_of(settings, chain[-1])
    if stage not in SCORED:
        raise UserError(
            f"{where}: ends in {chain[-1]} ({stage}), which has no score; add a variant of {', '.join(SCORED)}"
        )


def faults(settings: Settings) -> list[str]:
    """Every fault of variants, their options and the tables' chains that the types alone do not show."""
    checks: list[Callable[[], object]] = [lambda: built_tables(settings), lambda: built_figures(settings)]
    for stage in TRAINED:
        checks += [partial(train_config, settings, stage, name) for name in getattr(settings, stage)]
    checks += [partial(refine_config, settings, name) for name in settings.refine]
    checks += [partial(affinity_labels_config, settings, name) for name in settings.affinity]
    found = []
    for check in checks:
        try:
            check()
        except UserError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))


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


def figure_evaluations(settings: Settings, figure: Figure) -> list[tuple[tuple[str, ...], int, str]]:
    """All (chain, seed, split) whose evaluation a figure needs: curves show all seeds, pictures the first."""
    if isinstance(figure, Words):
        return []
    seeds = settings.seeds if isinstance(figure, Curve) else settings.seeds[:1]
    return list(dict.fromkeys((tuple(chain), seed, figure.split) for chain in figure.chains for seed in seeds))


def words_config(settings: Settings, classify: str) -> dict[str, Any]:
    """Slice of the visual words' assignment: the network that it loads."""
    return {"network": network_config(settings, settings.classify[classify], f"classify.{classify}")}


def _label_background(settings: Settings, chain: Sequence[str]) -> str:
    """The rule or number by which the score maps of a chain became labels."""
    position = max(i for i, name in enumerate(chain) if keeps_scores(settings, name))
    return str(variant(settings, chain[position + 1]).background)


def evaluation_path(chain: Sequence[str], seed: int | str, split: str) -> str:
    """Path of an evaluation below results/<dataset>/."""
    return f"evaluate/{'/'.join(chain)}/seed-{seed}/{split}.json"


def _fixed_background(settings: Settings, chain: Sequence[str]) -> float:
    for name in reversed(chain):
        background = getattr(variant(settings, name), "background", None)
        if isinstance(background, float | int):
            return float(background)
    return 0.15


def _weights_name(weights: str) -> str:
    return {
        "none": "random",
        "IMAGENET1K_V1": "ImageNet",
        "IMAGENET1K_V2": "ImageNet (V2)",
        "ADEMXAPP_A1": "ImageNet",
    }.get(weights, weights)


def _without(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}

"""Chains: sequences of variant names that are the paths of results; which stages may follow each other.

classify/<a>  cam/<a>/<b>  affinity/<a>/<b>/<c>  refine/<a>/<b>/<c>/<d>  pseudo/...  segment/...  predict/...
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from wsss import interface
from wsss.errors import UserError
from wsss.settings import STAGES, Settings

BEFORE = {
    "classify": (None,),
    "cam": ("classify",),
    "affinity": ("cam", "refine"),
    "refine": ("cam", "refine", "affinity"),
    "pseudo": ("cam", "refine"),
    "segment": ("pseudo", "predict"),
    "predict": ("segment",),
}

LEAST_SIDE = 16
"""Scales from here on are sides of squares in pixels, not factors."""

SCORED = ("cam", "refine", "pseudo", "predict")
"""Stages whose results are label or score maps, so that an evaluation of them exists."""


def stage_of(settings: Settings, variant: str) -> str:
    """The stage under which a variant stands in the settings; UserError when none has it."""
    for stage in STAGES:
        if variant in getattr(settings, stage):
            return stage
    raise UserError(f"there is no variant '{variant}' under {', '.join(STAGES)}")


def variant(settings: Settings, name: str) -> Any:
    """Settings of a variant by its name."""
    return getattr(settings, stage_of(settings, name))[name]


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
    for network, name in pairwise(chain):
        _check_inference(settings, network, name, where)
    for position, name in enumerate(chain[1:], 1):
        if stage_of(settings, name) in ("affinity", "refine"):
            maps = maps_before(settings, chain[:position])
            if not keeps_scores(settings, maps[-1]):
                raise UserError(f"{where}: '{name}' needs score maps, but '{maps[-1]}' before it makes labels")


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


def _check_inference(settings: Settings, network: str, name: str, where: str) -> None:
    """Networks that infer whole images by themselves know nothing of scales and flips, and others nothing of sides."""
    stage = stage_of(settings, name)
    if stage not in ("cam", "predict"):
        return
    own = interface.constant("methods", variant(settings, network).method, "OWN_INFERENCE", False)
    given = variant(settings, name)
    if stage == "predict":
        fits = not own or (given.scales == [1.0] and not given.flip)
        wanted = "scales: [1.0] and flip: false"
    elif own:
        fits = min(given.scales) >= LEAST_SIDE and given.flip == "none" and given.branch == "img"
        wanted = f"sides of at least {LEAST_SIDE} pixels as scales, flip: none and branch: img"
    else:
        fits = max(given.scales) < LEAST_SIDE
        wanted = f"scales below {LEAST_SIDE}"
    if not fits:
        raise UserError(f"{where}: {stage}.{name} does not suit '{network}', which needs {wanted}")


def walks(settings: Settings) -> list[str]:
    """Refinements by a trained network: their method builds one."""
    methods = {name: given.method for name, given in settings.refine.items()}
    return [
        n for n, m in methods.items() if interface.exists("methods", m) and interface.provides("methods", m, "build")
    ]


def maps_before(settings: Settings, chain: Sequence[str]) -> Sequence[str]:
    """The chain up to the maps that the next stage reads: a network behind them holds none."""
    return chain[:-1] if chain[-1] in settings.affinity else chain


def keeps_scores(settings: Settings, name: str) -> bool:
    """Whether a variant's result holds score maps, whose background threshold is still open."""
    stage = stage_of(settings, name)
    if stage == "refine":
        return interface.constant("methods", settings.refine[name].method, "OUTPUT", "scores") == "scores"
    return stage == "cam"


def needs_evaluation(settings: Settings, chain: Sequence[str], name: str) -> bool:
    """Whether stage variant `name` after `chain` needs the threshold that an evaluation of `chain` chooses."""
    maps = maps_before(settings, chain)
    return (
        name not in walks(settings)
        and uses_threshold(settings, name)
        and keeps_scores(settings, maps[-1])
        and isinstance(variant(settings, name).background, str)
    )


def threshold_split(settings: Settings) -> str:
    """The scored split on whose ground truth thresholds are chosen: one whose maps are those of the training images."""
    names = [name for name, holder in settings.data.evaluate.items() if holder == settings.data.train]
    return "train" if "train" in names else names[0] if names else settings.data.train


def evaluation_path(chain: Sequence[str], seed: int | str, split: str) -> str:
    """Path of an evaluation below results/<dataset>/."""
    return f"evaluate/{'/'.join(chain)}/seed-{seed}/{split}.json"


def uses_threshold(settings: Settings, name: str) -> bool:
    """Whether a variant uses its `background`; the labels of some affinity networks do without."""
    network = settings.affinity.get(name)
    return network is None or interface.constant("methods", network.method, "USES_THRESHOLD", True)

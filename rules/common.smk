"""The only home of helper functions for rules: settings, their slices, and which files a rule reads."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir)))

from snakemake.exceptions import WorkflowError

from wsss import chains, contract, provenance, runs, slices, targets
from wsss.config import read_yaml, resolve
from wsss.data import layouts
from wsss.errors import UserError
from wsss.settings import STAGES, TRAINED

try:
    if not workflow.is_main_process:
        runs.refuse_orphans()
    SETTINGS = resolve(config)
    if faults := targets.faults(SETTINGS):
        raise UserError("; ".join(faults))
    TABLES = targets.built_tables(SETTINGS)
    FIGURES = targets.built_figures(SETTINGS)
except UserError as error:
    raise WorkflowError(str(error)) from None

DATA = multiext("<results>/data/", "manifest.csv", "splits.csv", "classes.txt")
TEST_SCORES = getattr(SETTINGS.data, "test_scores", None) or []
VARIANTS = {stage: "|".join(getattr(SETTINGS, stage)) or "none" for stage in STAGES}
MASKS = "|".join(name for name, given in SETTINGS.pseudo.items() if given.source == "ground_truth") or "none"
WALKS = "|".join(chains.walks(SETTINGS)) or "none"
PLAIN_REFINEMENTS = "|".join(name for name in SETTINGS.refine if name not in chains.walks(SETTINGS)) or "none"


def begin(log):
    """What the main process does before the first job."""
    kept = [job for job in workflow.dag.jobs if workflow.dag.reason(job).no_metadata and not workflow.dag.needrun(job)]
    for path, job in [(path, job) for job in kept for path in job.output]:
        if runs.foreign(Path(path), dict(job.params.items())):
            raise WorkflowError(
                f"{path}: a job of a run that had died made it with other settings or code; "
                f"delete it, or add --forcerun {job.rule.name}"
            )
    # Its limit of jobs per second wakes Snakemake's scheduler once a second for every job that ever began: after 200
    # jobs that is a fifth of a core. `jobs` limits them well enough.
    workflow.scheduler.job_rate_limiter = None
    try:
        runs.begin(SETTINGS.dataset, log)
    except UserError as error:
        raise WorkflowError(str(error)) from None


def chain_of(wildcards):
    return wildcards.chain.split("/")


def seed_path(wildcards, stage, chain):
    return f"<results>/{stage}/{chain}/seed-{wildcards.seed}"


def stage_path(wildcards, chain):
    """Folder of the result at the end of a chain."""
    return seed_path(wildcards, chains.stage_of(SETTINGS, chain[-1]), "/".join(chain))


def shards(split):
    count = SETTINGS.data.shards.get(split, 1)
    return [f"{index}-of-{count}" for index in range(1, count + 1)]


def initial_weights(stage):
    """Input function: the file with initial weights, or another network's weights; none when it starts at random."""

    def files(wildcards):
        network = getattr(SETTINGS, stage)[wildcards[stage]]
        if network.start:
            return f"{seed_path(wildcards, 'classify', network.start)}/weights.safetensors"
        return slices.initial_weights(SETTINGS, network) or []

    return files


def maps_of_shard(wildcards):
    """The store with the maps at the end of a chain, for the same shard."""
    return f"{stage_path(wildcards, chain_of(wildcards))}/{wildcards.split}/{wildcards.shard}.store"


def maps_of_split(wildcards):
    """All stores of a split at the end of a chain; folders of PNGs where the chain ends in labels or predictions."""
    split = SETTINGS.data.evaluate.get(wildcards.split, wildcards.split)
    return maps_of(chain_of(wildcards), wildcards.seed, split)


def labels_to_learn(wildcards):
    """Folders with the label maps of the train split at the end of a chain."""
    return maps_of(chain_of(wildcards), wildcards.seed, SETTINGS.data.train)


def maps_of(chain, seed, split):
    """Files or folders that hold the maps of a split at the end of a chain."""
    stage = chains.stage_of(SETTINGS, chain[-1])
    folder = f"<results>/{stage}/{'/'.join(chain)}/seed-{seed}"
    if stage == "pseudo":
        return [f"{folder}/{split}"]
    suffix = "" if stage == "predict" else ".store"
    return [f"{folder}/{split}/{shard}{suffix}" for shard in shards(split)]


def affinity_labels(wildcards):
    """All stores of an affinity network's training labels."""
    folder = seed_path(wildcards, "affinity", f"{wildcards.chain}/{wildcards.affinity}")
    return [f"{folder}/{SETTINGS.data.train}/{shard}.store" for shard in shards(SETTINGS.data.train)]


def threshold_evaluation(stage):
    """Input function: the evaluation of the train split that chooses a stage's background threshold, if it needs one."""

    def files(wildcards):
        chain = chain_of(wildcards)
        if not chains.needs_evaluation(SETTINGS, chain, wildcards[stage]):
            return []
        return evaluation_path(chain, wildcards.seed, chains.threshold_split(SETTINGS))

    return files


def evaluation_path(chain, seed, split):
    return f"<results>/{chains.evaluation_path(chain, seed, split)}"


def train_evaluation(wildcards):
    """The train split's evaluation, whose thresholds the other splits use; none where no threshold is open."""
    chain = chain_of(wildcards)
    if wildcards.split == chains.threshold_split(SETTINGS) or not chains.keeps_scores(SETTINGS, chain[-1]):
        return []
    return evaluation_path(chain, wildcards.seed, chains.threshold_split(SETTINGS))


def evaluations_of_table(wildcards):
    table = TABLES[f"{wildcards.paper}/{wildcards.table}"]
    return [evaluation_path(*cell) for cell in targets.evaluations(SETTINGS, table)]


def archives(wildcards):
    """Archives for the server, when the test images are at hand."""
    wanted = [cell for table in TABLES.values() for cell in targets.archives(SETTINGS, table)]
    return [f"<results>/archive/{'/'.join(chain)}/seed-{seed}/test.tgz" for chain, seed in dict.fromkeys(wanted)]


def table_files(wildcards):
    return expand("<results>/tables/{name}.csv", name=TABLES)


def settings(stage):
    """Params function: the slice of the settings that a stage's job reads, as one plain dict."""

    def config_slice(wildcards):
        if stage in TRAINED:
            network = slices.train_config(SETTINGS, stage, wildcards[stage])
            return {"split": SETTINGS.data.train} | network
        chain = chain_of(wildcards)
        if stage == "cam":
            return slices.cam_config(SETTINGS, chain[-1], wildcards.cam)
        if stage == "affinity_labels":
            return slices.affinity_labels_config(SETTINGS, wildcards.affinity)
        if stage == "refine":
            return slices.refine_config(SETTINGS, wildcards.refine)
        if stage == "words":
            return slices.words_config(SETTINGS, chain[-1])
        if stage == "walk":
            return slices.walk_config(SETTINGS, wildcards.affinity, wildcards.refine)
        if stage == "pseudo":
            return slices.pseudo_config(SETTINGS, chain, wildcards.pseudo)
        if stage == "predict":
            return slices.predict_config(SETTINGS, chain[-1], wildcards.predict)
        return contract.evaluate_config(SETTINGS, chain, wildcards.split)

    return config_slice


def table_settings(wildcards):
    """The table's definition, and which run, seed and split each of the input evaluations belongs to."""
    name = f"{wildcards.paper}/{wildcards.table}"
    return {
        "name": name,
        "voc": SETTINGS.data.source == "voc",
        "definition": TABLES[name].model_dump(mode="json", exclude_none=True),
        "cells": [[list(chain), seed, split] for chain, seed, split in targets.evaluations(SETTINGS, TABLES[name])],
        "seeds": TABLES[name].seeds or SETTINGS.seeds,
    }


def network_source(stage):
    """Params function: digests of the code behind a training or inference job, its network's files included."""

    def digests(wildcards):
        kind = {"cam": "classify", "words": "classify", "predict": "segment"}.get(stage, stage)
        name = wildcards[stage] if kind == stage else chain_of(wildcards)[-1]
        network = getattr(SETTINGS, kind)[name]
        backbone = slices.backbone_file(SETTINGS, network)
        used = "build" if kind != stage else "build,guide,examples,arrays,sample_target,PAD"
        return source(
            f"workflow_scripts/{stage}.py",
            f"wsss/backbones/{backbone}.py",
            f"wsss/methods/{network.method}.py:{used}",
        )

    return digests


def affinity_source(script):
    """Params function: digests of the code behind an affinity network's labels."""

    def digests(wildcards):
        method = SETTINGS.affinity[wildcards.affinity].method
        return source(f"workflow_scripts/{script}.py", f"wsss/methods/{method}.py:labels")

    return digests


def walk_source(wildcards):
    network = SETTINGS.affinity[wildcards.affinity]
    backbone = slices.backbone_file(SETTINGS, network)
    return source(
        "workflow_scripts/walk.py", f"wsss/backbones/{backbone}.py", f"wsss/methods/{network.method}.py:build,refine"
    )


def refine_source(wildcards):
    method = SETTINGS.refine[wildcards.refine].method
    return source("workflow_scripts/refine.py", f"wsss/methods/{method}.py:refine")


def figure_of(wildcards):
    return FIGURES[f"{wildcards.paper}/{wildcards.figure}"]


def maps_of_figure(wildcards):
    """The maps of every column of a figure, as maps_0, maps_1, ...; the word maps where it shows visual words."""
    figure, seed = figure_of(wildcards), SETTINGS.seeds[0]
    if figure.kind == "curve":
        return {}
    if figure.kind == "words":
        folder = f"<results>/words/{'/'.join(figure.chain)}/seed-{seed}/{figure.split}"
        return {"maps_0": [f"{folder}/{shard}.store" for shard in shards(figure.split)]}
    holder = SETTINGS.data.evaluate[figure.split]
    return {f"maps_{number}": maps_of(chain, seed, holder) for number, chain in enumerate(figure.chains)}


def evaluations_of_figure(wildcards):
    """The evaluations that a figure needs, and the images file of the last where it ranks images by it."""
    figure = figure_of(wildcards)
    found = [evaluation_path(*cell) for cell in targets.figure_evaluations(SETTINGS, figure)]
    ranked = getattr(figure, "choose", "fixed") != "fixed"
    return {"evaluations": found, "images": found[-1].replace(".json", ".images.csv") if ranked else []}


def figure_config(wildcards):
    """What a figure shows, and which run, seed and split each of the input evaluations belongs to."""
    figure = figure_of(wildcards)
    return {
        "kind": figure.kind,
        "definition": figure.model_dump(mode="json", exclude={"kind", "title", "chain"}, exclude_none=True),
        "cells": [[list(chain), seed, split] for chain, seed, split in targets.figure_evaluations(SETTINGS, figure)],
    }


def figure_source(wildcards):
    return source("workflow_scripts/figure.py", f"wsss/paper_figures/{figure_of(wildcards).kind}.py")


def figure_files(wildcards):
    return expand("<results>/figures/{name}.png", name=FIGURES)


def all_cells():
    """Every (chain, seed, split) of the tables and figures to build, each once."""
    cells = [cell for table in TABLES.values() for cell in targets.evaluations(SETTINGS, table)]
    cells += [cell for figure in FIGURES.values() for cell in targets.figure_evaluations(SETTINGS, figure)]
    return list(dict.fromkeys(cells))


def report_tables(wildcards):
    return expand("<results>/tables/{name}.html", name=TABLES)


def report_evaluations(wildcards):
    return [evaluation_path(*cell) for cell in all_cells()]


def report_histories(wildcards):
    return [f"<results>/{stage}/{'/'.join(chain)}/seed-{seed}/history.csv" for stage, chain, seed in trainings()]


def trainings():
    """Every trained network in the tables and figures: (stage, chain up to it, seed)."""
    words = [(tuple(figure.chain), SETTINGS.seeds[0]) for figure in FIGURES.values() if figure.kind == "words"]
    found = {}
    for chain, seed in [cell[:2] for cell in all_cells()] + words:
        for length, name in enumerate(chain, 1):
            if (stage := chains.stage_of(SETTINGS, name)) in TRAINED:
                if start := chains.variant(SETTINGS, name).start:
                    found["classify", (start,), seed] = None
                found[stage, chain[:length], seed] = None
    return list(found)


def report_settings():
    return {
        "dataset": SETTINGS.dataset,
        "evaluations": [f"{' / '.join(chain)}, seed {seed}, {split}" for chain, seed, split in all_cells()],
        "histories": [f"{' / '.join(chain)}, seed {seed}" for _, chain, seed in trainings()],
        "figures": [[figure.title, figure.caption] for figure in FIGURES.values()],
        "settings": SETTINGS.model_dump(mode="json", include={"dataset", "preset", "seeds", "data", "evaluate"}),
    }


def archive_of(wildcards):
    """Which archive a file is, and where the user keeps it, if he does."""
    data, names = SETTINGS.data, {entry["file"]: name for name, entry in ARCHIVES.items()}
    given = data.test if names[wildcards.file] == "voc_test" else data.archives and f"{data.archives}/{wildcards.file}"
    return {"archive": names[wildcards.file], "given": given}


def file_of_archive(wildcards):
    return f"resources/downloads/{ARCHIVES[wildcards.archive]['file']}"


def unpacked_parts(wildcards):
    return {"keep": ARCHIVES[wildcards.archive]["keep"]}


def voc_folders(wildcards):
    """The folders from which VOC's manifest is made, by the names of the script's arguments."""
    data = SETTINGS.data
    folders = {"devkit": data.devkit or "resources/voc_trainval"}
    if data.sbd:
        folders |= {"sbd": "resources/sbd", "sbd_masks": "resources/sbd_masks"}
    return folders | ({"test": "resources/voc_test"} if data.test else {})


def weights_of(wildcards):
    return {"network": wildcards.network, "weights": wildcards.weights}


source = provenance.source
ARCHIVES = read_yaml(Path(workflow.basedir) / "config" / "downloads.yaml")


def shapes_config():
    data = SETTINGS.data
    return {"train": data.images.train, "val": data.images.val, "size": list(data.size), "seed": data.seed}


def own_settings():
    """Arguments of wsss.data.own.build: what says where the images are and how they are read."""
    keys = {"root", "layout", "csv", "masks", "classes", "val_fraction", "train"}
    return SETTINGS.data.model_dump(mode="json", include=keys)


def own_files(wildcards):
    """The user's lists, and the folders that hold his images: adding or removing one is a change, touching one is not."""
    root = Path(SETTINGS.data.root)
    if not root.is_dir():
        raise WorkflowError(f"data.root: {root} is not a folder; correct it in the configuration")
    lists = [path for pattern in ("*.csv", "*.txt", "ImageSets/Segmentation/*.txt") for path in root.glob(pattern)]
    try:
        folders = layouts.folders(root)
    except UserError as error:
        raise WorkflowError(str(error)) from None
    return sorted(map(str, [*lists, *folders]))

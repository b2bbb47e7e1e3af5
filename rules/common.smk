"""The only home of helper functions for rules: settings, their slices, and which files a rule reads."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir)))

from snakemake.exceptions import WorkflowError

from wsss import chains, provenance
from wsss.config import read_yaml, resolve
from wsss.errors import UserError
from wsss.settings import STAGES

try:
    SETTINGS = resolve(config)
    if faults := chains.faults(SETTINGS):
        raise UserError("; ".join(faults))
    TABLES = chains.built_tables(SETTINGS)
except UserError as error:
    raise WorkflowError(str(error)) from None

DATA = multiext("<results>/data/", "manifest.csv", "splits.csv", "classes.txt")
VARIANTS = {stage: "|".join(getattr(SETTINGS, stage)) or "none" for stage in STAGES}


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
    """Input function: the file with a backbone's initial weights; none when it starts from random numbers."""

    def files(wildcards):
        return chains.initial_weights(SETTINGS, getattr(SETTINGS, stage)[wildcards[stage]]) or []

    return files


def maps_of_shard(wildcards):
    """The store before a refinement, for the same shard."""
    return f"{stage_path(wildcards, chain_of(wildcards))}/{wildcards.split}/{wildcards.shard}.store"


def maps_of_split(wildcards):
    """All stores of a split at the end of a chain; folders of PNGs where the chain ends in labels or predictions."""
    split = SETTINGS.data.evaluate.get(wildcards.split, wildcards.split)
    return maps_of(chain_of(wildcards), wildcards.seed, split)


def maps_of(chain, seed, split):
    """Files or folders that hold the maps of a split at the end of a chain."""
    stage = chains.stage_of(SETTINGS, chain[-1])
    folder = f"<results>/{stage}/{'/'.join(chain)}/seed-{seed}"
    if stage == "pseudo":
        return [f"{folder}/{split}"]
    suffix = "" if stage == "predict" else ".store"
    return [f"{folder}/{split}/{shard}{suffix}" for shard in shards(split)]


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
    return [evaluation_path(*cell) for cell in chains.evaluations(SETTINGS, table)]


def table_files(wildcards):
    return expand("<results>/tables/{name}.csv", name=TABLES)


def settings(stage):
    """Params function: the slice of the settings that a stage's job reads, as one plain dict."""

    def config_slice(wildcards):
        if stage in ("classify", "segment"):
            network = chains.train_config(SETTINGS, stage, wildcards[stage])
            return {"split": SETTINGS.data.train} | network
        chain = chain_of(wildcards)
        if stage == "cam":
            return chains.cam_config(SETTINGS, chain[-1], wildcards.cam)
        if stage == "refine":
            return chains.refine_config(SETTINGS, wildcards.refine)
        if stage == "pseudo":
            return chains.pseudo_config(SETTINGS, chain, wildcards.pseudo)
        if stage == "predict":
            return chains.predict_config(SETTINGS, chain[-1], wildcards.predict)
        return chains.evaluate_config(SETTINGS, chain, wildcards.split)

    return config_slice


def table_settings(wildcards):
    """The table's definition, and which run, seed and split each of the input evaluations belongs to."""
    name = f"{wildcards.paper}/{wildcards.table}"
    return {
        "name": name,
        "voc": SETTINGS.data.source == "voc",
        "definition": TABLES[name].model_dump(mode="json", exclude_none=True),
        "cells": [[list(chain), seed, split] for chain, seed, split in chains.evaluations(SETTINGS, TABLES[name])],
        "seeds": SETTINGS.seeds,
    }


def network_source(stage):
    """Params function: digests of the code behind a training or inference job, its network's files included."""

    def digests(wildcards):
        kind = {"cam": "classify", "predict": "segment"}.get(stage, stage)
        name = wildcards[stage] if kind == stage else chain_of(wildcards)[-1]
        network = getattr(SETTINGS, kind)[name]
        backbone = chains.backbone_file(SETTINGS, network)
        return source(
            f"workflow_scripts/{stage}.py", f"wsss/backbones/{backbone}.py", f"wsss/methods/{network.method}.py"
        )

    return digests


def refine_source(wildcards):
    method = SETTINGS.refine[wildcards.refine].method
    return source("workflow_scripts/refine.py", f"wsss/methods/{method}.py")


def figure_split():
    """The split whose images the report shows: val where there is one."""
    return next((name for name in ("val", *SETTINGS.data.evaluate) if name in SETTINGS.data.evaluate), None)


def maps_in_figures(wildcards):
    """The maps along the report's chain: scores of its CAMs, and every label map after them that exists for the split."""
    chain, seed = SETTINGS.report.chain, SETTINGS.seeds[0]
    holder = SETTINGS.data.evaluate[wildcards.split]
    files = {"scores": maps_of(chain[:2], seed, holder)}
    if chains.stage_of(SETTINGS, chain[2]) == "refine" and not chains.keeps_scores(SETTINGS, chain[2]):
        files["refined"] = maps_of(chain[:3], seed, holder)
    files["predicted"] = maps_of(chain, seed, holder)
    return files | {"images": f"<results>/evaluate/{'/'.join(chain)}/seed-{seed}/{wildcards.split}.images.csv"}


def all_cells():
    """Every (chain, seed, split) of the tables to build, each once."""
    return list(dict.fromkeys(cell for table in TABLES.values() for cell in chains.evaluations(SETTINGS, table)))


def report_tables(wildcards):
    return expand("<results>/tables/{name}.html", name=TABLES)


def report_evaluations(wildcards):
    return [evaluation_path(*cell) for cell in all_cells()]


def report_histories(wildcards):
    return [f"<results>/{stage}/{'/'.join(chain)}/seed-{seed}/history.csv" for stage, chain, seed in trainings()]


def report_figures(wildcards):
    """The montages, when some table runs the report's chain anyway."""
    runs = {(chain, split) for chain, _, split in all_cells()}
    shown = (tuple(SETTINGS.report.chain), figure_split()) in runs
    return [f"<results>/figures/{figure_split()}"] if shown else []


def trainings():
    """Every trained network in the tables: (stage, chain up to it, seed)."""
    found = {}
    for chain, seed, _ in all_cells():
        for length, name in enumerate(chain, 1):
            if (stage := chains.stage_of(SETTINGS, name)) in ("classify", "segment"):
                found[stage, chain[:length], seed] = None
    return list(found)


def report_settings():
    return {
        "dataset": SETTINGS.dataset,
        "evaluations": [f"{' / '.join(chain)}, seed {seed}, {split}" for chain, seed, split in all_cells()],
        "histories": [f"{' / '.join(chain)}, seed {seed}" for _, chain, seed in trainings()],
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
    folders = [path for path in root.rglob("*") if path.is_dir() and not path.name.startswith(".")]
    return sorted(str(path) for path in [*lists, *folders, root])

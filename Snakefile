"""From images with image-level labels to the tables of the papers.

    data -> classify -> cam -> affinity -> refine -> pseudo -> segment -> predict
                         └───────────────────┴────────┴─────────────────────┴──> evaluate -> tables -> report

Results lie in results/<dataset>/<stage>/<chain>/seed-<seed>/, where a chain is the path of variant names so far.
Settings: config.yaml, then a preset, then --configfile (wsss/settings.py says what each key means).
"""

from snakemake.utils import min_version

min_version("9.27")


include: "rules/common.smk"


pathvars:
    results=f"results/{SETTINGS.dataset}",
    logs=f"logs/{SETTINGS.dataset}",
    benchmarks=f"benchmarks/{SETTINGS.dataset}",


wildcard_constraints:
    **VARIANTS,
    seed=r"\d+",
    split=r"[A-Za-z0-9_-]+",
    shard=r"\d+-of-\d+",
    chain=r"\w+(/\w+)*",


resource_scopes:
    gpu="local",


report: "report/workflow.rst"


localrules:
    all,


onstart:
    begin(log)


rule all:
    """Every table and figure that `build` selects, and the report."""
    input:
        table_files,
        archives,
        figure_files,
        "<results>/report.html",


include: f"rules/data_{SETTINGS.data.source}.smk"
include: "rules/weights.smk"
include: "rules/classify.smk"
include: "rules/cam.smk"
include: "rules/affinity.smk"
include: "rules/refine.smk"
include: "rules/pseudo.smk"
include: "rules/supervised.smk"
include: "rules/segment.smk"
include: "rules/predict.smk"
include: "rules/evaluate.smk"
include: "rules/archive.smk"
include: "rules/tables.smk"
include: "rules/words.smk"
include: "rules/figures.smk"
include: "rules/report.smk"

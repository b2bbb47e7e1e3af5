"""Scores of label maps and of score maps at every background threshold. Besides the figures and the supervised reference, the only rules that read masks.

REQUIRED INPUTS
    the maps at the end of a chain; <results>/data/ground_truth.csv and the masks that it names
OUTPUTS
    <results>/evaluate/{chain}/seed-{seed}/{split}.json, {split}.images.csv
"""


rule evaluate:
    """Scores of {wildcards.chain}, {wildcards.split}, seed {wildcards.seed}."""
    input:
        data=DATA,
        truth="<results>/data/ground_truth.csv",
        maps=maps_of_split,
        train=train_evaluation,
    output:
        scores="<results>/evaluate/{chain}/seed-{seed}/{split}.json",
        images="<results>/evaluate/{chain}/seed-{seed}/{split}.images.csv",
    log:
        "<logs>/evaluate/{chain}/seed-{seed}/{split}.log",
    benchmark:
        "<benchmarks>/evaluate/{chain}/seed-{seed}/{split}.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 4
    resources:
        mem_mb=4000,
        runtime="1h",
    params:
        config=settings("evaluate"),
        source=source("workflow_scripts/evaluate.py"),
    script:
        "../workflow_scripts/evaluate.py"

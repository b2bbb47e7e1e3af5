"""Pseudo labels as palette PNGs.

REQUIRED INPUTS
    the stores of the stage before
OUTPUTS
    <results>/pseudo/{chain}/{pseudo}/seed-{seed}/{split}/<id>.png
"""


rule pseudo:
    """Pseudo labels {wildcards.pseudo} of {wildcards.chain}, {wildcards.split}."""
    input:
        data=DATA,
        stores=maps_of_split,
        evaluation=threshold_evaluation("pseudo"),
    output:
        labels=directory("<results>/pseudo/{chain}/{pseudo}/seed-{seed}/{split}"),
    log:
        "<logs>/pseudo/{chain}/{pseudo}/seed-{seed}/{split}.log",
    benchmark:
        "<benchmarks>/pseudo/{chain}/{pseudo}/seed-{seed}/{split}.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="1h",
    params:
        config=settings("pseudo"),
        source=source("workflow_scripts/pseudo.py"),
    script:
        "../workflow_scripts/pseudo.py"

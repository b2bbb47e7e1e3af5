"""The fully supervised reference: ground truth masks as labels.

REQUIRED INPUTS
    <results>/data/ground_truth.csv and the masks that it names
OUTPUTS
    <results>/pseudo/{pseudo}/seed-{seed}/{split}/<id>.png
"""


rule supervised:
    """Ground truth masks of {wildcards.split} as labels {wildcards.pseudo}."""
    input:
        data=DATA,
        truth="<results>/data/ground_truth.csv",
    output:
        labels=directory("<results>/pseudo/{pseudo}/seed-{seed}/{split}"),
    log:
        "<logs>/pseudo/{pseudo}/seed-{seed}/{split}.log",
    benchmark:
        "<benchmarks>/pseudo/{pseudo}/seed-{seed}/{split}.tsv"
    wildcard_constraints:
        pseudo=MASKS,
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="1h",
    params:
        config={},
        source=source("workflow_scripts/supervised.py"),
    script:
        "../workflow_scripts/supervised.py"

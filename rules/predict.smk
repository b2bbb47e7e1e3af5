"""Label maps from trained segmentation networks, one folder per shard.

REQUIRED INPUTS
    <results>/segment/{chain}/seed-{seed}/weights.safetensors
OUTPUTS
    <results>/predict/{chain}/{predict}/seed-{seed}/{split}/{shard}/<id>.png
"""


rule predict:
    """Predictions {wildcards.predict} of {wildcards.chain}, {wildcards.split} {wildcards.shard}."""
    input:
        data=DATA,
        weights="<results>/segment/{chain}/seed-{seed}/weights.safetensors",
    output:
        labels=directory("<results>/predict/{chain}/{predict}/seed-{seed}/{split}/{shard}"),
    log:
        "<logs>/predict/{chain}/{predict}/seed-{seed}/{split}/{shard}.log",
    benchmark:
        "<benchmarks>/predict/{chain}/{predict}/seed-{seed}/{split}/{shard}.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16000,
        runtime="8h",
    params:
        config=settings("predict"),
        source=network_source("predict"),
    script:
        "../workflow_scripts/predict.py"

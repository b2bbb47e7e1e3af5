"""Class activation maps, one store per shard.

REQUIRED INPUTS
    <results>/classify/{chain}/seed-{seed}/weights.safetensors
OUTPUTS
    <results>/cam/{chain}/{cam}/seed-{seed}/{split}/{shard}.store
"""


rule cam:
    """Score maps {wildcards.cam} of {wildcards.chain}, {wildcards.split} {wildcards.shard}."""
    input:
        data=DATA,
        weights="<results>/classify/{chain}/seed-{seed}/weights.safetensors",
    output:
        store="<results>/cam/{chain}/{cam}/seed-{seed}/{split}/{shard}.store",
    log:
        "<logs>/cam/{chain}/{cam}/seed-{seed}/{split}/{shard}.log",
    benchmark:
        "<benchmarks>/cam/{chain}/{cam}/seed-{seed}/{split}/{shard}.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16000,
        runtime="4h",
    params:
        config=settings("cam"),
        source=network_source("cam"),
    script:
        "../workflow_scripts/cam.py"

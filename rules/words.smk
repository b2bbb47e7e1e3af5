"""Visual words: which word of its codebook a trained network assigns to every position of an image.

REQUIRED INPUTS
    <results>/classify/{chain}/seed-{seed}/weights.safetensors
OUTPUTS
    <results>/words/{chain}/seed-{seed}/{split}/{shard}.store
"""


rule words:
    """Visual words of {wildcards.chain}, {wildcards.split} {wildcards.shard}."""
    input:
        data=DATA,
        weights="<results>/classify/{chain}/seed-{seed}/weights.safetensors",
    output:
        store="<results>/words/{chain}/seed-{seed}/{split}/{shard}.store",
    log:
        "<logs>/words/{chain}/seed-{seed}/{split}/{shard}.log",
    benchmark:
        "<benchmarks>/words/{chain}/seed-{seed}/{split}/{shard}.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16000,
        runtime="1h",
    params:
        config=settings("words"),
        source=network_source("words"),
    script:
        "../workflow_scripts/words.py"

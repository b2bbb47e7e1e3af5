"""Segmentation networks trained on pseudo labels.

REQUIRED INPUTS
    <results>/pseudo/{chain}/seed-{seed}/<train split>/, or the predictions of a round before
OUTPUTS
    <results>/segment/{chain}/{segment}/seed-{seed}/weights.safetensors, history.csv
"""


rule segment:
    """Train segmentation network {wildcards.segment} on the labels of {wildcards.chain}, seed {wildcards.seed}."""
    input:
        data=DATA,
        labels=labels_to_learn,
        initial=initial_weights("segment"),
    output:
        weights="<results>/segment/{chain}/{segment}/seed-{seed}/weights.safetensors",
        history="<results>/segment/{chain}/{segment}/seed-{seed}/history.csv",
    log:
        "<logs>/segment/{chain}/{segment}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/segment/{chain}/{segment}/seed-{seed}.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16000,
        runtime="24h",
    params:
        config=settings("segment"),
        source=network_source("segment"),
    script:
        "../workflow_scripts/segment.py"

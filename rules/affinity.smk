"""Networks that learn from score maps which pixels belong together (IRNet, AffinityNet).

REQUIRED INPUTS
    the stores of the train split at the end of a chain: <results>/{cam,refine}/{chain}/seed-{seed}/{split}/{shard}.store
OUTPUTS
    <results>/affinity/{chain}/{affinity}/seed-{seed}/{split}/{shard}.store (training labels)
    <results>/affinity/{chain}/{affinity}/seed-{seed}/weights.safetensors, history.csv
"""


rule affinity_labels:
    """Training labels of {wildcards.affinity} from {wildcards.chain}, {wildcards.split} {wildcards.shard}."""
    input:
        data=DATA,
        scores=maps_of_shard,
        evaluation=threshold_evaluation("affinity"),
    output:
        store="<results>/affinity/{chain}/{affinity}/seed-{seed}/{split}/{shard}.store",
    log:
        "<logs>/affinity/{chain}/{affinity}/seed-{seed}/{split}/{shard}.log",
    benchmark:
        "<benchmarks>/affinity/{chain}/{affinity}/seed-{seed}/{split}/{shard}.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="4h",
    params:
        config=settings("affinity_labels"),
        source=affinity_source("affinity_labels"),
    script:
        "../workflow_scripts/affinity_labels.py"


rule affinity:
    """Train affinity network {wildcards.affinity} on the maps of {wildcards.chain}, seed {wildcards.seed}."""
    input:
        data=DATA,
        labels=affinity_labels,
        initial=initial_weights("affinity"),
    output:
        weights="<results>/affinity/{chain}/{affinity}/seed-{seed}/weights.safetensors",
        history="<results>/affinity/{chain}/{affinity}/seed-{seed}/history.csv",
    log:
        "<logs>/affinity/{chain}/{affinity}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/affinity/{chain}/{affinity}/seed-{seed}.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16000,
        runtime="12h",
    params:
        config=settings("affinity"),
        source=network_source("affinity"),
    script:
        "../workflow_scripts/affinity.py"

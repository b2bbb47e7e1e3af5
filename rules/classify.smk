"""Networks trained from image-level labels.

REQUIRED INPUTS
    <results>/data/{manifest,splits}.csv, classes.txt
    initial weights of the backbone
OUTPUTS
    <results>/classify/{classify}/seed-{seed}/weights.safetensors, history.csv
"""


rule classify:
    """Train classifier {wildcards.classify}, seed {wildcards.seed}."""
    input:
        data=DATA,
        initial=initial_weights("classify"),
    output:
        weights="<results>/classify/{classify}/seed-{seed}/weights.safetensors",
        history="<results>/classify/{classify}/seed-{seed}/history.csv",
    log:
        "<logs>/classify/{classify}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/classify/{classify}/seed-{seed}.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16000,
        runtime="12h",
    params:
        config=settings("classify"),
        source=network_source("classify"),
    script:
        "../workflow_scripts/classify.py"

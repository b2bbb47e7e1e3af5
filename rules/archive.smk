"""Archives for VOC's evaluation server, which alone can score the test split.

REQUIRED INPUTS
    <results>/predict/{chain}/seed-{seed}/{split}/{shard}/<id>.png
OUTPUTS
    <results>/archive/{chain}/seed-{seed}/{split}.tgz
"""


rule archive:
    """Archive of {wildcards.chain}, {wildcards.split}, seed {wildcards.seed}."""
    input:
        data=DATA,
        labels=maps_of_split,
    output:
        archive="<results>/archive/{chain}/seed-{seed}/{split}.tgz",
    log:
        "<logs>/archive/{chain}/seed-{seed}/{split}.log",
    benchmark:
        "<benchmarks>/archive/{chain}/seed-{seed}/{split}.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="30m",
    params:
        config={},
        source=source("workflow_scripts/archive.py"),
    script:
        "../workflow_scripts/archive.py"

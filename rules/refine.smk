"""Refined maps, shard by shard.

REQUIRED INPUTS
    the stores of the stage before: <results>/{cam,refine}/{chain}/seed-{seed}/{split}/{shard}.store
    for walks: <results>/affinity/{chain}/{affinity}/seed-{seed}/weights.safetensors
OUTPUTS
    <results>/refine/{chain}/{refine}/seed-{seed}/{split}/{shard}.store
"""


rule refine:
    """Refinement {wildcards.refine} of {wildcards.chain}, {wildcards.split} {wildcards.shard}."""
    input:
        data=DATA,
        scores=maps_of_shard,
        evaluation=threshold_evaluation("refine"),
    output:
        store="<results>/refine/{chain}/{refine}/seed-{seed}/{split}/{shard}.store",
    log:
        "<logs>/refine/{chain}/{refine}/seed-{seed}/{split}/{shard}.log",
    benchmark:
        "<benchmarks>/refine/{chain}/{refine}/seed-{seed}/{split}/{shard}.tsv"
    wildcard_constraints:
        refine=PLAIN_REFINEMENTS,
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="4h",
    params:
        config=settings("refine"),
        source=refine_source,
    script:
        "../workflow_scripts/refine.py"


rule walk:
    """Refinement {wildcards.refine} of {wildcards.chain} by {wildcards.affinity}, {wildcards.split} {wildcards.shard}."""
    input:
        data=DATA,
        scores=maps_of_shard,
        weights="<results>/affinity/{chain}/{affinity}/seed-{seed}/weights.safetensors",
    output:
        store="<results>/refine/{chain}/{affinity}/{refine}/seed-{seed}/{split}/{shard}.store",
    log:
        "<logs>/refine/{chain}/{affinity}/{refine}/seed-{seed}/{split}/{shard}.log",
    benchmark:
        "<benchmarks>/refine/{chain}/{affinity}/{refine}/seed-{seed}/{split}/{shard}.tsv"
    wildcard_constraints:
        refine=WALKS,
    conda:
        "../envs/wsss.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=8000,
        runtime="4h",
    params:
        config=settings("walk"),
        source=walk_source,
    script:
        "../workflow_scripts/walk.py"

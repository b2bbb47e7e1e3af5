"""Initial weights that torchvision names; files that the user brings are read where they lie.

OUTPUTS
    resources/weights/{network}-{weights}.pth
"""


rule weights:
    """Download the {wildcards.weights} weights of {wildcards.network}."""
    output:
        file="resources/weights/{network}-{weights}.pth",
    log:
        "<logs>/weights/{network}-{weights}.log",
    benchmark:
        "<benchmarks>/weights/{network}-{weights}.tsv"
    localrule: True
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="1h",
    params:
        config=weights_of,
        source=source("workflow_scripts/weights.py"),
    script:
        "../workflow_scripts/weights.py"

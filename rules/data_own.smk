"""The user's own images, where they lie: nothing is copied.

REQUIRED INPUTS
    data.root: VOC layout, a CSV `image,labels` with a folder, or one folder per class
OUTPUTS
    <results>/data/{manifest,ground_truth,splits}.csv, classes.txt
"""


rule data:
    """Manifest, splits, classes and ground truth of the user's images."""
    input:
        own_files,
    output:
        DATA,
        truth="<results>/data/ground_truth.csv",
    log:
        "<logs>/data/own.log",
    benchmark:
        "<benchmarks>/data/own.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 8
    resources:
        mem_mb=4000,
        runtime="2h",
    params:
        config=own_settings(),
        source=source("workflow_scripts/data_own.py"),
    script:
        "../workflow_scripts/data_own.py"

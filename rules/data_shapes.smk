"""The built-in data set, generated.

OUTPUTS
    <results>/data/voc/ (images, masks and lists in VOC layout)
    <results>/data/{manifest,ground_truth,splits}.csv, classes.txt
"""


rule data:
    """Generate the data set `shapes`."""
    output:
        DATA,
        truth="<results>/data/ground_truth.csv",
        images=directory("<results>/data/voc"),
    log:
        "<logs>/data/shapes.log",
    benchmark:
        "<benchmarks>/data/shapes.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="30m",
    params:
        config=shapes_config(),
        source=source("workflow_scripts/data_shapes.py"),
    script:
        "../workflow_scripts/data_shapes.py"

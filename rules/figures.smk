"""Figures of the papers: class activation maps, label maps, visual words, curves.

REQUIRED INPUTS
    the maps of every chain that the figure shows, and the evaluations with their thresholds and scores
    <results>/data/ground_truth.csv and the masks that it names
OUTPUTS
    <results>/figures/{paper}/{figure}.png
"""


rule figure:
    """Figure {wildcards.paper}/{wildcards.figure}."""
    input:
        unpack(maps_of_figure),
        unpack(evaluations_of_figure),
        data=DATA,
        truth="<results>/data/ground_truth.csv",
    output:
        png=report(
            "<results>/figures/{paper}/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{paper}",
            labels={"figure": "{figure}"},
        ),
    log:
        "<logs>/figure/{paper}/{figure}.log",
    benchmark:
        "<benchmarks>/figure/{paper}/{figure}.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="20m",
    params:
        config=figure_config,
        source=figure_source,
    script:
        "../workflow_scripts/figure.py"

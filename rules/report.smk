"""The report: one HTML page, and the montages in it.

REQUIRED INPUTS
    the tables, evaluations and loss histories of everything that `build` selects
OUTPUTS
    <results>/figures/{split}/{fixed,best,worst}.png
    <results>/report.html
"""


rule figures:
    """Montages of {wildcards.split}: truth, class activation maps, refined labels, predictions."""
    input:
        unpack(maps_in_figures),
        data=DATA,
        truth="<results>/data/ground_truth.csv",
    output:
        figures=directory("<results>/figures/{split}"),
    log:
        "<logs>/figures/{split}.log",
    benchmark:
        "<benchmarks>/figures/{split}.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="20m",
    params:
        config={"count": SETTINGS.report.images},
        source=source("workflow_scripts/figures.py"),
    script:
        "../workflow_scripts/figures.py"


rule report:
    """The report page."""
    input:
        tables=report_tables,
        evaluations=report_evaluations,
        histories=report_histories,
        figures=report_figures,
        template="wsss/templates/report.html.j2",
    output:
        page=report(
            "<results>/report.html",
            caption="../report/page.rst",
            category="Page",
            labels={"page": "everything"},
        ),
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="20m",
    params:
        config=report_settings(),
        source=source("workflow_scripts/report.py"),
    script:
        "../workflow_scripts/report.py"

"""The report: one HTML page.

REQUIRED INPUTS
    the tables, figures, evaluations and loss histories of everything that `build` selects
OUTPUTS
    <results>/report.html
"""


rule report:
    """The report page."""
    input:
        tables=report_tables,
        evaluations=report_evaluations,
        histories=report_histories,
        figures=figure_files,
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
    localrule: True
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

"""Tables: the paper's numbers beside ours.

REQUIRED INPUTS
    the evaluations that fill the table's cells; published/*.csv; the scores of VOC's server, where given
OUTPUTS
    <results>/tables/{paper}/{table}.csv (long form), .md, .html, .tex
"""


rule tables:
    """Table {wildcards.paper}/{wildcards.table}."""
    input:
        data=DATA,
        evaluations=evaluations_of_table,
        test_scores=TEST_SCORES,
        published=multiext("published/", "results.csv", "per_class.csv", "precision_recall.csv"),
    output:
        csv="<results>/tables/{paper}/{table}.csv",
        markdown="<results>/tables/{paper}/{table}.md",
        html=report(
            "<results>/tables/{paper}/{table}.html",
            caption="../report/table.rst",
            category="Tables",
            subcategory="{paper}",
            labels={"table": "{table}"},
        ),
        latex="<results>/tables/{paper}/{table}.tex",
    log:
        "<logs>/tables/{paper}/{table}.log",
    benchmark:
        "<benchmarks>/tables/{paper}/{table}.tsv"
    localrule: True
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="10m",
    params:
        config=table_settings,
        source=source("workflow_scripts/tables.py"),
    script:
        "../workflow_scripts/tables.py"

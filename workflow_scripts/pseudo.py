"""Write the pseudo labels of a split."""

from pathlib import Path

from wsss import job
from wsss.pseudo import write

with job.run(snakemake):
    write(
        data=Path(snakemake.input.data[0]).parent,
        split=snakemake.wildcards.split,
        stores=list(snakemake.input.stores),
        evaluation=snakemake.input.get("evaluation"),
        out=snakemake.output.labels,
        **snakemake.params.config,
    )

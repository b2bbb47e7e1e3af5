"""Pack the predictions of a split for the evaluation server."""

from pathlib import Path

from wsss import job
from wsss.archive import pack

with job.run(snakemake):
    pack(
        data=Path(snakemake.input.data[0]).parent,
        split=snakemake.wildcards.split,
        folders=list(snakemake.input.labels),
        out=snakemake.output.archive,
    )

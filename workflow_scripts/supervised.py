"""Ground truth masks as labels: the fully supervised reference."""

from pathlib import Path

from wsss import job
from wsss.supervised import write

with job.run(snakemake):
    write(data=Path(snakemake.input.truth).parent, split=snakemake.wildcards.split, out=snakemake.output.labels)

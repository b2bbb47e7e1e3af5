"""Generate the built-in data set."""

from pathlib import Path

from wsss import job
from wsss.data.shapes import generate

with job.run(snakemake):
    generate(Path(snakemake.output.truth).parent, **snakemake.params.config)

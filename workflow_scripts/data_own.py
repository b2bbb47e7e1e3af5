"""Manifest of the user's images."""

from pathlib import Path

from wsss import job
from wsss.data.own import build

with job.run(snakemake):
    build(Path(snakemake.output.truth).parent, **snakemake.params.config)

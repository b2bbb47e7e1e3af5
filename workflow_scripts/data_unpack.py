"""Unpack an archive."""

from wsss import job
from wsss.data.archives import unpack

with job.run(snakemake):
    unpack(snakemake.input.archive, snakemake.output.folder, **snakemake.params.config)

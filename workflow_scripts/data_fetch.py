"""Download an archive, or take the user's."""

from wsss import job
from wsss.data.download import obtain

with job.run(snakemake):
    obtain(target=snakemake.output.archive, **snakemake.params.config)

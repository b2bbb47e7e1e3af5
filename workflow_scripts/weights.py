"""Download a backbone's initial weights."""

from wsss import job
from wsss.backbones.weights import download

with job.run(snakemake):
    download(target=snakemake.output.file, **snakemake.params.config)

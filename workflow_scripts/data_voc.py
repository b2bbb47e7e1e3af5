"""Manifest of VOC 2012."""

from pathlib import Path

from wsss import job
from wsss.data.voc import build

with job.run(snakemake):
    folders = dict(snakemake.input.items())
    build(out=Path(snakemake.output.truth).parent, **folders, **snakemake.params.config)

"""Turn SBD's masks into PNGs."""

from wsss import job
from wsss.data.sbd import build_masks

with job.run(snakemake):
    build_masks(snakemake.input.sbd, snakemake.output.masks)

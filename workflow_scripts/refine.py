"""Refine one shard of maps."""

from pathlib import Path

from wsss import job
from wsss.refine import apply

with job.run(snakemake):
    apply(
        data=Path(snakemake.input.data[0]).parent,
        split=snakemake.wildcards.split,
        shard=snakemake.wildcards.shard,
        scores=snakemake.input.scores,
        evaluation=snakemake.input.get("evaluation"),
        out=snakemake.output.store,
        **snakemake.params.config,
    )

"""Refine one shard of maps by a trained affinity network."""

from pathlib import Path

from wsss import job
from wsss.affinity import refine

with job.run(snakemake) as running:
    refine(
        data=Path(snakemake.input.data[0]).parent,
        split=snakemake.wildcards.split,
        shard=snakemake.wildcards.shard,
        scores=snakemake.input.scores,
        weights=snakemake.input.weights,
        out=snakemake.output.store,
        job=running,
        **snakemake.params.config,
    )

"""Visual words of one shard."""

from pathlib import Path

from wsss import job
from wsss.words import assign

with job.run(snakemake) as running:
    assign(
        data=Path(snakemake.input.data[0]).parent,
        split=snakemake.wildcards.split,
        shard=snakemake.wildcards.shard,
        weights=snakemake.input.weights,
        out=snakemake.output[0],
        job=running,
        **snakemake.params.config,
    )

"""Train a network from image-level labels."""

from pathlib import Path

from wsss import job
from wsss.classify import train

with job.run(snakemake) as running:
    train(
        data=Path(snakemake.input.data[0]).parent,
        initial_weights=snakemake.input.get("initial"),
        seed=int(snakemake.wildcards.seed),
        job=running,
        weights=snakemake.output.weights,
        history=snakemake.output.history,
        **snakemake.params.config,
    )

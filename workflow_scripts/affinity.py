"""Train an affinity network."""

from pathlib import Path

from wsss import job
from wsss.affinity import train

with job.run(snakemake) as running:
    train(
        data=Path(snakemake.input.data[0]).parent,
        labels=list(snakemake.input.labels),
        initial_weights=snakemake.input.get("initial"),
        seed=int(snakemake.wildcards.seed),
        job=running,
        weights=snakemake.output.weights,
        history=snakemake.output.history,
        **snakemake.params.config,
    )

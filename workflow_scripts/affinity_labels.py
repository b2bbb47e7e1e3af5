"""Training labels of an affinity network, one shard."""

from pathlib import Path

from wsss import job
from wsss.affinity import make_labels

with job.run(snakemake):
    make_labels(
        data=Path(snakemake.input.data[0]).parent,
        split=snakemake.wildcards.split,
        shard=snakemake.wildcards.shard,
        scores=snakemake.input.scores,
        evaluation=snakemake.input.get("evaluation"),
        out=snakemake.output.store,
        **snakemake.params.config,
    )

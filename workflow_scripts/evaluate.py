"""Score the maps of a split."""

from pathlib import Path

from wsss import job
from wsss.evaluate import evaluate

with job.run(snakemake):
    evaluate(
        data=Path(snakemake.input.truth).parent,
        split=snakemake.wildcards.split,
        maps=list(snakemake.input.maps),
        train_evaluation=snakemake.input.get("train"),
        out=snakemake.output.scores,
        out_images=snakemake.output.images,
        threads=snakemake.threads,
        **snakemake.params.config,
    )

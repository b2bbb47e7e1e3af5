"""Montages for the report."""

from pathlib import Path

from wsss import job
from wsss.qualitative import draw

with job.run(snakemake):
    captions = {"refined": "refined", "predicted": "prediction"}
    draw(
        data=Path(snakemake.input.truth).parent,
        split=snakemake.wildcards.split,
        images=snakemake.input.images,
        scores=list(snakemake.input.scores),
        labels={captions[key]: list(paths) for key, paths in snakemake.input.items() if key in captions},
        out=snakemake.output.figures,
        **snakemake.params.config,
    )

"""One table of a paper."""

from pathlib import Path

from wsss import job
from wsss.data.manifest import read_manifest
from wsss.tables import build

with job.run(snakemake):
    config = snakemake.params.config
    cells = [(tuple(chain), seed, split) for chain, seed, split in config["cells"]]
    build(
        name=config["name"],
        definition=config["definition"],
        classes=read_manifest(Path(snakemake.input.data[0]).parent).classes,
        evaluations=dict(zip(cells, map(Path, snakemake.input.evaluations), strict=True)),
        seeds=config["seeds"],
        published=Path(snakemake.input.published[0]).parent,
        out_prefix=Path(snakemake.output.csv).with_suffix(""),
        voc=config["voc"],
        test_scores=str(snakemake.input.test_scores) or None,
    )

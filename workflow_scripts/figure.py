"""One figure of a paper."""

import importlib
from pathlib import Path

from wsss import job
from wsss.paper_figures.inputs import Inputs

with job.run(snakemake):
    config = snakemake.params.config
    cells = [(tuple(chain), seed, split) for chain, seed, split in config["cells"]]
    importlib.import_module(f"wsss.paper_figures.{config['kind']}").draw(
        Inputs(
            data=Path(snakemake.input.data[0]).parent,
            maps=[list(paths) for name, paths in snakemake.input.items() if name.startswith("maps_")],
            evaluations=dict(zip(cells, map(Path, snakemake.input.evaluations), strict=True)),
            images=Path(snakemake.input.images) if snakemake.input.images else None,
        ),
        snakemake.output.png,
        **config["definition"],
    )

"""The report page."""

from pathlib import Path

from wsss import job
from wsss.costs import read_all
from wsss.report import Picture, build

with job.run(snakemake):
    config = snakemake.params.config
    build(
        title=f"wsss on {config['dataset']}",
        out=snakemake.output.page,
        tables=[Path(path) for path in snakemake.input.tables],
        evaluations=list(zip(config["evaluations"], map(Path, snakemake.input.evaluations), strict=True)),
        histories=list(zip(config["histories"], map(Path, snakemake.input.histories), strict=True)),
        figures=[Picture(Path(p), *texts) for p, texts in zip(snakemake.input.figures, config["figures"], strict=True)],
        costs=read_all(Path("results", config["dataset"])),
        meta={"Packages": job.packages(), "Settings": config["settings"]},
    )

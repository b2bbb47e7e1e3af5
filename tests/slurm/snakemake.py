"""Snakemake that looks after its SLURM jobs once a second: the executor waits ten seconds more after every look.

Run as `python -m tests.slurm.snakemake ...`; everything else is as in the real one.
"""

import asyncio
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def second(self: RemoteExecutor) -> None:
    await asyncio.sleep(1)


if __name__ == "__main__":
    RemoteExecutor.sleep = second
    main(sys.argv[1:])

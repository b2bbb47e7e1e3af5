"""A workflow script without Snakemake: writes a store of 40 records below `results`, one every PAUSE seconds.

python -m tests.reliability.store_program PAUSE (in the folder of the run)
"""

import sys
import time
from types import SimpleNamespace

import numpy as np

from wsss import job
from wsss.stores import Writer

OUT = "results/few/cam/1-of-1.store"


def main(pause: float) -> None:
    snakemake = SimpleNamespace(
        rule="cam", input=[], output=[OUT], params={"config": {}}, log=["logs/cam.log"], threads=1, resources={}
    )
    with job.run(snakemake), Writer(OUT) as store:
        for number in range(40):
            store.add(f"{number:03d}", np.random.default_rng(number).random((64, 64)).astype(np.float16))
            store._stream.flush()  # as much on disk as possible when the process dies
            print(number, flush=True)
            time.sleep(pause)


if __name__ == "__main__":
    main(float(sys.argv[1]))

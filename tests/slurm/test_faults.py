"""Faults on a real SLURM, and after each the same bytes as an undisturbed run."""

import re

from tests.slurm.conftest import Cluster, same_results
from tests.slurm.sandbox import wait

LOG = "logs/few/classify/gap_r50/seed-0.log"


def requeue(cluster: Cluster, job: str) -> None:
    cluster.slurm.client("scontrol", "requeue", job)


def cancellation(cluster: Cluster, job: str) -> None:
    cluster.slurm.client("scancel", job)


def time_limit(cluster: Cluster, job: str) -> None:
    cluster.slurm.client("scontrol", "update", f"JobId={job}", "EndTime=now")
    wait("TIMEOUT", 60, lambda: cluster.state(job) == "TIMEOUT")


def preemption(cluster: Cluster, job: str) -> None:
    """A job of a higher partition that wants every GPU."""
    options = ["-p", "urgent", "-N2", "--gpus-per-node=2", "-o", "/dev/null", "--wrap", "sleep 2"]
    urgent = cluster.slurm.client("sbatch", "--parsable", *options).strip()
    wait("the urgent job", 60, lambda: cluster.state(urgent) == "COMPLETED")


def node_failure(cluster: Cluster, job: str) -> None:
    node = cluster.slurm.client("squeue", "-h", "-j", job, "-o", "%N").strip()
    cluster.slurm.kill_node(node)
    cluster.slurm.client("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    cluster.slurm.start_node(node)
    cluster.slurm.client("scontrol", "update", f"NodeName={node}", "State=RESUME")


def test_a_training_outlives_whatever_slurm_does_to_it(cluster, undisturbed):
    """One fault after the other on the same training; it goes on from where it was, and the table is the same."""
    log = cluster.project.folder / LOG
    cluster.start()
    for fault in (requeue, cancellation, preemption, node_failure, time_limit):
        job, before = cluster.training(cluster.steps()), cluster.steps()
        log.unlink()  # the next process writes it anew
        fault(cluster, job)
        wait(f"a training after {fault.__name__}", 120, lambda: log.exists() and "continuing" in log.read_text())
        went_on = int(re.findall(r"continuing from step (\d+)", log.read_text())[-1])
        print(f"{fault.__name__}: job {job} at step {before}, went on from step {went_on}")
        assert went_on >= before, f"{fault.__name__} cost steps"
    cluster.finish()
    same_results(cluster.project, undisturbed)
    assert "Removing output files" not in cluster.output()

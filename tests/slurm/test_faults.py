"""Faults on a real SLURM, and after each the same bytes as an undisturbed run."""

import signal

from tests.slurm.conftest import Cluster, same_results
from tests.slurm.sandbox import PATIENCE_S, wait


def requeue(cluster: Cluster, job: str) -> None:
    cluster.slurm.client("scontrol", "requeue", job)


def cancellation(cluster: Cluster, job: str) -> None:
    cluster.slurm.client("scancel", job)


def time_limit(cluster: Cluster, job: str) -> None:
    cluster.slurm.client("scontrol", "update", f"JobId={job}", "EndTime=now")
    wait("TIMEOUT", PATIENCE_S, lambda: cluster.state(job) in ("COMPLETING", "TIMEOUT"))


def preemption(cluster: Cluster, job: str) -> None:
    """A job of a higher partition that wants every GPU."""
    options = ["-p", "urgent", "-N2", "--gpus-per-node=2", "-o", "/dev/null", "--wrap", "sleep 2"]
    urgent = cluster.slurm.client("sbatch", "--parsable", *options).strip()
    wait("the urgent job", PATIENCE_S, lambda: cluster.state(urgent) == "COMPLETED")


def node_failure(cluster: Cluster, job: str) -> None:
    node = cluster.slurm.client("squeue", "-h", "-j", job, "-o", "%N").strip()
    cluster.slurm.kill_node(node)
    cluster.slurm.replace_node(node)


def node_cut_off(cluster: Cluster, job: str) -> None:
    """SLURM takes the node for dead and starts the job again; the first copy lives on and must stop by itself."""
    node = cluster.slurm.client("squeue", "-h", "-j", job, "-o", "%N").strip()
    older = cluster.process("classify.py")
    cluster.slurm.cut_off_node(node)
    cluster.went_on()
    older.resume()
    wait("the end of the first copy", PATIENCE_S, lambda: not older.is_running() or older.status() == "zombie")
    cluster.slurm.replace_node(node)


def test_a_training_outlives_whatever_slurm_does_to_it(cluster, undisturbed):
    """One fault after the other on the same training; it goes on from where it was, and the table is the same."""
    profile = cluster.project.folder / "profiles/slurm/profile.yaml"
    text = profile.read_text()
    assert "classify: [16000, 720]" in text
    profile.write_text(text.replace("classify: [16000, 720]", 'classify: ["(300 if attempt == 1 else 16000)", 720]'))
    cluster.start()
    for fault in (requeue, cancellation, preemption, node_failure, time_limit, node_cut_off):
        with cluster.training() as (job, before):
            fault(cluster, job)
        after = cluster.went_on()
        print(f"{fault.__name__}: job {job} at step {before}, went on from step {after}", flush=True)
        assert after >= before, f"{fault.__name__} cost steps"
    cluster.finish()
    same_results(cluster.project, undisturbed)
    states = [job["state"] for job in cluster.jobs() if "rule_classify" in job["rule"]]
    print("jobs of the training:", *states)
    assert states[0] in ("FAILED", "OUT_OF_MEMORY")  # 300 MB are too little; the second attempt asks for more
    assert states[1:] == ["CANCELLED", "TIMEOUT", "COMPLETED"]  # the others went on as the same job
    assert "Removing output files" not in cluster.output()


def test_the_main_process_may_die_in_any_way(cluster, undisturbed):
    """Ctrl-C, SIGKILL, SIGTERM, each in the middle of the training; then the same command again."""
    main = cluster.start()
    with cluster.training() as (job, before):
        main.send_signal(signal.SIGINT)
    main.wait(PATIENCE_S)
    wait("the cancellation", PATIENCE_S, lambda: cluster.state(job) == "CANCELLED")
    main = cluster.start()
    assert cluster.went_on() >= before
    with cluster.training() as (job, before):
        main.kill()
        main.wait()
        assert cluster.state(job) == "RUNNING"  # an orphan
        main = cluster.start()
        assert cluster.went_on() >= before
    wait("the orphan's end", PATIENCE_S, lambda: cluster.state(job) in ("CANCELLED", "FAILED"))  # or stopped by itself
    assert "an earlier run left" in cluster.output()
    main.send_signal(signal.SIGTERM)
    assert main.wait(PATIENCE_S) == 1
    assert [job["state"] for job in cluster.jobs()][-1] == "COMPLETED"  # it waited for the training
    assert "rule_cam" not in cluster.jobs()[-1]["rule"]
    cluster.start()
    cluster.finish()
    same_results(cluster.project, undisturbed)

"""A real SLURM on this machine, for tests: one controller and two simulated nodes with two GPUs each that are none.

All state lies in one folder; everything listens on 127.0.0.1. Debian 12's slurmctld, slurmd, slurm-client and munge are
enough (tests/slurm/install.sh). No systemd, no cgroups, no accounting. Faults are methods: a node that dies, a job that
is sent back, and so on.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
NODES = ("n1", "n2")
PATIENCE_S = 600
"""For what takes seconds on an idle machine."""
CONFIG = """
ClusterName=sandbox
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MinJobAge=600
KillWait=10
InactiveLimit=0
SlurmdTimeout=20
MessageTimeout=10
{nodes}
PartitionName=cpu Nodes=ALL Default=YES MaxTime=1440 State=UP PriorityTier=1 PreemptMode=OFF
PartitionName=gpu Nodes=ALL MaxTime=1440 State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=1440 State=UP PriorityTier=10 PreemptMode=OFF
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=32 CoresPerSocket=32 Sockets=1 "
    "ThreadsPerCore=1 RealMemory=200000 Gres=gpu:2 State=UNKNOWN"
)


def missing() -> str | None:
    """Why the sandbox cannot be had here, or None."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed"
    return None if os.getuid() == 0 else "only root may start SLURM's daemons"


class Sandbox:
    """Started by `start`, gone after `stop`; `environment` is what clients need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "slurm.conf"
        self.cut_off: list[psutil.Process] = []
        self.environment = os.environ | {
            "SLURM_CONF": str(self.config),
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
        }

    def start(self) -> None:
        for name in ("munge", "state", "bin", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        self._write_config()
        munge = self.folder / "munge"
        (munge / "key").write_bytes(os.urandom(1024))
        (munge / "key").chmod(0o600)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}
        self._daemon("munged", *(f"--{option}={munge / name}" for option, name in files.items()))
        self._daemon("slurmctld", "-f", str(self.config))
        wait("slurmctld", 30, lambda: "is UP" in self.client("scontrol", "ping"))
        for node in NODES:
            self.start_node(node)
        wait("nodes", 60, lambda: self.client("sinfo", "-hN", "-p", "cpu", "-o", "%T").split() == ["idle"] * len(NODES))

    def stop(self) -> None:
        self.client("scancel", "--full", "--signal=KILL", "--user=root")
        for node in NODES:
            self.kill_node(node)
        end(self.cut_off)
        for file in (self.folder / "slurmctld.pid", self.folder / "munge" / "pid"):
            end([psutil.Process(int(file.read_text()))] if file.exists() else [])

    def client(self, *command: str) -> str:
        """Output of one of SLURM's commands; empty when it fails."""
        answer = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        return answer.stdout

    def start_node(self, node: str) -> None:
        self._daemon("slurmd", "-N", node, "-f", str(self.config))

    def kill_node(self, node: str) -> None:
        """The node dies: its daemon, its steps, and all that they started."""
        dead = self._daemon_of(node)
        for step in self._steps_of(node):
            dead += [*step.children(recursive=True), step]
        end(dead)
        self._lost(node)

    def cut_off_node(self, node: str) -> None:
        """The node is out of reach and taken for dead, but what runs there goes on.

        Its state on disk is gone too, so that `replace_node` brings a new machine of the same name.
        """
        steps = self._steps_of(node)
        for step in steps:
            step.suspend()
        self.cut_off += steps
        end(self._daemon_of(node))
        shutil.rmtree(self.folder / "spool" / node)
        (self.folder / "spool" / node).mkdir()
        self._lost(node)

    def replace_node(self, node: str) -> None:
        """Bring a lost node back."""
        self.start_node(node)
        self.client("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def _lost(self, node: str) -> None:
        """The controller notices at once."""
        self.client("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def _daemon_of(self, node: str) -> list[psutil.Process]:
        file = self.folder / f"slurmd.{node}.pid"
        found = [psutil.Process(int(file.read_text()))] if file.exists() else []
        file.unlink(missing_ok=True)
        return found

    def _steps_of(self, node: str) -> list[psutil.Process]:
        jobs = {path.name.split("_")[1].split(".")[0] for path in (self.folder / "spool" / node).glob(f"{node}_*")}
        # slurmstepd: [141.batch]
        return [step for step in self._steps() if " ".join(step.cmdline()).partition("[")[2].partition(".")[0] in jobs]

    def _steps(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            try:
                if process.name().startswith("slurmstepd") and process.environ().get("SLURM_CONF") == str(self.config):
                    yield process
            except psutil.Error:
                continue

    def _daemon(self, *command: str) -> None:
        with open(self.folder / "daemons.log", "ab") as log:
            subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)

    def _write_config(self) -> None:
        host, port = socket.gethostname().split(".")[0], free_ports(1 + len(NODES))
        nodes = [NODE.format(name=node, host=host, port=port + 1 + i) for i, node in enumerate(NODES)]
        self.config.write_text(CONFIG.format(host=host, port=port, folder=self.folder, nodes="\n".join(nodes)))
        lines = []
        for node in NODES:
            devices = self.folder / "dev" / node
            devices.mkdir(parents=True)
            for number in range(2):
                (devices / f"nvidia{number}").symlink_to("/dev/null")
            lines.append(f"NodeName={node} Name=gpu File={devices}/nvidia[0-1]\n")
        (self.folder / "gres.conf").write_text("AutoDetect=off\n" + "".join(lines))
        # The executor drops every SLURM_* variable inside a job, SLURM_CONF too; a wrapper on the PATH brings it back.
        for name in ("srun", "sbatch", "squeue", "sinfo", "scancel", "scontrol", "sacct"):
            wrapper = self.folder / "bin" / name
            wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.config} exec {shutil.which(name)} "$@"\n')
            wrapper.chmod(0o755)


def free_ports(count: int) -> int:
    """The first of `count` neighbouring ports on which nobody listens; two sandboxes may look at the same time."""
    firsts = list(range(17800, 19800, 20))
    random.shuffle(firsts)
    for first in firsts:
        if all(_free(first + number) for number in range(count)):
            return first
    raise RuntimeError("no free ports")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def end(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.Error:
            continue
    psutil.wait_procs(processes, timeout=1)  # zombies stay until their parent looks


def wait(what: str, seconds: float, done: Callable[[], object], pause: float = 0.2) -> None:
    """Until `done` answers true; the test fails after `seconds`."""
    limit = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < limit, f"{what}: nothing after {seconds} s"
        time.sleep(pause)

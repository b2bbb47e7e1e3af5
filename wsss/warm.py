"""A warm process: a workflow's scripts run as forks of one process that has imported torch and the stages already.

Importing torch and loading compiled kernels takes several seconds of processor time, more than the work of many a job
on a small data set. `wsss warm COMMAND` listens on a socket while the command runs; a script that Snakemake starts
hands itself over when it imports `wsss.job`, and ends with the exit status of the fork that ran it. Forks share no
state: each begins where a fresh process would stand after its imports. For one machine without a GPU.
"""

import importlib
import json
import os
import runpy
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from wsss.errors import UserError

ADDRESS = "WSSS_WARM"
ROOT = Path(__file__).resolve().parents[1]
STAGES = ("classify", "cam", "affinity", "refine", "pseudo", "supervised", "segment", "predict", "evaluate", "words")
MODULES = ("tables", "report", "data.shapes", "paper_figures.montage", "backbones.tiny")
HEAD = struct.Struct("<II")
STATUS = struct.Struct("<i")


def hand_over() -> None:
    """End this process with the result of a fork that runs the same workflow script, where a warm process offers it."""
    address = os.environ.get(ADDRESS)
    if not address or not hasattr(sys.modules["__main__"], "snakemake"):
        return
    del os.environ[ADDRESS]
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address)
        except OSError:
            return
        request = {"root": str(ROOT), "argv": sys.argv, "cwd": os.getcwd(), "environ": dict(os.environ)}
        body = json.dumps(request).encode()
        socket.send_fds(connection, [HEAD.pack(len(body), os.getpid())], [0, 1, 2])
        connection.sendall(body)
        answer = _receive(connection, STATUS.size)
        if not answer:
            return
        _forward_signals(*STATUS.unpack(answer))
        status = _receive(connection, STATUS.size)
        os._exit(*(STATUS.unpack(status) if status else (1,)))


def serve(command: Sequence[str]) -> int:
    """Run `command` while its workflow scripts are served by forks of this process; returns its exit status."""
    with tempfile.TemporaryDirectory(prefix="wsss-") as folder, socket.socket(socket.AF_UNIX) as listener:
        address = str(Path(folder, "warm"))
        listener.bind(address)
        listener.listen(64)
        listener.settimeout(0.2)
        try:
            running = subprocess.Popen(command, env=os.environ | {ADDRESS: address})
        except OSError as error:
            raise UserError(f"{command[0]}: cannot be run ({error.strerror}); is the environment active?") from None
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: running.send_signal(number))
        loaded, forks = False, set[int]()
        while running.poll() is None:
            forks = {pid for pid in forks if os.waitpid(pid, os.WNOHANG) == (0, 0)}
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            if not loaded:
                load()
                loaded = True
            pid = os.fork()
            if not pid:
                signal.signal(signal.SIGINT, interrupt)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                listener.close()
                _run(connection)
            forks.add(pid)
            connection.close()
        return running.returncode


def load() -> None:
    """Import what jobs import, and call the kernels that many of them call.

    To load a kernel takes up to half a second; to compile all of them, once on a machine, half a minute.
    """
    for name in (*STAGES, *MODULES):
        importlib.import_module(f"wsss.{name}")
    import numpy as np
    import torch

    from wsss.data.transforms import Augmentation
    from wsss.ops.crf import PRESETS, crf, unary_from_labels
    from wsss.ops.metrics import confusion
    from wsss.ops.random_walk import edge_affinity, walk
    from wsss.ops.scores import enlarge, labels_at
    from wsss.ops.slic import slic
    from wsss.ops.superpixel_pooling import pool
    from wsss.ops.sweep import Sweep

    rgb_HW3, label_HW = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8)
    Augmentation(crop=16, resize="factor", values=(0.5, 1.5))(rgb_HW3, np.random.default_rng(0), label_HW)
    score_KHW = enlarge(np.zeros((1, 8, 8), np.float16), label_HW.shape)
    confusion(label_HW, labels_at(score_KHW, [1], 0.5), 2)
    Sweep(2).count(score_KHW, [1], label_HW)
    guide_HW = slic(rgb_HW3, segments=4)
    pool(torch.zeros(1, 1, 8, 8), guide_HW[None])
    crf(rgb_HW3, unary_from_labels(label_HW, 2, 0.7), PRESETS["psa"])
    walk(score_KHW[:, :8, :8], edge_affinity(np.zeros((8, 8), np.float32), 2), 2, beta=1.0, steps=2)


def _run(connection: socket.socket) -> NoReturn:
    """In the fork: become the script of the request, and answer with its exit status."""
    connection.settimeout(None)
    head, files, _, _ = socket.recv_fds(connection, HEAD.size, 3)
    length, _ = HEAD.unpack(head)
    request = json.loads(_receive(connection, length))
    if request["root"] != str(ROOT):
        os._exit(0)
    for target, file in enumerate(files):
        os.dup2(file, target)
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["cwd"])
    sys.argv = request["argv"]
    connection.sendall(STATUS.pack(os.getpid()))
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    status = _status_of(sys.argv[0])
    connection.sendall(STATUS.pack(status))
    os._exit(status)


def _status_of(script: str) -> int:
    try:
        runpy.run_path(script, run_name="__main__")
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _end_with(connection: socket.socket) -> None:
    """A script whose process was killed dies too."""
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _forward_signals(pid: int) -> None:
    def forward(number: int, frame: object) -> None:
        with suppress(ProcessLookupError):  # the fork has just ended, and its status is on the way
            os.kill(pid, number)

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, forward)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _receive(connection: socket.socket, length: int) -> bytes:
    """Exactly `length` bytes, or none when the other side is gone."""
    received = b""
    while len(received) < length:
        part = connection.recv(length - len(received))
        if not part:
            return b""
        received += part
    return received

"""Scripts that run as forks of a warm process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAD = "import sys, os, time\nsnakemake = None\nbefore = os.getpid()\nfrom wsss import job\n"
COMMAND = [sys.executable, "-m", "wsss.cli", "warm"]


@pytest.fixture
def script(tmp_path):
    def write(body):
        path = tmp_path / "script.py"
        path.write_text(HEAD + body)
        return path

    return write


def warm(*command, **options):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*COMMAND, *map(str, command)], env=environment, capture_output=True, text=True, check=False, **options
    )


def test_a_script_runs_in_a_process_that_has_imported_torch(script, tmp_path):
    path = script("print('torch' in sys.modules, os.getcwd(), sys.argv[1], os.environ['MINE'])\nsys.exit(3)\n")
    answer = warm("env", "MINE=yes", sys.executable, path, "argument", cwd=tmp_path)
    assert answer.stdout == f"True {tmp_path} argument yes\n", answer.stderr
    assert answer.returncode == 3


def test_an_error_shows_its_traceback_and_fails(script):
    answer = warm(sys.executable, script("raise ValueError('broken')\n"))
    assert answer.returncode == 1
    assert "ValueError: broken" in answer.stderr


def test_other_programs_run_as_they_are(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text("import sys\nfrom wsss import job\nprint('torch' in sys.modules)\n")
    assert warm(sys.executable, path).stdout == "False\n"


@pytest.fixture
def killed(script, tmp_path):
    """Run a script and send it a signal once it has begun: the status of the command, the process id of the fork."""

    def run(body, number):
        begun = tmp_path / "begun"
        begun.unlink(missing_ok=True)
        path = script(f"{body}open('begun', 'w').write(str(os.getpid()))\ntime.sleep(60)\n")
        wait = "while [ ! -s begun ]; do sleep 0.1; done"
        command = f"{sys.executable} {path} & child=$!; {wait}; kill -{number} $child; wait $child"
        status = warm("bash", "-c", command, cwd=tmp_path, timeout=600).returncode
        return status, int(begun.read_text())

    return run


def test_a_fork_ends_by_itself_when_its_script_is_asked_to(killed):
    body = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
    assert killed(body, signal.SIGTERM)[0] == 7


def test_a_fork_dies_with_its_script(killed):
    status, fork = killed("", signal.SIGKILL)
    assert status == 128 + signal.SIGKILL
    time.sleep(0.5)
    stat = Path("/proc", str(fork), "stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_without_a_command_the_kernels_are_compiled():
    answer = warm()
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")

"""Compiled kernels of another version of the sources are not used."""

import os
import subprocess
import sys

from wsss.ops import forget_stale_kernels

CALLED = "from numba import njit\n\n@njit(cache=True)\ndef called(x):\n    return x + {}\n"
CALLER = """
from numba import njit
from called import called

@njit(cache=True)
def caller(x):
    return called(x) * 10

print(caller(1))
"""


def test_a_kernel_is_compiled_anew_when_one_that_it_calls_has_changed(tmp_path):
    def result():
        return int(subprocess.run([sys.executable, "caller.py"], cwd=tmp_path, capture_output=True, check=True).stdout)

    (tmp_path / "called.py").write_text(CALLED.format(1))
    (tmp_path / "caller.py").write_text(CALLER)
    assert result() == 20
    (tmp_path / "called.py").write_text(CALLED.format(20))
    assert result() == 20, "numba looks at the file of what is called too: this cure can go"
    forget_stale_kernels(tmp_path)
    assert result() == 210


def test_kernels_of_these_sources_are_kept(tmp_path):
    source, cache = tmp_path / "a.py", tmp_path / "__pycache__"
    cache.mkdir()
    older, newer = cache / "a.f-1.py311.nbi", cache / "a.g-1.py311.nbi"
    for file, age in ((older, 1), (source, 2), (newer, 3)):
        file.touch()
        os.utime(file, (age, age))
    forget_stale_kernels(tmp_path)
    assert sorted(file.name for file in cache.iterdir()) == [newer.name]


def test_a_folder_without_kernels_is_no_error(tmp_path):
    (tmp_path / "a.py").touch()
    forget_stale_kernels(tmp_path)

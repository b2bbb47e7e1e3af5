"""Numerics without files or settings: arrays in, arrays out."""

from contextlib import suppress
from pathlib import Path


def forget_stale_kernels(folder: Path) -> None:
    """Remove the compiled kernels of a folder that are older than any of its sources.

    numba compares a kernel with its own file only; one that calls a kernel of another file would keep its old code.
    """
    newest = max(source.stat().st_mtime for source in folder.glob("*.py"))
    for index in folder.glob("__pycache__/*.nbi"):
        with suppress(OSError):  # another process was faster, or the installation is read-only
            if index.stat().st_mtime < newest:
                index.unlink()


forget_stale_kernels(Path(__file__).parent)

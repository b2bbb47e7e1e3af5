"""What a process that computes with torch sets up first: seed, threads, memory, device."""

import ctypes

import cv2
import torch


def set_up(seed: int, threads: int) -> torch.device:
    """Seed torch, bound its threads, keep freed memory, and choose the device."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    keep_freed_memory()
    torch.manual_seed(seed)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks of up to 32 MB (its limit): fresh pages cost a sixth of a small network's step."""
    trim_threshold, map_threshold = -1, -3
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(trim_threshold, 1 << 30)
        library.mallopt(map_threshold, 1 << 25)

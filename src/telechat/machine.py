"""What this machine can do: cores, memory, instruction set, matrix speed."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import time
from typing import Any

import torch


def quickstart_seconds(gflops: float) -> float:
    """What the quickstart may take on a machine of `gflops`: 600 s where it is 250 or more, in proportion below."""
    return 600.0 * max(1.0, 250.0 / gflops)


def gemm_gflops(threads: int = 2, size: int = 1024, seconds: float = 0.6) -> float:
    """Measured float32 matrix-multiply rate in GFLOP/s on `threads` threads: the best of several short rounds."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        a, b = torch.ones(size, size), torch.ones(size, size)
        torch.mm(a, b)
        best, end = 0.0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            begun = time.perf_counter()
            for _ in range(4):
                torch.mm(a, b)
            best = max(best, 4 * 2 * size**3 / (time.perf_counter() - begun))
        return best / 1e9
    finally:
        torch.set_num_threads(before)


# From glibc's malloc.h: the parameters of mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> None:
    """Ask the C library to keep what tensors leave behind for the next ones, instead of giving it back and taking new
    pages at every operation: training on a CPU gains a tenth to a sixth (docs/log.md). Does nothing elsewhere."""
    if platform.libc_ver()[0] == "glibc":
        with contextlib.suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
            mallopt(_M_TOP_PAD, 64 << 20)


def cpu_name() -> str:
    """The processor's name as the system reports it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_bytes() -> int:
    """Physical memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def version_of(package: str) -> str | None:
    """The version of an installed package; None where it is absent."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def accelerator() -> str | None:
    """The CUDA device that recipes are trained on."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def describe_machine() -> dict[str, Any]:
    """The machine as the report records it."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "memory_bytes": memory_bytes(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gemm_gflops": round(gemm_gflops(), 1),
        "accelerator": accelerator(),
        "system": f"{platform.system()} {platform.machine()}",
    }

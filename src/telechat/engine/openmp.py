"""Kernels that numba compiles, run by the threads that torch already has (OpenMP's): no second set of threads competes
for the cores, and a call costs a few microseconds."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
import torch
from numba import cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# What the compiler may do to sums: another order, and a product added in one step.
MATH = {"reassoc", "contract", "nsz", "arcp"}

f32 = np.float32
LOG2_E = math.log2(math.e)
LOWEST = f32(-126)  # the exponent of the smallest normal number
# 2^x for |x| ≤ ½: the powers of ln 2 over the factorials; the first one left out is 1.2e-7.
_ONE = f32(1)
_P1, _P2, _P3, _P4, _P5, _P6 = (f32(math.log(2) ** k / math.factorial(k)) for k in range(1, 7))

thread_number = types.ExternalFunction("omp_get_thread_num", types.int32())
thread_count = types.ExternalFunction("omp_get_num_threads", types.int32())
meet = types.ExternalFunction("GOMP_barrier", types.void())
"""Waits for all of the threads that run the same entry."""


@intrinsic
def pointer(context: Any, address: Any) -> Any:
    """An address as the pointer that `carray` takes."""
    return types.voidptr(types.int64), lambda context, builder, signature, args: builder.inttoptr(args[0], cgutils.voidptr_t)


@njit(fastmath=MATH, error_model="numpy", inline="always")
def power_of_two(x):  # type: ignore[no-untyped-def]
    """2^x for |x| ≤ ½."""
    return _ONE + x * (_P1 + x * (_P2 + x * (_P3 + x * (_P4 + x * (_P5 + x * _P6)))))


def _library() -> Path | None:
    """The OpenMP library (GNU's) that torch uses: its own, or the only one in this process."""
    maps = Path("/proc/self/maps")
    if not (torch.backends.openmp.is_available() and maps.exists()):
        return None
    loaded = {Path(line.split()[-1]) for line in maps.read_text().splitlines() if "libgomp" in line}
    home = Path(torch.__file__).parent
    own = {path for path in loaded if home in path.parents or path.parent == home.with_name("torch.libs")}
    return next(iter(own or loaded)) if len(own or loaded) == 1 else None


def _drop_stale(source: Path) -> None:
    """Forget what was compiled of `source` before another file of kernels changed: numba looks at `source` alone."""
    newest = max(file.stat().st_mtime for file in source.parent.glob("*.py"))
    for index in (source.parent / "__pycache__").glob(f"{source.stem}.*.nbi"):
        with contextlib.suppress(OSError):
            if index.stat().st_mtime < newest:
                index.unlink()


@functools.cache
def compiled(entry: Callable[[Any], None]) -> Callable[[Any, int], None] | None:
    """A function of (arguments, threads) that runs `entry(address of the arguments)` once on each of so many threads;
    None where torch runs on no OpenMP library that others may use too."""
    path = _library()
    if path is None:
        return None
    library = ctypes.CDLL(str(path))
    for name in ("omp_get_thread_num", "omp_get_num_threads", "GOMP_barrier"):
        llvmlite.binding.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
    signature = types.void(types.voidptr)
    _drop_stale(Path(entry.__code__.co_filename))
    try:
        made = cfunc(signature, cache=True)(entry)
    except RuntimeError:  # no folder to keep it in
        made = cfunc(signature)(entry)
    parallel = library.GOMP_parallel
    parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None
    return lambda arguments, threads: parallel(made.address, arguments, threads, 0)

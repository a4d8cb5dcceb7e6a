"""What the worker process gives up before it runs foreign code: Landlock, seccomp, credentials, limits.

Standard library only and no imports from the package: `server.py` loads this file by its path. Every mechanism
reports what it did, or why it could not.
"""

import contextlib
import ctypes
import os
import platform
import resource
import struct
from collections.abc import Callable, Iterable

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SIGKILL = 9

_COMMON = {
    "x86_64": 0xC000003E,
    "aarch64": 0xC00000B7,
}
# The system calls that running a pure Python function needs. Everything else fails with EPERM: no processes, no
# signals, no sockets, no pipes, and nothing that can wait, so that a child either computes or ends.
_ALLOWED = {
    "x86_64": {
        "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "lseek": 8, "mmap": 9,
        "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16,
        "pread64": 17, "access": 21, "mremap": 25, "madvise": 28, "getpid": 39, "exit": 60, "uname": 63, "getcwd": 79,
        "readlink": 89, "gettimeofday": 96, "getrusage": 98, "times": 100, "getuid": 102, "getgid": 104, "geteuid": 107,
        "getegid": 108, "getppid": 110, "sigaltstack": 131, "gettid": 186, "getdents64": 217, "clock_gettime": 228,
        "exit_group": 231, "openat": 257, "newfstatat": 262, "readlinkat": 267, "getrandom": 318, "statx": 332,
    },
    "aarch64": {
        "getcwd": 17, "ioctl": 29, "faccessat": 48, "openat": 56, "close": 57, "getdents64": 61, "lseek": 62, "read": 63,
        "write": 64, "pread64": 67, "readlinkat": 78, "newfstatat": 79, "fstat": 80, "exit": 93, "exit_group": 94,
        "clock_gettime": 113, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139,
        "times": 153, "uname": 160, "getrusage": 165, "gettimeofday": 169, "getpid": 172, "getppid": 173, "getuid": 174,
        "geteuid": 175, "getgid": 176, "getegid": 177, "gettid": 178, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222,
        "mprotect": 226, "madvise": 233, "getrandom": 278, "statx": 291,
    },
}  # fmt: skip
_EPERM_ACTION, _ALLOW_ACTION = 0x00050000 | 1, 0x7FFF0000


class _SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


class SeccompFilter:
    """An allow-list of system calls, built once and installed in every child."""

    def __init__(self) -> None:
        machine = platform.machine()
        if machine not in _COMMON:
            raise OSError(f"no system call table for {machine}")
        calls = sorted(_ALLOWED[machine].values())
        program = [(0x20, 0, 0, 4), (0x15, 1, 0, _COMMON[machine]), (0x06, 0, 0, _EPERM_ACTION), (0x20, 0, 0, 0)]
        program += [(0x15, len(calls) - i, 0, number) for i, number in enumerate(calls)]
        program += [(0x06, 0, 0, _EPERM_ACTION), (0x06, 0, 0, _ALLOW_ACTION)]
        self._code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in program))
        self._program = _SockFprog(len(program), ctypes.addressof(self._code))

    def install(self) -> None:
        """Confine this process for good."""
        if _LIBC.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(self._program), 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "seccomp")


def no_new_privileges() -> str:
    """No program started from here on can gain rights."""
    if _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return f"absent: errno {ctypes.get_errno()}"
    return "on"


def die_with_parent(parent: int) -> str:
    """The kernel kills this process when its parent (strictly: the thread that started it) ends."""
    if _LIBC.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0) != 0:
        return f"absent: errno {ctypes.get_errno()}"
    if os.getppid() != parent:
        os._exit(0)
    return "on"


def landlock(readable: Iterable[str]) -> str:
    """Deny every access to files but reading below `readable`; deny TCP, signals and abstract sockets where known."""
    return _restrict(_landlock_abi(), True, readable)


def no_network() -> str:
    """Deny TCP, signals to other processes and abstract sockets, as far as the kernel's Landlock knows them."""
    abi = _landlock_abi()
    return _restrict(abi, False, ()) if abi >= 4 else f"absent: Landlock abi {abi}"


def _landlock_abi() -> int:
    return _LIBC.syscall(444, None, 0, 1)


def _restrict(abi: int, files: bool, readable: Iterable[str]) -> str:
    """Take from this process, for good, what Landlock of this version can take; from files only where asked for."""
    if abi < 1:
        return f"absent: errno {ctypes.get_errno()}"
    rights = {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16) if files else 0
    attributes = struct.pack("<QQQ", (1 << rights) - 1, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = _LIBC.syscall(444, attributes, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return f"absent: errno {ctypes.get_errno()}"
    try:
        for path in readable:
            folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rule = struct.pack("<Qi", (1 << 2) | (1 << 3), folder)
            failed = _LIBC.syscall(445, ruleset, 1, rule, 0)
            os.close(folder)
            if failed:
                return f"absent: errno {ctypes.get_errno()} for {path}"
        if _LIBC.syscall(446, ruleset, 0) != 0:
            return f"absent: errno {ctypes.get_errno()}"
    finally:
        os.close(ruleset)
    return f"abi {abi}"


def drop_root() -> str:
    """Root becomes a user and group that nobody else has."""
    if os.getuid() != 0:
        return f"absent: already uid {os.getuid()}"
    uid = 2_000_000 + os.getpid()
    try:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    except OSError:
        try:
            os.setgid(65534)
            os.setuid(65534)
        except OSError as error:
            return f"absent: {error.strerror}"
        return "uid 65534"
    return f"uid {uid}"


def limit(kind: int, value: int) -> None:
    """Lower a resource limit, hard and soft, as far as the present hard limit allows."""
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (value, value))


def attempt(step: Callable[[], str]) -> str:
    """What `step` reports, or why it failed."""
    try:
        return step()
    except (OSError, AttributeError, ValueError) as error:
        return f"absent: {error}"

"""Starts a browser with less: `python -I confined.py CHROMIUM ARGUMENTS…`. Standard library only, run by its path.

No TCP and no signals to others (Landlock, where the kernel has it); root becomes another user, because Chromium refuses
to keep its own sandbox for root. Where that sandbox cannot work, as in some containers, the rest has to do.
"""

import contextlib
import ctypes
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

_PROFILE = "--user-data-dir="
_NEW_USER = 0x10000000  # CLONE_NEWUSER


def _confine() -> ModuleType:
    spec = spec_from_file_location("confine", Path(__file__).parents[1] / "sandbox" / "confine.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _own_namespaces() -> bool:
    """Whether this user may have namespaces of its own, which Chromium's sandbox is made of."""
    child = os.fork()
    if child == 0:
        uid = os.getuid()
        try:
            if ctypes.CDLL(None).unshare(_NEW_USER) != 0:
                os._exit(1)
            for name, value in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1")):  # some systems refuse only this
                Path(f"/proc/self/{name}").write_text(value)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _become_another_user(profile: str) -> None:
    """Root becomes a user that nobody else is, or nobody, who owns the profile; it stays root where neither can be."""
    for uid in (2_000_000 + os.getpid(), 65534):
        try:
            for base, _, files in os.walk(profile):
                for path in (base, *(os.path.join(base, name) for name in files)):
                    os.chown(path, uid, uid, follow_symlinks=False)
            with contextlib.suppress(OSError):
                os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        except OSError:
            continue
        os.environ["HOME"] = profile
        return


def main(program: str, arguments: list[str]) -> None:
    """Become the browser."""
    confine = _confine()
    profile = next((a.removeprefix(_PROFILE) for a in arguments if a.startswith(_PROFILE)), None)
    parent = os.getppid()
    if os.getuid() == 0 and profile is not None:
        _become_another_user(profile)
    confine.attempt(confine.no_new_privileges)
    if os.getuid() == 0 or not _own_namespaces():
        arguments = ["--no-sandbox", *arguments]
    confine.attempt(confine.no_network)
    confine.attempt(lambda: confine.die_with_parent(parent))
    os.execv(program, [program, *arguments])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

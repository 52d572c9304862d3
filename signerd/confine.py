"""What the signer gives up before it touches the key. Linux only, by prctl(2) and mlockall(2).

Nothing here needs a privilege, and nothing replaces the unit's own sandbox: it holds also for a signer that
somebody starts by hand. Descriptors that systemd handed over stay as they are.
"""

import ctypes
import logging
import os
import resource

from protocol.errors import ConfigurationError

# linux/prctl.h
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
# asm-generic/mman.h
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4

_libc = ctypes.CDLL(None, use_errno=True)


def confine(*, allow_root: bool, log: logging.Logger) -> None:
    """Keep the key out of other processes' sight: no core dump, no ptrace, no swap, no file that others read.

    Raises ConfigurationError if the process runs as root and ``allow_root`` is false, or if the kernel
    refuses what needs no privilege. Memory that can't be locked is logged once, and that is all.
    """
    if os.geteuid() == 0 and not allow_root:
        raise ConfigurationError(
            "the signer doesn't run as root: start it as the user ca (runuser -u ca -- ca_signerd, or the "
            "systemd unit), or say --allow-root"
        )
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A core_pattern that names a program gets cores whatever the limit, but not of a process that isn't
    # dumpable; nor can another process of the same user ptrace it or read its memory.
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _lock_memory(log)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise ConfigurationError(f"prctl({option}, {value}) failed: {os.strerror(ctypes.get_errno())}")


def _lock_memory(log: logging.Logger) -> None:
    """Keep all memory out of swap, if that can be had for all of it and for good.

    Under a limit it can't: MCL_FUTURE makes each later allocation count against RLIMIT_MEMLOCK (8 MiB
    commonly, less than the interpreter takes to start), and the one that goes over it fails, so that the
    daemon dies of a MemoryError some day; MCL_CURRENT alone would lock all but what is loaded later,
    the key. So it is locked only without a limit, or with CAP_IPC_LOCK, which lifts the limit.
    To find out about the latter the soft limit is set to 0, at which mlockall fails without it. (The
    effective set in /proc tells nothing: inside a user namespace the capability is there and lifts nothing.)

    MCL_ONFAULT locks pages as they are touched, where the plain flags would fill each thread's whole stack.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    without_limit = hard == resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard if without_limit else 0, hard))
    if _libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0:
        return
    reason = os.strerror(ctypes.get_errno())
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))
    log.warning(
        "memory isn't locked, so the key may reach the swap (%s): set LimitMEMLOCK=infinity in the unit, "
        "or have no swap, or an encrypted one",
        reason,
    )

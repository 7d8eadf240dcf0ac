"""Take from Python what Windows does not have, in this process and in all that it starts.

    PYTHONPATH=tests/hide_posix pytest

Python imports this file when it starts. Worker processes are then spawned, and code that needs the
rest without checking for it fails. The files, paths and signals are still those of this system; see
docs/reference/platforms.md.
"""

import contextlib
import errno
import os
import select
import signal
import sys

MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty")
OF_OS = (
    "fork", "forkpty", "getloadavg", "getpgid", "getpriority", "killpg", "mkfifo", "nice",
    "posix_fadvise", "posix_fallocate", "pread", "preadv", "pwrite", "pwritev",
    "sched_getaffinity", "sched_setaffinity", "sched_yield", "setsid",
    "sysconf",
)  # fmt: skip
OF_SIGNAL = ("pthread_sigmask", "pthread_kill", "sigwait", "alarm")
OF_ERRNO = ("EREMOTEIO",)


def hide() -> None:
    """Remove modules and names; what Python itself needs of them is imported before.

    register_at_fork and statvfs stay, because torch and shutil call them if the platform is not
    Windows.
    """
    import concurrent.futures.thread
    import logging
    import random
    import selectors
    import subprocess  # noqa: F401
    import tempfile  # noqa: F401
    import threading  # noqa: F401

    with contextlib.suppress(ImportError):
        import filelock  # noqa: F401  # has a lock of its own for each system

    for module, names in ((os, OF_OS), (signal, OF_SIGNAL), (errno, OF_ERRNO)):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    for name in ("poll", "epoll"):
        if hasattr(select, name):
            delattr(select, name)
    del concurrent, logging, random, selectors  # imported for their effect
    for name in MODULES:
        sys.modules[name] = None  # `import` raises ImportError

    import multiprocessing.context as context  # after the signal mask has gone

    context.DefaultContext.get_all_start_methods = lambda self: ["spawn"]
    # The bound methods of the default context are names of the package.
    import multiprocessing

    multiprocessing.get_all_start_methods = context._default_context.get_all_start_methods
    multiprocessing.set_start_method("spawn", force=True)


if sys.platform != "win32":
    hide()

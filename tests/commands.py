"""Commands as real processes, without importing torch anew for each; see `command_server`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any


class Server:
    """`command_server`: what commands import takes longer than what they do here."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("command_server.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, what: object) -> Any:
        """Return the answer to one line."""
        self.process.stdin.write(f"{json.dumps(what)}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def memory(self) -> int:
        """Return the bytes of its address space; see proc_pid_statm(5)."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")


@lru_cache
def server() -> Server:
    """Return the one server of this process; it ends with it, when its stdin does."""
    return Server()


@dataclass
class Process:
    """A command that was started."""

    pid: int

    def code(self) -> int | None:
        """Return its exit code, or minus the signal that ended it, or None while it runs."""
        return server().ask(self.pid)

    def wait(self, seconds: float = 300) -> int | None:
        """Wait for its end; return None if it did not come."""
        wait_until(lambda: self.code() is not None, seconds)
        return self.code()


def begin(
    cwd: Path, command: list[str], words: Path, limits: dict[str, int] | None = None
) -> Process:
    """Start a command in a session of its own; what it says goes to two files in ``words``.

    They are stdout.txt and stderr.txt. With resource limits.
    """
    job = {"cwd": str(cwd), "command": command, "words": str(words), "limits": limits or {}}
    return Process(server().ask(job))


def living(session: int) -> list[int]:
    """Return the processes of a session that are not dead; see proc_pid_stat(5)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(path.parent.name))
    return found


def stop_all(session: int) -> None:
    """Kill what is left of a session."""
    for process in living(session):
        os.kill(process, signal.SIGKILL)


def wait_until(true: Callable[[], object], seconds: float) -> bool:
    """Wait until something is true; return False if it is not in that time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)  # the shortest steps write for a few milliseconds
    return True

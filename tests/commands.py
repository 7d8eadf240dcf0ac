"""Run commands as processes of their own, without importing torch each time; see command_server."""

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

import pytest


class Server:
    """A running `command_server`: commands take longer to import than to run on small inputs."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("command_server.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, request: object) -> Any:
        """Send one request and return its answer."""
        self.process.stdin.write(f"{json.dumps(request)}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def memory(self) -> int:
        """Return the size of its address space in bytes; see proc_pid_statm(5)."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")


@lru_cache
def server() -> Server:
    """Return the only server of this process; it ends with it, because its stdin does.

    Without forks the test is skipped.
    """
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork, which this system does not have")
    return Server()


@dataclass
class Process:
    """A command that was started."""

    pid: int

    def code(self) -> int | None:
        """Return the exit code, minus the signal that ended it, or None while it runs."""
        return server().ask(self.pid)

    def wait(self, seconds: float = 300) -> int | None:
        """Wait until it ends and return its exit code; None if it still runs."""
        wait_until(lambda: self.code() is not None, seconds)
        return self.code()


def begin(
    cwd: Path, command: list[str], logs: Path, limits: dict[str, int] | None = None
) -> Process:
    """Start a command in a session of its own.

    Its output goes to stdout.txt and stderr.txt in ``logs``; ``limits`` are names and values of
    resource limits, such as RLIMIT_AS.
    """
    job = {"cwd": str(cwd), "command": command, "logs": str(logs), "limits": limits or {}}
    return Process(server().ask(job))


def living(session: int) -> list[int]:
    """Return the running processes of a session; see proc_pid_stat(5)."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            pids.append(int(path.parent.name))
    return pids


def stop_all(session: int) -> None:
    """Kill all processes of a session."""
    for pid in living(session):
        os.kill(pid, signal.SIGKILL)


def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    """Wait until a condition is true; return False if it does not become true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)  # the shortest steps write for a few milliseconds
    return True

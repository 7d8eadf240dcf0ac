"""Start commands as `python -m neuromusic` does, without importing torch each time.

Reads lines of JSON from stdin. An object (working directory, arguments, ...) starts a command, or
the BIDS App if the first argument is "neuromusic-bids", and the answer is its process ID; a process
ID is answered with the exit code, or null while the command runs. It is a process of its own,
without threads, so that it can fork.
"""

import atexit
import gc
import json
import os
import resource
import sys

import soundfile  # noqa: F401
import soxr  # noqa: F401

from neuromusic.cli.bids_app import command as bids_app
from neuromusic.cli.main import cli
from neuromusic.pipeline import (
    encode,  # noqa: F401
)
from neuromusic.training import fit  # noqa: F401


def run_command(cwd, command, logs, limits, pipes):
    """Run a command in this new process: its own session, output to stdout.txt and stderr.txt."""
    for pipe in pipes:
        os.close(pipe)
    os.setsid()
    os.chdir(cwd)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout.txt"), (2, "stderr.txt")):
        path = os.path.join(logs, name)
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))
    try:
        if command[:1] == ["neuromusic-bids"]:
            bids_app(command[1:], prog_name="neuromusic-bids")
        else:
            cli(command, prog_name="neuromusic")
    except SystemExit as error:
        # As Python exits, except that it takes a second to free all imported modules.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(error.code or 0)


gc.freeze()  # otherwise each new process collects garbage in all that was imported


def serve():
    """Answer until stdin ends."""
    requests, answers = os.dup(0), os.dup(1)
    exit_codes = {}
    with os.fdopen(requests) as lines:
        for line in lines:
            request = json.loads(line)
            if isinstance(request, dict):
                answer = os.fork()
                if answer == 0:
                    run_command(**request, pipes=(requests, answers))
            elif request in exit_codes:
                answer = exit_codes[request]
            else:
                pid, status = os.waitpid(request, os.WNOHANG)
                answer = os.waitstatus_to_exitcode(status) if pid else None
                if pid:
                    exit_codes[request] = answer
            os.write(answers, f"{json.dumps(answer)}\n".encode())


if __name__ == "__main__":
    serve()

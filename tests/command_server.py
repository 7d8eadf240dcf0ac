"""Starts commands as `python -m neuromusic` does, without importing torch anew for each.

Reads a line of JSON for each: the directory and the arguments, and answers with the number of the
new process; or such a number, and answers with its exit code, or null while it runs. A process of
its own, without threads, so that it can be forked.
"""

import atexit
import gc
import json
import os
import resource
import sys

import soundfile  # noqa: F401
import soxr  # noqa: F401

from neuromusic.cli.main import cli
from neuromusic.pipeline import (
    encode,  # noqa: F401
)
from neuromusic.training import fit  # noqa: F401


def begin(cwd, command, words, limits, pipes):
    """Be the new process: a session of its own, its words in stdout.txt and stderr.txt."""
    for pipe in pipes:
        os.close(pipe)
    os.setsid()
    os.chdir(cwd)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout.txt"), (2, "stderr.txt")):
        path = os.path.join(words, name)
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))
    try:
        cli(command, prog_name="neuromusic")
    except SystemExit as error:
        # As Python ends, but for the second in which it frees, one by one, what was imported.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(error.code or 0)


gc.freeze()  # else each new process looks for garbage in all that was imported


def serve():
    """Answer until stdin ends."""
    asked, answers = os.dup(0), os.dup(1)
    dead = {}
    with os.fdopen(asked) as lines:
        for line in lines:
            ask = json.loads(line)
            if isinstance(ask, dict):
                answer = os.fork()
                if answer == 0:
                    begin(**ask, pipes=(asked, answers))
            elif ask in dead:
                answer = dead[ask]
            else:
                pid, status = os.waitpid(ask, os.WNOHANG)
                answer = os.waitstatus_to_exitcode(status) if pid else None
                if pid:
                    dead[ask] = answer
            os.write(answers, f"{json.dumps(answer)}\n".encode())


if __name__ == "__main__":
    serve()

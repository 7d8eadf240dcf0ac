"""The trials of a sweep in one database that several processes share: none is lost or done twice.

A sweep of N trials is N numbered places. Optuna keeps the trials; each carries the number of its
place, and the trial of a place is the first in the database that has not failed. A process takes a
waiting one, which only one of all can do. When it dies, its trial is failed by whoever notices, and
another with the same values is put into the place; it goes on in the same run directory, where the
checkpoints are.
"""

import contextlib
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from neuromusic.core.errors import InputError
from neuromusic.features.prepared import PreparedSet
from neuromusic.training.batches import derive_seed
from neuromusic.training.config import Config

HEARTBEAT_S = 20
GRACE_S = 100  # without a heartbeat, after which a process on another machine counts as dead
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Search:
    """One study, as one of its processes sees it."""

    config: Config
    data: PreparedSet
    out: Path
    trials: int
    storage: RDBStorage
    study: optuna.Study

    def trial_id(self, number: int) -> int:
        """Return what the database calls the trial with Optuna's number."""
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        return self.storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def directory(self, place: int) -> Path:
        """Return the run directory of a place."""
        return self.out / f"trial-{place:04d}"


def open_storage(url: str) -> RDBStorage:
    """Open a database, or make it; raise InputError where there can be none."""
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    lite = url.startswith("sqlite")
    # Without BEGIN IMMEDIATE two processes can both read that a trial waits, and both take it:
    # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html (serializable isolation)
    arguments = {"connect_args": {"timeout": 120, "isolation_level": None}} if lite else {}
    for attempt in range(5):
        try:
            storage = RDBStorage(
                url, arguments, heartbeat_interval=HEARTBEAT_S, grace_period=GRACE_S
            )
            break
        except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, ImportError) as error:
            # Two processes that make the tables at once: the later one finds them there.
            if attempt < 4 and "already exists" in str(error):
                time.sleep(0.5)
                continue
            reason = str(error).splitlines()[0]
            raise InputError(
                f"--storage {url}: is no database that opens ({reason}); expected a URL such as "
                "sqlite:///sweep.db"
            ) from None
    if lite:
        sqlalchemy.event.listen(
            storage.engine, "begin", lambda opened: opened.exec_driver_sql("BEGIN IMMEDIATE")
        )
    return storage


def places(study: optuna.Study) -> dict[int, FrozenTrial]:
    """Return the trial of each place: the first that has not failed."""
    found: dict[int, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False):
        if trial.state != TrialState.FAIL:
            found.setdefault(_place(trial), trial)
    return found


def _place(trial: FrozenTrial) -> int:
    place = trial.user_attrs.get("place")
    if not isinstance(place, int):
        raise InputError(
            f"--storage: trial {trial.number} of the study was not made by neuromusic; choose "
            "another --storage or --study"
        )
    return place


def fill(search: Search) -> None:
    """Put a waiting trial into every place without one, with the values of one that failed.

    Two processes may do so at once: what comes second is never the trial of its place.
    """
    failed = {
        _place(trial): trial
        for trial in search.study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    }
    taken = places(search.study)
    for place in range(search.trials):
        if place in taken:
            continue
        old = failed.get(place)
        attributes: dict[str, Any] = {"place": place}
        if old is not None:
            attributes["again"] = old.user_attrs.get("again", 0) + 1
        # A process that died between two values had not begun to train: draw anew.
        whole = old is not None and set(old.params) == set(search.config.sweep.space)
        search.study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=old.params if old and whole else None,
                distributions=old.distributions if old and whole else None,
                user_attrs=attributes,
            )
        )


def fail_dead(search: Search) -> None:
    """Fail the running trials whose process is gone: on this machine at once, else by heartbeat."""
    optuna.storages.fail_stale_trials(search.study)
    for trial in search.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        machine, process = trial.user_attrs.get("process", ("", ""))
        if machine == this_machine() and this_process(process.split(":")[0]) != process:
            fail(search, trial.number)


def fail(search: Search, number: int) -> None:
    """Fail a trial, unless another process did so or it is finished."""
    with contextlib.suppress(UpdateFinishedTrialError):
        search.storage.set_trial_state_values(search.trial_id(number), TrialState.FAIL)


def this_machine() -> str:
    """Return a name in which a process number means one process: host, start, process namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"


def this_process(number: str) -> str:
    """Return a process's number and start, or "" if it is gone; numbers are used again."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text("utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else f"{number}:{fields[19]}"  # see proc_pid_stat(5)


def take(search: Search) -> tuple[int, optuna.Trial] | None:
    """Take a waiting trial: (its place, the trial), or None where none waits."""
    for place, frozen in sorted(places(search.study).items()):
        if place >= search.trials or frozen.state != TrialState.WAITING:
            continue
        trial_id = search.trial_id(frozen.number)
        # First, for a trial that runs without ever a heartbeat would never count as dead.
        search.storage.record_heartbeat(trial_id)
        try:
            if not search.storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                continue
        except UpdateFinishedTrialError:
            continue
        # From the place, so that no two processes draw the same.
        seed = derive_seed(search.config.train.seed, 3, place) % 2**32
        search.study.sampler = (
            optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            if search.config.sweep.sampler == "tpe"
            else optuna.samplers.RandomSampler(seed=seed)
        )
        trial = optuna.Trial(search.study, trial_id)
        trial.set_user_attr("process", (this_machine(), this_process(str(os.getpid()))))
        return place, trial
    return None


@contextlib.contextmanager
def beating(search: Search, trial: optuna.Trial) -> Iterator[None]:
    """Let the others know, every HEARTBEAT_S, that this process lives."""
    stop = threading.Event()
    trial_id = search.trial_id(trial.number)

    def beat() -> None:
        while not stop.wait(HEARTBEAT_S):
            with contextlib.suppress(StorageInternalError):  # a database may be away for a while
                search.storage.record_heartbeat(trial_id)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()

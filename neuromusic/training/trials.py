"""Trials of a sweep in a database that several processes share: none is lost or trained twice.

A sweep of N trials has N numbered slots. Optuna's trials in the database each have the number of
their slot, and the trial of a slot is the first one that has not failed. A process claims a waiting
trial, which only one process can. If the process dies, another one marks its trial as failed and
adds a new trial with the same values to the slot; it resumes from the checkpoint in the same
directory.
"""

import contextlib
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from neuromusic.core.errors import InputError
from neuromusic.core.files import as_path
from neuromusic.features.prepared import PreparedSet
from neuromusic.training.batches import derive_seed
from neuromusic.training.config import Config

HEARTBEAT_S = 20
GRACE_S = 100  # a process on another machine without a heartbeat for so long counts as dead
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
# Attributes of trials; the names are part of the databases.
SLOT = "place"
ATTEMPT = "again"  # how many trials of the slot failed before
PROCESS = "process"  # (machine, process ID and start time)


@dataclass(frozen=True)
class Search:
    """One study, as opened by one of its processes."""

    config: Config
    data: PreparedSet
    out: Path  # directory of the sweep
    n_trials: int  # over all processes
    storage: RDBStorage
    study: optuna.Study
    overwrite: bool = False  # replace networks of other settings in the directories of trials

    def trial_id(self, number: int) -> int:
        """Return the database's ID of the trial with Optuna's number."""
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        return self.storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def directory(self, slot: int) -> Path:
        """Return the directory of the network that is trained in a slot."""
        return self.out / f"trial-{slot:04d}"


def expand_home(url: str) -> str:
    """Return the URL of a database; in that of an SQLite file, ``~`` is the home directory."""
    scheme, slashes, path = url.partition(":///")
    is_home = scheme.startswith("sqlite") and path.startswith("~")
    return f"{scheme}{slashes}{as_path(path)}" if is_home else url


def open_storage(url: str) -> RDBStorage:
    """Open a database, or create it; raise InputError if that is not possible."""
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    is_sqlite = url.startswith("sqlite")
    # Without BEGIN IMMEDIATE two processes can both read that a trial is waiting, and claim it:
    # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html (serializable isolation)
    options = {"connect_args": {"timeout": 120, "isolation_level": None}} if is_sqlite else {}
    for attempt in range(5):
        try:
            storage = RDBStorage(url, options, heartbeat_interval=HEARTBEAT_S, grace_period=GRACE_S)
            break
        except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, ImportError) as error:
            # If two processes create the tables at once, the later one finds them the next time.
            if attempt < 4 and "already exists" in str(error):
                time.sleep(0.5)
                continue
            reason = str(error).splitlines()[0]
            raise InputError(
                f"storage={url!r}: is not a database that can be opened ({reason}); expected a URL "
                "such as sqlite:///sweep.db"
            ) from None
    if is_sqlite:
        sqlalchemy.event.listen(
            storage.engine,
            "begin",
            lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"),
        )
    return storage


# --- Slots ----------------------------------------------------------------------------------------


def trials_by_slot(study: optuna.Study) -> dict[int, FrozenTrial]:
    """Return slot -> its trial: the first one that has not failed."""
    return _filled(study.get_trials(deepcopy=False))


def _filled(trials: Iterable[FrozenTrial]) -> dict[int, FrozenTrial]:
    filled: dict[int, FrozenTrial] = {}
    for trial in trials:
        if trial.state != TrialState.FAIL:
            filled.setdefault(_slot(trial), trial)
    return filled


def _slot(trial: FrozenTrial) -> int:
    slot = trial.user_attrs.get(SLOT)
    if not isinstance(slot, int):
        raise InputError(
            f"storage: trial {trial.number} of the study was not added by neuromusic; choose "
            "another storage or study"
        )
    return slot


def fill_slots(search: Search) -> None:
    """Add a waiting trial to each slot without one, with the values of its failed trial, if any.

    Two processes may do this at once: only the first trial of a slot is ever trained.
    """
    # Read once: a trial that failed between two reads would lose its values.
    trials = search.study.get_trials(deepcopy=False)
    failed = {_slot(trial): trial for trial in trials if trial.state == TrialState.FAIL}
    filled = _filled(trials)
    for slot in range(search.n_trials):
        if slot not in filled:
            search.study.add_trial(_waiting_trial(search, slot, failed.get(slot)))


def _waiting_trial(search: Search, slot: int, failed: FrozenTrial | None) -> FrozenTrial:
    attributes: dict[str, Any] = {SLOT: slot}
    if failed is not None:
        attributes[ATTEMPT] = failed.user_attrs.get(ATTEMPT, 0) + 1
    # A process that died while it drew the values had not started to train: draw them again.
    if failed is None or set(failed.params) != set(search.config.sweep.space):
        return optuna.create_trial(state=TrialState.WAITING, user_attrs=attributes)
    return optuna.create_trial(
        state=TrialState.WAITING,
        params=failed.params,
        distributions=failed.distributions,
        user_attrs=attributes,
    )


def claim(search: Search) -> tuple[int, optuna.Trial] | None:
    """Claim a waiting trial for this process: (slot, trial), or None if no trial is waiting."""
    for slot, waiting in sorted(trials_by_slot(search.study).items()):
        if slot >= search.n_trials or waiting.state != TrialState.WAITING:
            continue
        trial_id = search.trial_id(waiting.number)
        # Before the state: a running trial that never had a heartbeat would never count as dead.
        search.storage.record_heartbeat(trial_id)
        try:
            if not search.storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                continue
        except UpdateFinishedTrialError:
            continue
        search.study.sampler = _sampler(search, slot)
        trial = optuna.Trial(search.study, trial_id)
        trial.set_user_attr(PROCESS, (this_machine(), process_identity(str(os.getpid()))))
        return slot, trial
    return None


def _sampler(search: Search, slot: int) -> optuna.samplers.BaseSampler:
    # Seeded by the slot, so no two processes draw the same values.
    seed = derive_seed(search.config.train.seed, 3, slot) % 2**32
    if search.config.sweep.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return optuna.samplers.RandomSampler(seed=seed)


# --- Dead processes -------------------------------------------------------------------------------


def fail_dead_trials(search: Search) -> None:
    """Mark running trials as failed if their process is dead.

    A process of this machine is checked directly (on Linux), others by their heartbeat.
    """
    optuna.storages.fail_stale_trials(search.study)
    for trial in search.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        machine, process = trial.user_attrs.get(PROCESS, ("", ""))
        is_ours = machine != "" and machine == this_machine()
        if is_ours and process_identity(process.split(":")[0]) != process:
            fail(search, trial.number)


def fail(search: Search, number: int) -> None:
    """Mark a trial as failed, unless it is finished or another process has done so."""
    with contextlib.suppress(UpdateFinishedTrialError):
        search.storage.set_trial_state_values(search.trial_id(number), TrialState.FAIL)


def this_machine() -> str:
    """Return a name within which a process ID is unique: host, boot ID and process namespace.

    Only Linux has these files; elsewhere it is "", and processes are known by their heartbeat.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def process_identity(pid: str) -> str:
    """Return a process ID with its start time, because IDs are reused; "" if it is dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else f"{pid}:{fields[19]}"  # see proc_pid_stat(5)


@contextlib.contextmanager
def heartbeat(search: Search, trial: optuna.Trial) -> Iterator[None]:
    """Record every HEARTBEAT_S seconds, in a thread, that the process of a trial is alive."""
    stop = threading.Event()
    trial_id = search.trial_id(trial.number)

    def beat() -> None:
        while not stop.wait(HEARTBEAT_S):
            # The database may be unreachable for a while.
            with contextlib.suppress(StorageInternalError):
                search.storage.record_heartbeat(trial_id)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()

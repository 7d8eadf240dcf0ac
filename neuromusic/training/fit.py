"""Train a network into a directory; PyTorch Lightning runs the loop over `lightning.GenreTask`.

Each epoch ends with a checkpoint that is written completely or not at all, so a killed training can
resume with the same result, bit for bit. With several devices each takes its share of every batch,
and the result is that of one device up to rounding (`distributed`).
"""

import logging
import math
import os
import signal
import stat
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
import torch.utils.deterministic
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from neuromusic.core import plan
from neuromusic.core.cores import why_slow
from neuromusic.core.errors import InputError
from neuromusic.core.files import sha256, write_text
from neuromusic.core.outputs import PLAN
from neuromusic.core.progress import Bar, begin
from neuromusic.core.records import record, record_hash, write_record
from neuromusic.features.prepared import PreparedSet
from neuromusic.training import trained
from neuromusic.training.batches import band_statistics
from neuromusic.training.build import build_network
from neuromusic.training.config import Config, load_config
from neuromusic.training.control_copies import to_channels_last
from neuromusic.training.devices import check_devices
from neuromusic.training.distributed import end_on_signals
from neuromusic.training.estimates import training_work
from neuromusic.training.lightning import GenreTask
from neuromusic.training.resume import check_checkpoint, clear, training_state
from neuromusic.training.selection import select

# cuBLAS is deterministic only with this, and only if it is set before its first use.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

log = logging.getLogger(__name__)

DEVICE_TIMEOUT = timedelta(minutes=5)  # how long a device waits for the others
Advance = Callable[[dict[str, float]], None]


class EpochSaver(pl.Callback):
    """After each epoch, write its row of metrics, the best weights so far and the checkpoint.

    It also ends the training early and advances the "plateau" schedule, because it has all losses.
    """

    def __init__(self, out: Path, advance: Advance) -> None:
        self.out = out
        self.advance = advance
        self.started = 0.0  # seconds
        self.bar = Bar("epoch", None)
        # The state in checkpoints:
        self.rows: list[dict[str, float]] = []
        self.seconds: list[dict[str, float]] = []
        self.best = math.inf
        self.best_epoch = -1
        self.over = False  # the training ended before its last epoch
        self.plateau: dict[str, Any] = {}

    @property
    def state_key(self) -> str:
        """Name of the state in checkpoints; fixed, so that old ones can be resumed."""
        return "Keeper"

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return {
            "rows": self.rows,
            "seconds": self.seconds,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "over": self.over,
            "plateau": self.plateau,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.__dict__.update(state_dict)

    def on_fit_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Restore the state of the plateau schedule."""
        if self.plateau and hasattr(task, "plateau"):
            task.plateau.load_state_dict(self.plateau)

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Stop at once if the training had ended before it was killed.

        With several devices, replace Lightning's signal handlers (see `end_on_signals`).
        """
        trainer.should_stop = self.over
        if trainer.world_size > 1:
            end_on_signals(None if trainer.is_global_zero else os.getppid())

    def on_train_epoch_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Start the clock, and the bar of this epoch's batches."""
        self.started = time.perf_counter()
        self.bar = Bar(f"epoch {trainer.current_epoch + 1}", int(trainer.num_training_batches))
        if trainer.is_global_zero:
            begin(self.bar)

    def on_train_batch_end(self, *_: Any) -> None:
        """Count a batch."""
        self.bar.advance()

    def on_exception(self, *_: Any) -> None:
        """Remove the bar of an epoch that failed or was stopped."""
        self.bar.end()

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Write all files; stop if the settings say so.

        Raises InputError, before anything is written, if the loss is not finite.
        """
        assert isinstance(task, GenreTask)
        self.bar.end()
        row = self._row(trainer, task)
        if not math.isfinite(row["train_loss"]):
            if trainer.is_global_zero:
                self.advance(row)
            loss = "NaN" if math.isnan(row["train_loss"]) else "infinite"
            raise InputError(
                f"{self.out}: training diverged (loss is {loss}) at epoch {row['epoch']}; remove "
                "this directory and retry with a smaller train.lr"
            )
        self.rows.append(row)
        self._keep_best(trainer, task, row)
        if hasattr(task, "plateau"):
            task.plateau.step(row.get("valid_loss", row["train_loss"]))
            self.plateau = task.plateau.state_dict()
        self.over = self._should_end(trainer, task)
        trainer.should_stop = trainer.should_stop or self.over
        if trainer.is_global_zero:
            self._write_tables(row)
        part = self.out / f".{trained.LAST}.partial"
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            # Lightning's file has the mode 0644 whatever the umask; config.toml follows it.
            part.chmod(stat.S_IMODE((self.out / trained.CONFIG).stat().st_mode))
            os.replace(part, self.out / trained.LAST)
            self.advance(row)

    def _row(self, trainer: pl.Trainer, task: GenreTask) -> dict[str, float]:
        """Return the epoch's row of metrics.csv."""
        loss, hits, n = trainer.strategy.reduce(task.sums, reduce_op="sum").tolist()
        return {
            "epoch": trainer.current_epoch + 1,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "train_loss": loss / n,
            "train_accuracy": hits / n,
            **task.metrics,
        }

    def _keep_best(self, trainer: pl.Trainer, task: GenreTask, row: dict[str, float]) -> None:
        # Without validation clips the last epoch is kept, as if the loss fell in every epoch.
        loss = row.get("valid_loss", -float(len(self.rows)))
        if loss < self.best:
            self.best, self.best_epoch = loss, trainer.current_epoch
            if trainer.is_global_zero:
                trained.save_weights(self.out / trained.BEST, task.scored, task.config, task.data)

    def _should_end(self, trainer: pl.Trainer, task: GenreTask) -> bool:
        settings = task.config.train
        lr: float = trainer.optimizers[0].param_groups[0]["lr"]
        epochs_since_best = trainer.current_epoch - self.best_epoch
        return lr < settings.min_lr or 0 < settings.early_stop <= epochs_since_best

    def _write_tables(self, row: dict[str, float]) -> None:
        write_text(
            self.out / trained.METRICS,
            pd.DataFrame(self.rows).to_csv(index=False, lineterminator="\n"),
        )
        # In a file of its own: metrics depend on the seed only, durations do not.
        seconds = round(time.perf_counter() - self.started, 3)
        self.seconds.append({"epoch": row["epoch"], "seconds": seconds})
        write_text(
            self.out / trained.SECONDS,
            pd.DataFrame(self.seconds).to_csv(index=False, lineterminator="\n"),
        )


def fit(
    config: Config,
    data: PreparedSet,
    out: Path,
    resume: bool = False,
    overwrite: bool = False,
    advance: Advance = lambda row: None,
) -> bool:
    """Train a network into a directory.

    The directory is the one exception to "complete or absent": last.ckpt and metrics.csv grow in
    it. It has no ``model.safetensors`` and no ``provenance.json`` before the training is finished;
    ``plan.json`` says how it was started.

    Parameters
    ----------
    config : Config
    data : PreparedSet
    out : Path
        The network's directory.
    resume : bool
        Continue from ``last.ckpt``, if there is one.
    overwrite : bool
        Remove another training, and all files in its directory.
    advance : callable
        Called after each epoch with its row of metrics.csv, when its checkpoint is written. Also
        called with the row of an epoch whose loss is not finite, of which nothing is written.

    Returns
    -------
    bool
        False if ``out`` contained the result of the same training already.

    Raises
    ------
    InputError
        If the settings do not suit the set or the machine, the training loss becomes NaN or
        infinite, or ``out`` contains something else (see `resume.training_state`).
    """
    n_devices = _check_devices(config)
    content = _record(config, data)
    state = training_state(out, content, resume, overwrite)
    if state == "done":
        _update_settings(out, config)
        return False
    if state == "outdated" and n_devices > 1:  # its processes could not agree on when to clear it
        raise InputError(
            f"{out}: contains another training, which {n_devices} devices cannot replace; remove "
            "it, or choose another directory for out"
        )
    data, network = build_network(config, data)
    data.check_readable()
    selection = select(data, config.data)
    plan.begin(out, training_work(config, network), [data.directory], plan.size_of(out))
    network.band_mean, network.band_std = band_statistics(
        data, selection.train, config.data.normalisation
    )
    if state == "outdated":
        clear(out)
    out.mkdir(parents=True, exist_ok=True)
    trainer = _trainer(config, EpochSaver(out, advance), validate=len(selection.valid) > 0)
    if state != "resume" and trainer.is_global_zero:
        write_text(out / trained.CONFIG, config.to_toml())
        write_record(out, content, PLAN)
    task = GenreTask(to_channels_last(network), data, selection, config)
    checkpoint = out / trained.LAST if state == "resume" else None
    if checkpoint is not None:
        check_checkpoint(checkpoint)
    if trainer.is_global_zero and (slow := why_slow()):
        log.info("%s", slow)
    _run(trainer, task, checkpoint)
    if trainer.is_global_zero:
        _finish(out, config, content | {"device": str(trainer.strategy.root_device)})
    return True


def _check_devices(config: Config) -> int:
    """Return the number of devices; raise InputError if they are missing or too many."""
    check_devices(config.train)
    n_devices = config.train.devices * config.train.nodes
    if n_devices > config.train.batch_size:
        raise InputError(
            f"train.batch_size: {n_devices} devices cannot share batches of "
            f"{config.train.batch_size} windows"
        )
    return n_devices


def _record(config: Config, data: PreparedSet) -> dict[str, Any]:
    """Return the record of a training; its settings are those of the parameter ``config``."""
    inputs = {"prepared": record_hash(data.directory)}
    places = {"prepared": data.directory}
    return record("train", config.of_training(), inputs, places=places) | {"function": "train"}


def _update_settings(out: Path, config: Config) -> None:
    """Write settings on which the training does not depend, if they have changed."""
    if load_config(out / trained.CONFIG) != config and not is_helper(config):
        trained.update_settings(out, config)


def is_helper(config: Config) -> bool:
    """Return whether this process only helps another one to train on several devices."""
    rank: int = rank_zero_only.rank
    return config.train.devices * config.train.nodes > 1 and rank > 0


def _finish(out: Path, config: Config, content: dict[str, Any]) -> None:
    """Rename the best weights to those of the result; write the settings and the record."""
    if (out / trained.BEST).exists():  # otherwise the process was killed right after this line
        os.replace(out / trained.BEST, out / trained.WEIGHTS)
    trained.write_settings(out, config)
    names = (*trained.RESULT_FILES, *trained.SETTINGS_FILES)
    (out / PLAN).unlink(missing_ok=True)
    write_record(out, content | {"outputs": {name: sha256(out / name) for name in names}})


def _run(trainer: pl.Trainer, task: GenreTask, checkpoint: Path | None) -> None:
    """Train; Ctrl-C raises KeyboardInterrupt, as everywhere else."""
    handler = signal.getsignal(signal.SIGINT)
    # Deterministic algorithms do not read uninitialised memory. To make sure, torch fills all new
    # memory with NaN, which takes a tenth of the time or more.
    deterministic: Any = torch.utils.deterministic
    fills_memory = deterministic.fill_uninitialized_memory
    deterministic.fill_uninitialized_memory = False
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        try:
            # weights_only: a checkpoint is data; no code in it is ever executed.
            trainer.fit(task, ckpt_path=checkpoint and str(checkpoint), weights_only=True)
        except SystemExit as error:
            # Lightning turns Ctrl-C into this, and ignores Ctrl-C from then on.
            signal.signal(signal.SIGINT, handler)
            interrupt = error.__context__
            if isinstance(interrupt, KeyboardInterrupt):
                raise interrupt from None  # it may carry a message of ours
            raise KeyboardInterrupt from None
        finally:
            deterministic.fill_uninitialized_memory = fills_memory


def _trainer(config: Config, saver: EpochSaver, validate: bool) -> pl.Trainer:
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    settings = config.train
    trained.use_full_precision()  # with bf16-mixed it makes no difference
    has_several = settings.devices * settings.nodes > 1
    # All devices have the same buffers, because normalisation averages over whole batches.
    strategy = DDPStrategy(
        broadcast_buffers=False, gradient_as_bucket_view=True, timeout=DEVICE_TIMEOUT
    )
    # A single device trains in this process, in a SLURM job too.
    plugins: list[Any] = [] if has_several else [LightningEnvironment()]
    if has_several and SLURMEnvironment.detect():
        # The job script itself requeues a job that SLURM ends; it resumes from last.ckpt.
        plugins = [SLURMEnvironment(auto_requeue=False)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        return pl.Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            num_nodes=settings.nodes,
            strategy=strategy if has_several else "auto",
            plugins=plugins,
            precision=settings.precision,
            max_epochs=settings.epochs,
            deterministic=True,
            callbacks=[saver],
            limit_val_batches=1.0 if validate else 0,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

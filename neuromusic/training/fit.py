"""Train a network into a run directory: PyTorch Lightning runs the loop over `task.GenreTask`.

Each epoch ends with a checkpoint that is written whole, so a killed training goes on as if nothing
had happened. With several devices each takes its share of every batch, and they learn what one
would have learned (devices.py).
"""

import logging
import math
import os
import signal
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

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_reachable, sha256, write_text
from neuromusic.core.records import record, record_hash, write_record
from neuromusic.features.prepared import PreparedSet
from neuromusic.training import trained
from neuromusic.training.batches import band_statistics
from neuromusic.training.build import wire
from neuromusic.training.config import Config, load_config
from neuromusic.training.distributed import end_at_once
from neuromusic.training.lightning import GenreTask
from neuromusic.training.selection import select

# cuBLAS is only deterministic with this, and only if it is set before its first use.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

LOST = timedelta(minutes=5)
Advance = Callable[[dict[str, float]], None]


class Keeper(pl.Callback):
    """At the end of an epoch: the row of metrics, the best weights, the checkpoint; each whole."""

    def __init__(self, out: Path, advance: Advance) -> None:
        self.out = out
        self.advance = advance
        self.rows: list[dict[str, float]] = []
        self.seconds: list[dict[str, float]] = []
        self.started = 0.0
        self.best = math.inf
        self.best_epoch = -1
        self.over = False
        self.plateau: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs of this."""
        return {
            "rows": self.rows,
            "seconds": self.seconds,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "over": self.over,
            "plateau": self.plateau,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        self.__dict__.update(state_dict)

    def on_fit_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Give the plateau schedule its memory back."""
        if self.plateau and hasattr(task, "plateau"):
            task.plateau.load_state_dict(self.plateau)

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """End at once what was over before it was killed.

        With several devices take signals as they come, behind Lightning's own handlers.
        """
        trainer.should_stop = self.over
        if trainer.world_size > 1:
            end_at_once(None if trainer.is_global_zero else os.getppid())

    def on_train_epoch_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Look at the clock."""
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Write everything; ask to stop when the validation loss has not improved for long."""
        assert isinstance(task, GenreTask)
        settings = task.config.train
        sums = trainer.strategy.reduce(task.sums, reduce_op="sum").tolist()
        row = {
            "epoch": trainer.current_epoch + 1,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "train_loss": sums[0] / sums[2],
            "train_accuracy": sums[1] / sums[2],
            **task.metrics,
        }
        if not math.isfinite(row["train_loss"]):  # nothing of it is kept, to be gone on with
            if trainer.is_global_zero:
                self.advance(row)
            raise InputError(
                f"{self.out}: the training loss of epoch {row['epoch']} is {row['train_loss']}, "
                "and no weights come back from that; remove it and train with a smaller train.lr"
            )
        self.rows.append(row)
        # Without validation clips the last epoch is the one that is kept.
        watched = row.get("valid_loss", -float(len(self.rows)))
        if watched < self.best:
            self.best, self.best_epoch = watched, trainer.current_epoch
            if trainer.is_global_zero:
                trained.save_weights(self.out / trained.BEST, task.scored, task.config, task.data)
        if hasattr(task, "plateau"):
            task.plateau.step(row.get("valid_loss", row["train_loss"]))
            self.plateau = task.plateau.state_dict()
        since_best = trainer.current_epoch - self.best_epoch
        too_slow = trainer.optimizers[0].param_groups[0]["lr"] < settings.min_lr
        self.over = too_slow or 0 < settings.early_stop <= since_best
        trainer.should_stop = trainer.should_stop or self.over
        if trainer.is_global_zero:
            write_text(self.out / trained.METRICS, pd.DataFrame(self.rows).to_csv(index=False))
            # Apart from the metrics, which are the same from a seed whatever the clock says.
            spent = time.perf_counter() - self.started
            self.seconds.append({"epoch": row["epoch"], "seconds": round(spent, 3)})
            write_text(self.out / trained.SECONDS, pd.DataFrame(self.seconds).to_csv(index=False))
        part = self.out / f".{trained.LAST}.partial"
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            os.replace(part, self.out / trained.LAST)
            self.advance(row)


def fit(
    config: Config,
    data: PreparedSet,
    out: Path,
    resume: bool = False,
    advance: Advance = lambda row: None,
) -> bool:
    """Train a network into a run directory; return False if it was there already, unchanged.

    The directory is the one exception to "whole or not there": last.ckpt and metrics.csv grow in
    it. It has no ``model.safetensors`` and no ``provenance.json`` before the training is complete.

    Parameters
    ----------
    config, data
        The settings and the prepared set.
    out : Path
    resume : bool
        Go on from ``last.ckpt``, if there is one.
    advance : callable
        Called after each epoch, when its checkpoint is written, with its row of metrics.csv; and
        with the row of an epoch whose loss is no number, of which nothing is written.

    Raises
    ------
    InputError
        Where settings do not fit the set, or ``out`` holds something else, or an unfinished
        training and ``resume`` is False; or where the training loss is no number.
    """
    made = _begin(config, data, out, resume)
    if made is None:
        return False
    data, network = wire(config, data)
    data.check_readable()
    chosen = select(data, config.data)
    network.band_mean, network.band_std = band_statistics(
        data, chosen.train, config.data.normalisation
    )

    out.mkdir(parents=True, exist_ok=True)
    last = out / trained.LAST
    resumed = resume and last.is_file()
    trainer = _trainer(config, Keeper(out, advance), validate=len(chosen.valid) > 0)
    if not resumed and trainer.is_global_zero:
        write_text(out / trained.CONFIG, config.to_toml())
    # Convolutions are faster on this layout, on a CPU and with a GPU's mixed precision.
    network.to(memory_format=torch.channels_last)
    task = GenreTask(network, data, chosen, config)
    if resumed:
        _check_checkpoint(last)
    _run(trainer, task, last if resumed else None)
    if trainer.is_global_zero:
        if (out / trained.BEST).exists():  # else it was killed just behind this
            os.replace(out / trained.BEST, out / trained.WEIGHTS)
        trained.write_settings(out, config)
        device = str(trainer.strategy.root_device)
        outputs = {name: sha256(out / name) for name in (*trained.MADE, *trained.SETTINGS)}
        write_record(out, made | {"device": device, "outputs": outputs})
    return True


def _begin(config: Config, data: PreparedSet, out: Path, resume: bool) -> dict[str, Any] | None:
    """Return the record of a training that is to be done; None if it was done already.

    Then settings on which no training depends, if they are new, are written.
    """
    several = config.train.devices * config.train.nodes
    if several > config.train.batch_size:
        raise InputError(
            f"train.batch_size: {several} devices cannot share batches of {config.train.batch_size}"
        )
    inputs = {"prepared": record_hash(data.directory)}
    made = record("train", config.of_training(), inputs, places={"prepared": data.directory})
    if trained.resume_point(out, config, made, resume, alone=several == 1) is not None:
        return made
    if load_config(out / trained.CONFIG) != config and not is_helper(config):
        trained.write_settings(out, config)
        trained.update_record(out)
    return None


def _check_checkpoint(path: Path) -> None:
    """Raise InputError for a checkpoint that is damaged or holds anything but data."""
    trained.check_whole(path)
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # zipfile, pickle and torch each have their own; torch's advice is to trust
        check_reachable(path)
        raise InputError(
            f"{path}: is damaged, or holds more than data; remove it to train anew"
        ) from None


def is_helper(config: Config) -> bool:
    """Say whether this process only helps another to train on several devices."""
    rank: int = rank_zero_only.rank
    return config.train.devices * config.train.nodes > 1 and rank > 0


def _run(trainer: pl.Trainer, task: GenreTask, checkpoint: Path | None) -> None:
    heard = signal.getsignal(signal.SIGINT)
    # What is deterministic does not read memory that was never written; torch fills all new memory
    # with NaN to make sure, which takes a tenth of the time and more.
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    memory.fill_uninitialized_memory = False
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        try:
            # weights_only: a checkpoint is data; nothing in it is ever run.
            trainer.fit(task, ckpt_path=checkpoint and str(checkpoint), weights_only=True)
        except SystemExit as error:
            # Lightning's answer to Ctrl-C; from then on it hears no other.
            signal.signal(signal.SIGINT, heard)
            stopped = error.__context__
            if isinstance(stopped, KeyboardInterrupt):
                raise stopped from None  # it may be one of ours, with more to say
            raise KeyboardInterrupt from None
        finally:
            memory.fill_uninitialized_memory = filled


def _trainer(config: Config, keeper: Keeper, validate: bool) -> pl.Trainer:
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    settings = config.train
    several = settings.devices * settings.nodes > 1
    # All devices hold the same buffers already: the averages of the normalisation are over whole
    # batches. A job that SLURM ends is begun again by its script, from last.ckpt.
    # Who has lost the others gives up after LOST.
    strategy = DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True, timeout=LOST)
    place: list[Any] = [] if several else [LightningEnvironment()]  # one trains where it stands
    if several and SLURMEnvironment.detect():
        place = [SLURMEnvironment(auto_requeue=False)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        return pl.Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            num_nodes=settings.nodes,
            strategy=strategy if several else "auto",
            plugins=place,
            precision=settings.precision,
            max_epochs=settings.epochs,
            deterministic=True,
            callbacks=[keeper],
            limit_val_batches=1.0 if validate else 0,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

"""Train a network: PyTorch Lightning runs the loop, everything random comes from (seed, step).

The prepared set lies on the device; a batch is row numbers and starts, and the windows are cut
there. Each epoch ends with a checkpoint that is written whole, so a killed training goes on as if
nothing had happened. With several devices each takes its share of every batch, and they learn what
one would have learned (devices.py).
"""

import copy
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
import torch
import torch.nn.functional as F
import torch.utils.deterministic
from torch import Tensor
from torch.utils.data import DataLoader

# cuBLAS is only deterministic with this, and only if it is set before its first use.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from neuromusic import rundir
from neuromusic.batches import (
    Batch,
    band_statistics,
    cut,
    derive_seed,
    draw_windows,
    loader,
    score_windows,
    stored,
)
from neuromusic.config import Config, load_config
from neuromusic.devices import Share, end_at_once, spread
from neuromusic.errors import InputError
from neuromusic.models import Network
from neuromusic.provenance import record, record_hash, sha256, write_record, write_text
from neuromusic.reading import check_reachable
from neuromusic.selection import Selection, labels, select
from neuromusic.spectral import augment_batch
from neuromusic.store import PreparedSet
from neuromusic.wiring import wire

LOST = timedelta(minutes=5)
Advance = Callable[[dict[str, float]], None]


class GenreTask(pl.LightningModule):
    """The network, its averaged copy and one step of its training."""

    def __init__(
        self, network: Network, data: PreparedSet, chosen: Selection, config: Config
    ) -> None:
        super().__init__()
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False) if config.train.ema else None
        self.config = config
        self.data = data
        self.chosen = chosen
        self.window = network.spec.n_frames
        # A faster tempo needs more sound than one window, as far as the shortest clip has it.
        reach = math.ceil(self.window * (1 + config.augment.time_scale))
        self.reach = min(reach, int(data.rows["frames"].iloc[chosen.train].min()))
        # No buffer: several devices would send each other all buffers. Moved in on_fit_start.
        self.features = stored(data)
        self.share = Share()
        self.scale = 1.0 if data.per_clip else data.scale
        self.hears_wave = data.meta["front_end"]["name"] == "wave"
        self.register_buffer("labels", torch.tensor(labels(data, data.classes)), persistent=False)
        self.metrics: dict[str, float] = {}

    @property
    def scored(self) -> Network:
        """The network that is validated and kept: the averaged one where there is one."""
        return self.average if self.average is not None else self.network

    def cut(self, rows: Tensor, starts: Tensor, window: int) -> Tensor:
        """Return windows (B, n, window) float32 in units that the network hears."""
        x = cut(self.features, rows, starts, window)
        return x * self.scale if self.scale != 1 else x

    def setup(self, stage: str) -> None:
        """With several devices, let the network work on whole batches."""
        if self.trainer.world_size > 1:
            self.share = Share(self.global_rank, self.trainer.world_size)
            spread(self.network, self.share)

    def on_fit_start(self) -> None:
        """Move the prepared set to the device, once, and pair the weights with their average."""
        self.features = self.features.to(self.device)
        self.pairs: list[tuple[Tensor, Tensor]] = []
        if self.average is not None:
            kept, new = (n.state_dict().values() for n in (self.average, self.network))
            self.pairs = list(zip(kept, new, strict=True))

    # Lightning asks for both anew in every epoch (reload_dataloaders_every_n_epochs).
    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the batches of the current epoch, whole ones with several devices too."""
        batches = draw_windows(
            self.data, self.chosen.train, self.config, self.reach, self.current_epoch
        )
        return loader(batches, self.device)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the windows of the validation clips, one clip a batch; of this device's clips."""
        hop = max(1, round(self.config.data.hop_s / self.data.frame_s))
        clips = score_windows(self.data, self.chosen.valid, self.window, hop)
        if len(clips) >= self.share.world:  # else each device hears all of them
            clips = clips[self.share.rank :: self.share.world]
        return loader(clips, self.device)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Cut, augment, and return the cross-entropy with the (mixed) labels."""
        settings = self.config.train
        # Dropout takes torch's global generators: set them from the step, so that a resumed
        # training draws what an undisturbed one would have drawn.
        seed = derive_seed(settings.seed, 2, self.global_step, 0)
        torch.manual_seed(seed)
        rng = torch.Generator(self.device).manual_seed(seed)
        rows, starts = batch
        n_classes = self.network.spec.n_classes
        x = self.cut(rows, starts, self.reach)
        y = F.one_hot(self.labels[rows], n_classes).float()
        augment, frame_s = self.config.augment, self.data.frame_s
        # Windows are mixed with others of the batch, so each device augments all of them; that is
        # little beside the network.
        x, y = augment_batch(x, y, augment, self.window, frame_s, rng, self.hears_wave)
        self.share.total = len(x)
        x, y = self.share.take(x), self.share.take(y)
        logits = self.network(x)
        loss = F.cross_entropy(logits, y, label_smoothing=settings.label_smoothing)
        if settings.l1:
            loss = loss + settings.l1 * sum(
                p.abs().sum() for p in self.network.parameters() if p.ndim > 1
            )
        n = torch.full_like(loss, len(x))
        hits = (logits.argmax(1) == y.argmax(1)).sum()
        self.sums += torch.stack([loss.detach() * n, hits, n])
        # The mean over devices is then the mean over all windows, though shares may differ by one.
        return loss * (len(x) * self.share.world / self.share.total)

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's sums: loss, hits, windows."""
        self.sums = torch.zeros(3, device=self.device)

    def on_train_batch_end(self, *_: Any) -> None:
        """Move the averaged weights."""
        if not self.pairs:
            return
        # Early on the average follows quickly, as in Tarvainen and Valpola 2017, appendix.
        decay = min(self.config.train.ema, (1 + self.global_step) / (10 + self.global_step))
        with torch.no_grad():
            moving = [pair for pair in self.pairs if pair[0].is_floating_point()]
            average, now = ([pair[i] for pair in moving] for i in (0, 1))
            torch._foreach_lerp_(average, now, 1 - decay)
            for kept, new in self.pairs:
                if not kept.is_floating_point():
                    kept.copy_(new)

    def on_validation_epoch_start(self) -> None:
        """Begin the sums over clips: loss, hits, clips."""
        self.heard = torch.zeros(3, device=self.device)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Score one clip: the mean of its windows' log-probabilities."""
        rows, starts = batch
        logits = self.scored(self.cut(rows, starts, self.window))
        log_p = torch.log_softmax(torch.log_softmax(logits.float(), 1).mean(0), 0)
        label = self.labels[rows[0]]
        hit = (log_p.argmax() == label).float()
        self.heard += torch.stack([-log_p[label], hit, torch.ones_like(hit)])

    def on_validation_epoch_end(self) -> None:
        """Average over the clips, of all devices."""
        loss, hits, n = self.trainer.strategy.reduce(self.heard, reduce_op="sum").tolist()
        self.metrics = {"valid_loss": loss / n, "valid_accuracy": hits / n}

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any
    ) -> None:
        """Limit the norm of the gradient."""
        if self.config.train.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.train.clip_norm)

    def configure_optimizers(self) -> dict[str, Any]:
        """Return the optimiser and the schedule of the settings."""
        s = self.config.train
        # Weight decay pulls at matrices and kernels, not at biases and normalisation.
        matrices = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        parameters = [
            {"params": matrices, "weight_decay": s.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        # One kernel for all weights. It would undo the scaling of 16-bit gradients by itself, too
        # late for a limit on their norm.
        fused = not (s.precision == "16-mixed" and s.clip_norm)
        optimizer: torch.optim.Optimizer
        if s.optimizer == "sgd":
            nesterov = s.momentum > 0
            optimizer = torch.optim.SGD(
                parameters, s.lr, s.momentum, nesterov=nesterov, fused=fused
            )
        else:
            kind = torch.optim.Adam if s.optimizer == "adam" else torch.optim.AdamW
            betas = (0.9, 0.99)  # 0.99: a few thousand steps
            optimizer = kind(parameters, s.lr, betas=betas, fused=fused)
        scheduler: Any
        if s.schedule == "plateau":
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=s.plateau_factor, patience=s.plateau_patience
            )
            # Stepped by Keeper, which knows the loss that is watched.
            self.plateau = scheduler
            return {"optimizer": optimizer}
        steps = s.epochs * max(1, self.config.data.windows_per_epoch // s.batch_size)
        if s.schedule == "one-cycle":
            scheduler = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, s.lr, steps, pct_start=s.warmup, cycle_momentum=False
            )
        else:
            scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer, lr_curve(s.schedule, s.warmup, steps)
            )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def lr_curve(schedule: str, warmup: float, steps: int) -> Callable[[int], float]:
    """Return step -> factor of the learning rate: 1, or a linear rise and half a cosine to 0."""
    rise = max(1, round(warmup * steps))

    def factor(step: int) -> float:
        if schedule == "constant":
            return 1.0
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))

    return factor


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
        self.plateau: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs of this."""
        return {
            "rows": self.rows,
            "seconds": self.seconds,
            "best": self.best,
            "best_epoch": self.best_epoch,
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
        """With several devices take signals as they come, behind Lightning's own handlers."""
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
        self.rows.append(row)
        # Without validation clips the last epoch is the one that is kept.
        watched = row.get("valid_loss", -float(len(self.rows)))
        if watched < self.best:
            self.best, self.best_epoch = watched, trainer.current_epoch
            if trainer.is_global_zero:
                rundir.save_weights(self.out / rundir.BEST, task.scored, task.config, task.data)
        if hasattr(task, "plateau"):
            task.plateau.step(row.get("valid_loss", row["train_loss"]))
            self.plateau = task.plateau.state_dict()
        if settings.early_stop and trainer.current_epoch - self.best_epoch >= settings.early_stop:
            trainer.should_stop = True
        if trainer.optimizers[0].param_groups[0]["lr"] < settings.min_lr:
            trainer.should_stop = True
        if trainer.is_global_zero:
            write_text(self.out / rundir.METRICS, pd.DataFrame(self.rows).to_csv(index=False))
            # Apart from the metrics, which are the same from a seed whatever the clock says.
            spent = time.perf_counter() - self.started
            self.seconds.append({"epoch": row["epoch"], "seconds": round(spent, 3)})
            write_text(self.out / rundir.SECONDS, pd.DataFrame(self.seconds).to_csv(index=False))
        part = self.out / f".{rundir.LAST}.partial"
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            os.replace(part, self.out / rundir.LAST)
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
        Called after each epoch, when its checkpoint is written, with its row of metrics.csv.

    Raises
    ------
    InputError
        Where settings do not fit the set, or ``out`` holds something else, or an unfinished
        training and ``resume`` is False.
    """
    train = config.train
    several = train.devices * train.nodes
    if several > train.batch_size:
        raise InputError(
            f"train.batch_size: {several} devices cannot share batches of {train.batch_size}"
        )
    settings = config.of_training()
    inputs = {"prepared": record_hash(data.directory)}
    made = record("train", settings, inputs, places={"prepared": data.directory})
    if rundir.resume_point(out, config, made, resume, alone=several == 1) is None:
        changed = load_config(out / rundir.CONFIG) != config  # in what no training depends on
        if changed and not is_helper(config):
            rundir.write_settings(out, config)
            rundir.update_record(out)
        return False
    data, network = wire(config, data)
    data.check_readable()
    chosen = select(data, config.data)
    network.band_mean, network.band_std = band_statistics(
        data, chosen.train, config.data.normalisation
    )

    out.mkdir(parents=True, exist_ok=True)
    last = out / rundir.LAST
    resumed = resume and last.is_file()
    trainer = _trainer(config, Keeper(out, advance), validate=len(chosen.valid) > 0)
    if not resumed and trainer.is_global_zero:
        write_text(out / rundir.CONFIG, config.to_toml())
    # Convolutions are faster on this layout, on a CPU and with a GPU's mixed precision.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # untyped there
    task = GenreTask(network, data, chosen, config)
    if resumed:
        _check_checkpoint(last)
    _run(trainer, task, last if resumed else None)
    if trainer.is_global_zero:
        os.replace(out / rundir.BEST, out / rundir.WEIGHTS)
        rundir.write_settings(out, config)
        device = str(trainer.strategy.root_device)
        outputs = {name: sha256(out / name) for name in (*rundir.MADE, *rundir.SETTINGS)}
        write_record(out, made | {"device": device, "outputs": outputs})
    return True


def _check_checkpoint(path: Path) -> None:
    """Raise InputError for a checkpoint that is damaged or holds anything but data."""
    rundir.check_whole(path)
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

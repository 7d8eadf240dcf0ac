"""The Lightning module of a training: the network, its averaged copy, and one step.

The features of the prepared set are moved to the device once; a batch is row numbers and starts,
and its windows are cut on the device. Everything random is drawn from the seed and the step.
"""

import copy
import math
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from neuromusic.features.prepared import PreparedSet
from neuromusic.features.windows import cut_windows_on_device
from neuromusic.models.network import Network
from neuromusic.training.batches import (
    Batch,
    derive_seed,
    draw_windows,
    rows_as_tensor,
    score_windows,
    to_loader,
)
from neuromusic.training.config import Config
from neuromusic.training.distributed import Share, use_whole_batches
from neuromusic.training.optim import make_optimizer, make_plateau, make_schedule
from neuromusic.training.selection import Selection, labels
from neuromusic.training.spectral_augment import augment_batch


class GenreTask(pl.LightningModule):
    """Train a network to classify windows of clips.

    After a validation, ``metrics`` holds valid_loss and valid_accuracy; after an epoch, ``sums``
    holds the loss, the hits and the number of this device's training windows.
    """

    def __init__(
        self, network: Network, data: PreparedSet, selection: Selection, config: Config
    ) -> None:
        super().__init__()
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False) if config.train.ema else None
        self.config = config
        self.data = data
        self.selection = selection
        self.window = network.spec.n_frames
        # A faster tempo needs more sound than one window, at most the length of the shortest clip.
        reach = math.ceil(self.window * (1 + config.augment.time_scale))
        self.reach = min(reach, int(data.rows["frames"].iloc[selection.train].min()))
        # Not a buffer: several devices would send buffers to each other. See on_fit_start.
        self.features = rows_as_tensor(data)
        self.share = Share()
        self.scale = 1.0 if data.normalise_clips else data.scale
        self.takes_samples = data.meta.front_end_name == "wave"
        self.register_buffer("labels", torch.tensor(labels(data, data.classes)), persistent=False)
        self.metrics: dict[str, float] = {}

    @property
    def scored(self) -> Network:
        """The network to validate and keep: the averaged one, if there is one."""
        return self.average if self.average is not None else self.network

    def cut(self, rows: Tensor, starts: Tensor, window: int) -> Tensor:
        """Return windows (B, channels x bands, window) float32 in the units of the network."""
        x = cut_windows_on_device(self.features, rows, starts, window)
        return x * self.scale if self.scale != 1 else x

    # --- Setting up -------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """If there are several devices, let the network work on whole batches."""
        if self.trainer.world_size > 1:
            self.share = Share(self.global_rank, self.trainer.world_size)
            use_whole_batches(self.network, self.share)

    def on_fit_start(self) -> None:
        """Move the features to the device, and pair the weights with their averages."""
        self.features = self.features.to(self.device)
        self.pairs: list[tuple[Tensor, Tensor]] = []  # (average, current)
        if self.average is not None:
            average, current = (n.state_dict().values() for n in (self.average, self.network))
            self.pairs = list(zip(average, current, strict=True))

    def configure_optimizers(self) -> dict[str, Any]:
        """Return the optimiser and, except for "plateau", the schedule."""
        settings = self.config.train
        optimizer = make_optimizer(self.network, settings)
        if settings.schedule == "plateau":  # advanced by fit.EpochSaver, which has all losses
            self.plateau = make_plateau(optimizer, settings)
            return {"optimizer": optimizer}
        steps_per_epoch = max(1, self.config.data.windows_per_epoch // settings.batch_size)
        schedule = make_schedule(optimizer, settings, settings.epochs * steps_per_epoch)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    # Lightning calls both of these in every epoch (reload_dataloaders_every_n_epochs).
    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the whole batches of the current epoch, the same on all devices."""
        batches = draw_windows(
            self.data, self.selection.train, self.config, self.reach, self.current_epoch
        )
        return to_loader(batches, self.device)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the windows of this device's validation clips, one batch per clip."""
        hop = max(1, round(self.config.data.hop_s / self.data.frame_s))
        clips = score_windows(self.data, self.selection.valid, self.window, hop)
        if len(clips) >= self.share.world:  # otherwise each device scores all of them
            clips = clips[self.share.rank :: self.share.world]
        return to_loader(clips, self.device)

    # --- Training ---------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        """Set the sums of the epoch to zero: loss, hits, windows."""
        self.sums = torch.zeros(3, device=self.device)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Cut and augment windows; return the cross-entropy with their (mixed) labels."""
        settings = self.config.train
        # Dropout uses torch's global generators. They are seeded for each step, so a resumed
        # training draws the same numbers as one that was not interrupted.
        seed = derive_seed(settings.seed, 2, self.global_step, 0)
        torch.manual_seed(seed)
        x, y = self._augmented(batch, torch.Generator(self.device).manual_seed(seed))
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
        # Lightning averages over devices. Shares may differ by one window; with this factor the
        # result is the mean over all windows.
        return loss * (len(x) * self.share.world / self.share.total)

    def _augmented(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the windows of a whole batch and their labels as probabilities (B, classes).

        Windows are mixed with others of the batch, so each device augments all of them; this takes
        little time compared with the network.
        """
        rows, starts = batch
        x = self.cut(rows, starts, self.reach)
        y = F.one_hot(self.labels[rows], self.network.spec.n_classes).float()
        return augment_batch(
            x, y, self.config.augment, self.window, self.data.frame_s, rng, self.takes_samples
        )

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any
    ) -> None:
        """Limit the norm of the gradient."""
        if self.config.train.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.train.clip_norm)

    def on_train_batch_end(self, *_: Any) -> None:
        """Update the averaged weights."""
        if not self.pairs:
            return
        # At first the average follows quickly (Tarvainen and Valpola 2017, appendix).
        decay = min(self.config.train.ema, (1 + self.global_step) / (10 + self.global_step))
        with torch.no_grad():
            floating = [pair for pair in self.pairs if pair[0].is_floating_point()]
            averages, currents = ([pair[i] for pair in floating] for i in (0, 1))
            torch._foreach_lerp_(averages, currents, 1 - decay)
            for average, current in self.pairs:
                if not average.is_floating_point():
                    average.copy_(current)

    # --- Validation -------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Set the sums over clips to zero: loss, hits, clips."""
        self.valid_sums = torch.zeros(3, device=self.device)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Score one clip by the mean of its windows' log-probabilities."""
        rows, starts = batch
        logits = self.scored(self.cut(rows, starts, self.window))
        log_p = torch.log_softmax(torch.log_softmax(logits.float(), 1).mean(0), 0)
        label = self.labels[rows[0]]
        hit = (log_p.argmax() == label).float()
        self.valid_sums += torch.stack([-log_p[label], hit, torch.ones_like(hit)])

    def on_validation_epoch_end(self) -> None:
        """Average over the clips of all devices."""
        loss, hits, n = self.trainer.strategy.reduce(self.valid_sums, reduce_op="sum").tolist()
        self.metrics = {"valid_loss": loss / n, "valid_accuracy": hits / n}

"""What Lightning trains: the network, its averaged copy, and one step.

The prepared set lies on the device; a batch is row numbers and starts, and the windows are cut
there. Everything random comes from (seed, step).
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
from neuromusic.models.network import Network
from neuromusic.training.batches import (
    Batch,
    cut,
    derive_seed,
    draw_windows,
    loader,
    score_windows,
    stored,
)
from neuromusic.training.config import Config
from neuromusic.training.distributed import Share, spread
from neuromusic.training.optim import optimizer_of, plateau_of, schedule_of
from neuromusic.training.selection import Selection, labels
from neuromusic.training.spectral_augment import augment_batch


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
        optimizer = optimizer_of(self.network, s)
        if s.schedule == "plateau":  # stepped by Keeper, which knows the loss that is watched
            self.plateau = plateau_of(optimizer, s)
            return {"optimizer": optimizer}
        steps = s.epochs * max(1, self.config.data.windows_per_epoch // s.batch_size)
        schedule = {"scheduler": schedule_of(optimizer, s, steps), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

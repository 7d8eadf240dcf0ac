"""Follow a training in TensorBoard and Weights & Biases; metrics.csv is always there besides."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from neuromusic.core import plotting
from neuromusic.training.config import Config
from neuromusic.training.trained import METRICS, TRACKS


class Tracker:
    """Writes epochs and figures to the trackers of the settings, below a run directory.

    What a tracker holds is made from metrics.csv: a training that goes on is told from its first
    epoch, so that nothing is lost or told twice. Opens with the first epoch.
    """

    def __init__(self, config: Config, out: Path) -> None:
        self.config = config
        self.out = out
        self.told = 0  # epochs
        self.board: Any = None
        self.run: Any = None

    def epoch(self, row: dict[str, float]) -> None:
        """Tell an epoch's row of metrics.csv, and those before it that were not told."""
        if self.told == 0:
            self._open()
        earlier = pd.read_csv(self.out / METRICS).to_dict("records")[self.told : -1]
        for each in [*earlier, row]:
            self._tell({str(key): float(value) for key, value in each.items()})
        self.told = int(row["epoch"])

    def _open(self) -> None:
        track = self.config.track
        board, wandb = (self.out / name for name in TRACKS)
        if track.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            shutil.rmtree(board, ignore_errors=True)
            self.board = SummaryWriter(str(board))
            text = self.config.to_toml().replace("\n", "\n    ")
            self.board.add_text("settings", f"    {text}")
        if track.wandb != "off":
            shutil.rmtree(wandb, ignore_errors=True)
            self.run = _open_wandb(self.config, self.out)

    def _tell(self, row: dict[str, float]) -> None:
        step = int(row["epoch"])
        if self.board is not None:
            for key, value in row.items():
                if key != "epoch":
                    # loss/train and loss/valid are then drawn in one group.
                    side, _, what = key.rpartition("_")
                    self.board.add_scalar(f"{what}/{side}" if side else key, value, step)
            self.board.flush()
        if self.run is not None:
            self.run.log(row, step=step)

    def figure(self, name: str, figure: Figure) -> None:
        """Show a figure as of the last epoch."""
        image = plotting.pixels(figure)
        if self.board is not None:
            self.board.add_image(name, image, self.told, dataformats="HWC")
        if self.run is not None:
            import wandb

            self.run.log({name: wandb.Image(image)}, step=self.told)

    def close(self) -> None:
        """Write what is pending."""
        if self.board is not None:
            self.board.close()
        if self.run is not None:
            self.run.finish()


def _open_wandb(config: Config, out: Path) -> Any:
    # Nothing is sent but the run itself, and nothing is written but below the run directory.
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    for name in ("CACHE", "CONFIG", "DATA"):
        os.environ[f"WANDB_{name}_DIR"] = str(out.resolve() / "wandb")
    import wandb

    # The same directory and settings are the same run, so that a resumed one is continued.
    text = json.dumps(config.of_training(), sort_keys=True) + str(out.resolve())
    return wandb.init(
        project=config.track.project,
        name=out.name,
        id=hashlib.sha256(text.encode()).hexdigest()[:16],
        dir=str(out),
        config=config.of_training(),
        mode=config.track.wandb,  # type: ignore[arg-type]  # "off" does not come here
        resume="allow" if config.track.wandb == "online" else None,
        settings=wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, save_code=False,
            x_disable_stats=True, x_disable_meta=True,
        ),
    )  # fmt: skip

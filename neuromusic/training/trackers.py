"""Show the progress of a training in TensorBoard and Weights & Biases, besides metrics.csv."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from neuromusic.core import figures
from neuromusic.core.tables import read_table
from neuromusic.training.config import Config
from neuromusic.training.trained import METRICS, TRACKER_FOLDERS


class Tracker:
    """Writes epochs and figures, in a network's directory, to the trackers that the settings name.

    Everything comes from metrics.csv: for a resumed training the trackers are written again from
    the first epoch, so nothing is missing or duplicated. They are opened with the first epoch.
    """

    def __init__(self, config: Config, out: Path) -> None:
        self.config = config
        self.out = out
        self.n_written = 0  # epochs
        self.board: Any = None  # tensorboard's SummaryWriter
        self.wandb_run: Any = None

    def add_epoch(self, row: dict[str, float]) -> None:
        """Write an epoch's row of metrics.csv, and any rows before it that are not written yet."""
        if self.n_written == 0:
            self._open()
        rows = read_table(self.out / METRICS).to_dict("records")
        for unwritten in [*rows[self.n_written : -1], row]:
            self._write({str(key): float(value) for key, value in unwritten.items()})
        self.n_written = int(row["epoch"])

    def _open(self) -> None:
        settings = self.config.track
        board_folder, wandb_folder = (self.out / name for name in TRACKER_FOLDERS)
        if settings.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            shutil.rmtree(board_folder, ignore_errors=True)
            self.board = SummaryWriter(str(board_folder))
            text = self.config.to_toml().replace("\n", "\n    ")  # a code block in Markdown
            self.board.add_text("settings", f"    {text}")
        if settings.wandb != "off":
            shutil.rmtree(wandb_folder, ignore_errors=True)
            self.wandb_run = _open_wandb(self.config, self.out)

    def _write(self, row: dict[str, float]) -> None:
        step = int(row["epoch"])
        if self.board is not None:
            for key, value in row.items():
                if key != "epoch":
                    # As loss/train and loss/valid they are shown in one group.
                    part, _, metric = key.rpartition("_")
                    self.board.add_scalar(f"{metric}/{part}" if part else key, value, step)
            self.board.flush()
        if self.wandb_run is not None:
            self.wandb_run.log(row, step=step)

    def add_figure(self, name: str, figure: Figure) -> None:
        """Show a figure at the last epoch."""
        image = figures.pixels(figure)
        if self.board is not None:
            self.board.add_image(name, image, self.n_written, dataformats="HWC")
        if self.wandb_run is not None:
            import wandb

            self.wandb_run.log({name: wandb.Image(image)}, step=self.n_written)

    def close(self) -> None:
        """Write everything that is pending."""
        if self.board is not None:
            self.board.close()
        if self.wandb_run is not None:
            self.wandb_run.finish()


def _open_wandb(config: Config, out: Path) -> Any:
    """Start a W&B run that uploads only itself and writes only into the network's directory."""
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    for name in ("CACHE", "CONFIG", "DATA"):
        os.environ[f"WANDB_{name}_DIR"] = str(out.resolve() / "wandb")
    import wandb

    # The ID follows from the directory and the settings, so a resumed training continues its run.
    text = json.dumps(config.of_training(), sort_keys=True) + str(out.resolve())
    return wandb.init(
        project=config.track.project,
        name=out.name,
        id=hashlib.sha256(text.encode()).hexdigest()[:16],
        dir=str(out),
        config=config.of_training(),
        mode=config.track.wandb,  # type: ignore[arg-type]  # never "off" here
        resume="allow" if config.track.wandb == "online" else None,
        settings=wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, save_code=False,
            x_disable_stats=True, x_disable_meta=True,
        ),
    )  # fmt: skip

"""Options that say which images are encoded, and how; those of `encode --bids` and the BIDS App."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuromusic.cli import options
from neuromusic.core.figures import FigureStyle

if TYPE_CHECKING:  # pandas and numpy take a second to import: not for --help
    from neuromusic.encoding.options import EncodingOptions
    from neuromusic.encoding.rois import Rois

ENTITIES = ("space", "res", "den", "desc", "echo", "ses", "task")


@dataclass(frozen=True)
class ImageArguments:
    """The values of the options, as a user gave them."""

    derivatives: Path | None
    roi: str
    atlas: Path | None
    labels: Path | None
    experiment: str | None
    entities: dict[str, str]
    confounds: tuple[str, ...]
    banded: bool
    high_pass_hz: float
    control_seeds: int
    artists: Path | None

    def rois(self) -> "Rois":
        """Return which voxels are encoded."""
        from neuromusic.encoding.rois import Rois

        return Rois(self.roi, self.atlas, self.labels)

    def encoding_options(
        self, components: int, seed: int, figures: FigureStyle
    ) -> "EncodingOptions":
        """Return how they are encoded."""
        from neuromusic.encoding.options import EncodingOptions

        return EncodingOptions(
            entities=self.entities,
            confounds=self.confounds,
            components=components,
            banded=self.banded,
            high_pass_hz=self.high_pass_hz,
            control_seeds=self.control_seeds,
            artists=self.artists,
            seed=seed,
            figures=figures,
        )


def image_options(dataset: str, scope: str = "") -> options.Decorator:
    """Return a decorator that adds the options; the command gets them as ``images``.

    ``dataset`` is what the help calls the dataset, such as "--bids"; ``scope`` begins the help of
    options that other inputs do not have, such as "For --bids: ".
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_images(*args: Any, **values: Any) -> Any:
            entities = {name: values.pop(name) for name in ENTITIES}
            names = [name for name in ImageArguments.__dataclass_fields__ if name != "entities"]
            given = {name: values.pop(name) for name in names}
            present = {name: value for name, value in entities.items() if value}
            return command(*args, images=ImageArguments(entities=present, **given), **values)

        decorated: Callable[..., Any] = with_images
        for add in reversed(_decorators(dataset, scope)):
            decorated = add(decorated)
        return decorated

    return decorate


def _decorators(dataset: str, scope: str) -> list[options.Decorator]:
    first = _sentence(f"{scope}description of the experiment, see `neuromusic experiment`.")
    return [
        click.option(
            "--derivatives", type=options.PATH,
            help="Folder of the images, searched recursively.  "
            f"[default: the folder of {dataset}]",
        ),
        click.option(
            "--roi", default="auditory", show_default=True, metavar="auditory|all|whole|MASK",
            help=_sentence(f"{scope}auditory: Brodmann areas of A1, belt, PB and T2T3; all: every "
            "label of the atlas; whole: all voxels; or a mask image."),
        ),
        click.option(
            "--atlas", type=options.PATH,
            help="Label image.  [default: the Talairach atlas, which is installed with the "
            "package]",
        ),
        click.option(
            "--labels", type=options.PATH,
            help="Names of the labels: TSV with columns index and name.",
        ),
        click.option(
            "--experiment", metavar="FILE",
            help=f"{first}  [default: experiment.toml in the folder, or ds003720]",
        ),
        click.option("--space", help="Use only images with this space- entity in their names."),
        *(
            click.option(f"--{name}", help=f"... with this {name}- entity.")
            for name in ENTITIES[1:]
        ),
        click.option(
            "--confounds", callback=options.split_names, metavar="NAME[,NAME]",
            help=_sentence(f"{scope}fMRIPrep's confounds that are removed: motion, wm_csf, "
            "global_signal, scrub, or nilearn's simple, scrubbing, compcor, ica_aroma.  "
            "[default: none]"),
        ),
        click.option(
            "--banded", is_flag=True,
            help=_sentence(f"{scope}also fit all stages together, a penalty for each."),
        ),
        click.option(
            "--high-pass-hz", type=click.FloatRange(0, 0.1, min_open=True), default=1 / 256,
            show_default="1/256",
            help=_sentence(f"{scope}drifts below this frequency (Hz) are removed."),
        ),
        click.option(
            "--control-seeds", type=click.IntRange(1), default=1, show_default=True,
            help=_sentence(f"{scope}number of networks with random weights, and of those with "
            "permuted weights, that the trained one is compared with."),
        ),
        click.option(
            "--artists", type=options.PATH,
            help=_sentence(f"{scope}artist table; areas are also scored on the test clips that "
            "share no artist with a training clip."),
        ),
    ]  # fmt: skip


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] if not text.startswith(("auditory", "fMRIPrep")) else text

"""What an encoding of images reads: opened and checked before the work begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromusic.core.errors import need_package
from neuromusic.core.files import as_path
from neuromusic.core.progress import working
from neuromusic.core.records import hash_inputs
from neuromusic.design.bids import BidsIndex, index_bids
from neuromusic.design.dataset import Dataset, as_dataset
from neuromusic.design.presentations import IMAGES, Design, events_paths, load_design
from neuromusic.encoding.folds import make_folds
from neuromusic.encoding.inputs import SubjectInputs, open_subjects
from neuromusic.encoding.options import DELAYS_TR, EncodingOptions
from neuromusic.encoding.rois import Rois
from neuromusic.fmri.bold import json_tr_s, open_run
from neuromusic.fmri.bold_files import find_bold
from neuromusic.fmri.clip_inputs import ClipInputs, inputs_from_files, inputs_from_prepared
from neuromusic.fmri.confounds import check_strategies
from neuromusic.fmri.scan_series import usable_rows
from neuromusic.fmri.scans import ImageChoice, repeat_rows
from neuromusic.pipeline.datasets import dataset_arguments, find_sounds, with_durations

if TYPE_CHECKING:  # images are checked without torch, which takes seconds to import
    from neuromusic.models.applied import AppliedNetwork


@dataclass(frozen=True)
class Source:
    """A dataset and its images, with an index of the files of both."""

    dataset: Dataset
    images: Path
    events: BidsIndex
    files: BidsIndex

    @classmethod
    def open(cls, bids: Dataset | str | Path, images: str | Path | None) -> "Source":
        """Index the files; raise InputError if a folder does not exist."""
        dataset = as_dataset(bids)
        folder = as_path(images) if images is not None else dataset.directory
        files = index_bids(folder, "a folder of images")
        return cls(dataset, folder, dataset.index(), files)

    @property
    def subjects(self) -> list[str]:
        """Labels of the subjects with events of the experiment, in order."""
        runs = events_paths(self.events, self.dataset.described(), self._runs_of_images)
        return list(dict.fromkeys(run.subject for run in runs))

    def design(
        self, subjects: str | Sequence[str], choice: ImageChoice
    ) -> tuple[Design, dict[str, Path]]:
        """Return the runs of subjects, with durations, and clip -> sound if there are sounds.

        Raises InputError if a subject has no events.
        """
        everyone = subjects == "all" or list(subjects) == ["all"]
        labels = [subjects] if isinstance(subjects, str) else subjects
        chosen = None if everyone else [label.removeprefix("sub-") for label in labels]
        experiment = self.dataset.described()
        design = load_design(self.events, experiment, chosen, self._runs_of_images)
        sounds = {}
        if self.dataset.sounds is not None:
            sounds = find_sounds(design, self.dataset.sounds, allow_missing=True)
        return with_durations(design, sounds, self._tr_of_headers(design, choice)), sounds

    @property
    def _runs_of_images(self) -> list[Any]:
        of_images = [file.run_id for file in self.files.select("bold", IMAGES)]
        return [run for run in of_images if run is not None]

    def _tr_of_headers(self, design: Design, choice: ImageChoice) -> float | None:
        """Return the TR in the header of an image, if neither metadata nor description have one."""
        if all(each.tr_s is not None for each in design.runs.values()):
            return None
        tasks = design.experiment.files.tasks
        found = find_bold(self.files, design.subjects[0], tasks, choice.entities)
        files = next(iter(found.values()))
        declared = json_tr_s(files, self.files)
        return declared[0] if declared else open_run(files).tr_s


@dataclass(frozen=True)
class EncodingInputs:
    """The inputs of an encoding, all checked.

    ``sounds`` maps clips to files, if the dataset names its sounds; ``available`` is where the
    network's inputs come from. ``clean`` are the test clips that share no artist with training.
    """

    trained: "AppliedNetwork"
    source: Source
    design: Design
    sounds: Mapping[str, Path]
    opened: Mapping[str, SubjectInputs]
    available: ClipInputs
    clean: set[str] | None
    rois: Rois
    options: EncodingOptions

    def arguments(self, **others: Any) -> tuple[dict[str, Any], dict[str, Path]]:
        """Return the settings and places for a record; ``others`` are further arguments."""
        settings, places = dataset_arguments(
            self.source.dataset, network=self.trained.reference, images=self.source.images,
            rois=self.rois, options=self.options, **others,
        )  # fmt: skip
        return settings | self.trained.settings(), places

    def hashes(self) -> dict[str, str]:
        """Return name or path of each input -> its SHA-256; reads all images."""
        files = {path for each in self.opened.values() for path in each.files()}
        files |= {each.events.path for each in self.design.runs.values() if each.events}
        files |= {self.options.artists} if self.options.artists else set()
        inputs = {"network": self.trained.weights_hash()}
        with working("computing checksums of the images"):
            return inputs | hash_inputs([*files, *self.rois.files(), *self.sounds.values()])


def check_packages(options: EncodingOptions) -> None:
    """Raise InputError if a package is missing, or for an unknown strategy for confounds."""
    for package in ("himalaya", "nilearn", "librosa"):
        need_package(package, "fmri")
    check_strategies(options.confounds)


def open_inputs(
    network: "AppliedNetwork | Any", source: Source, subjects: str | Sequence[str], rois: Rois,
    options: EncodingOptions,
) -> EncodingInputs:  # fmt: skip
    """Open and check the images of subjects, and the network.

    Raises InputError as `encode` does.
    """
    choice = ImageChoice(options.entities, options.confounds)
    design, sounds = source.design(subjects, choice)
    opened = open_subjects(design, source.files, rois, choice)
    from neuromusic.encoding.clip_sets import artist_clean_clips
    from neuromusic.training.applied_networks import as_applied

    trained = as_applied(network)
    if sounds:
        runs = design.runs.values()
        available = inputs_from_files(trained, sounds, runs, source.dataset.directory)
    else:
        available = inputs_from_prepared(trained)
    available.present(design.clips)
    clean = artist_clean_clips(trained, design.clips, training_clips(design), options.artists)
    for each in opened.values():
        usable = usable_rows(each.scans, available.clips, DELAYS_TR)
        repeats, _ = repeat_rows(each.scans.rows, usable)
        make_folds(each.scans, each.scans.rows, usable, repeats, DELAYS_TR, options.high_pass_hz)
    return EncodingInputs(
        trained, source, design, sounds, opened, available, clean, rois, options
    )  # fmt: skip


def training_clips(design: Design) -> set[str]:
    """Return the clips of training runs, or all clips if folds divide them."""
    return {
        clip
        for each in design.runs.values()
        if each.split != "test"
        for clip in each.trials["clip"]
    }

"""The BIDS App: participants are encoded by any number of processes, then joined to a group.

The output is one BIDS derivative: a directory per participant, that of the group, and reports.
"""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromusic.core.cache import caching
from neuromusic.core.errors import BusyError, InputError, listed
from neuromusic.core.files import read_json, sha256
from neuromusic.core.outputs import check_target, locked
from neuromusic.core.records import RECORD, changed_settings
from neuromusic.design.dataset import Dataset
from neuromusic.encoding.inputs import check_network
from neuromusic.encoding.options import EncodingOptions
from neuromusic.encoding.rois import Rois
from neuromusic.pipeline.bids_validation import check_valid
from neuromusic.pipeline.datasets import dataset_arguments
from neuromusic.pipeline.encode import COMMAND, IGNORED_BY_BIDS
from neuromusic.pipeline.encode_group import check_complete, encode_group, record_of
from neuromusic.pipeline.encode_inputs import EncodingInputs, Source, check_packages, open_inputs
from neuromusic.pipeline.encode_participant import encode_opened

if TYPE_CHECKING:  # images are checked without torch, which takes seconds to import
    from neuromusic.models.applied import AppliedNetwork
    from neuromusic.models.external import External

log = logging.getLogger(__name__)

DESCRIPTION = "dataset_description.json"
DERIVATIVES = "derivatives"
GROUP = "group"
IGNORED = (*IGNORED_BY_BIDS, "*_results.npz", GROUP, "*.html")
README = """How well each stage of a network predicts the responses of each voxel; written by the
BIDS App neuromusic-bids. `sub-X.html` and `group.html` show the results.

`sub-X/func` has maps of the correlation r with the responses to test clips, of r relative to the
noise ceiling (rc), of what a stage explains beyond an acoustic baseline (r2), of q values and of
the noise ceiling, in the space of the images. The JSON file beside each map describes it.
`sub-X/sub-X_voxels.tsv` has all scores of all voxels, `sub-X/areas.tsv` the means of each area,
`sub-X/contrasts.tsv` the differences between stages and networks, `sub-X/unique.tsv` what each
stage explains beyond the acoustic baseline and beyond the stage below, `sub-X/encoding.json` the
method. `group` has the same tables for all participants, and the tests over participants in
`group/group.tsv`."""


@dataclass(frozen=True)
class App:
    """What a call of the app reads and writes, and how it encodes.

    Parameters
    ----------
    bids : Dataset
        The dataset with the events of the images, and the experiment that it records.
    out : Path
        The derivative.
    labels : tuple of str
        The participants, with or without ``sub-``; none: all with events.
    images : Path, optional
        Folder of the preprocessed images; by default that of ``bids``.
    rois, options
        As for `encode_participant`.
    work : Path, optional
        Folder for intermediate files, which several processes may share: the activations of the
        network, and the voxels that are being fitted.
    skip_validation : bool
        Do not run the BIDS validator on the dataset.
    overwrite : bool
        Encode participants again that were encoded with other settings or from other inputs.
    """

    bids: Dataset
    out: Path
    labels: tuple[str, ...] = ()
    images: Path | None = None
    rois: Rois = Rois()  # noqa: RUF009  # immutable
    options: EncodingOptions = EncodingOptions()  # noqa: RUF009  # immutable
    work: Path | None = None
    skip_validation: bool = False
    overwrite: bool = False

    def place(self, label: str) -> Path:
        """Return the directory of a participant."""
        return self.out / f"sub-{label}"


def encode_participants(
    network: "AppliedNetwork | External | Path | str", app: App
) -> dict[str, str]:
    """Encode the participants that are not done, and that no other process is encoding.

    The inputs of all of them are checked before the first one is encoded.

    Parameters
    ----------
    network : TrainedNetwork, External, str or Path
        What `encode` takes.
    app : App
        Inputs, outputs and settings.

    Returns
    -------
    dict of str
        Participant -> "encoded", "was done", or "busy" if another process encodes it now.

    Raises
    ------
    InputError
        If the output is in the dataset or contains something else, if the dataset is not valid, if
        a participant is unknown, or if the inputs of a participant cannot be used.
    """
    check_packages(app.options)
    _check_places(app)
    check_network(network)
    source = Source.open(app.bids, app.images)
    labels = _chosen(source, app)
    for label in labels:
        check_target(app.place(label), COMMAND)
    if not app.skip_validation:
        check_valid(app.bids.directory)
    inputs = _open_all(network, source, labels, app)
    _write_dataset_files(app, next(iter(inputs.values())).trained.name)
    states, features = {}, None
    with caching(app.work / "activations") if app.work else contextlib.nullcontext():
        for label in labels:
            try:
                with _claimed(app.place(label)):
                    encoded = encode_opened(
                        inputs[label], app.place(label), scratch=app.work, features=features,
                        overwrite=app.overwrite,
                    )  # fmt: skip
                    states[label] = "encoded" if encoded else "was done"
                    features = encoded or features
                    _write_page(app.place(label), is_new=encoded is not None)
            except BusyError:
                states[label] = "busy"
                log.info("sub-%s: another process is encoding it", label)
    return states


def join_participants(network: "AppliedNetwork | External | Path | str | None", app: App) -> Path:
    """Join the encodings of all participants to a group; nothing is encoded.

    Parameters
    ----------
    network : TrainedNetwork, External, str, Path or None
        The network of the participants, to check that it is still the same; None: not checked.
    app : App
        As for `encode_participants`.

    Returns
    -------
    Path
        The directory of the group.

    Raises
    ------
    InputError
        If a participant is not done, or was encoded with other settings or another network.
    """
    check_packages(app.options)
    _check_places(app)
    labels = _chosen(Source.open(app.bids, app.images), app)
    check_complete(app.out, labels)
    for label in labels:
        _check_settings(network, label, app)
    options = app.options
    record = app.out / GROUP / RECORD
    before = sha256(record) if record.is_file() else ""
    group = encode_group(
        app.out, out=app.out / GROUP, participants=labels, seed=options.seed,
        figures=options.figures, overwrite=app.overwrite,
    )  # fmt: skip
    _write_page(group, is_new=sha256(record) != before)
    return group


# --- Checks ---------------------------------------------------------------------------------------


def _check_places(app: App) -> None:
    """Raise InputError if outputs would be among the inputs, or beside something else."""
    bids = app.bids.directory.resolve()
    out = app.out.resolve()
    own = bids / DERIVATIVES
    is_derivative = out.is_relative_to(own) and out != own
    if bids.is_relative_to(out) or (out.is_relative_to(bids) and not is_derivative):
        raise InputError(
            f"{app.out}: the output would be mixed with the dataset {app.bids.directory}; choose "
            f"{app.bids.directory / DERIVATIVES / 'neuromusic'}, or a folder outside of the dataset"
        )
    if app.work is not None:
        work = app.work.resolve()
        for other in (bids, out):
            if work.is_relative_to(other) or other.is_relative_to(work):
                raise InputError(
                    f"{app.work}: intermediate files would be mixed with {other}; choose a folder "
                    "outside of the dataset and of the output"
                )
    if out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
        _generated_by_us(out)
    elif out.exists() and not out.is_dir():
        raise InputError(f"{app.out}: is a file; expected a folder for the output")


def _generated_by_us(out: Path) -> dict[str, Any]:
    """Return the description of an output of the app; raise InputError for any other folder."""
    path = out / DESCRIPTION
    content = read_json(path) if path.is_file() else {}
    generated = content.get("GeneratedBy") if isinstance(content, dict) else None
    first = generated[0] if isinstance(generated, list) and generated else None
    if not isinstance(first, dict) or first.get("Name") != "neuromusic":
        raise InputError(
            f"{out}: contains something else than an output of neuromusic-bids; choose an empty "
            "folder, or a new one"
        )
    return content


def _chosen(source: Source, app: App) -> list[str]:
    """Return the labels of the participants; raise InputError for an unknown one."""
    known = source.subjects
    labels = list(dict.fromkeys(label.removeprefix("sub-") for label in app.labels))
    unknown = [f"sub-{label}" for label in labels if label not in known]
    if unknown:
        raise InputError(
            f"{app.bids.directory}: has no events of {listed(unknown)}; its participants are "
            f"{listed(known)}"
        )
    return labels or known


def _open_all(
    network: "AppliedNetwork | External | Path | str", source: Source, labels: list[str], app: App
) -> dict[str, EncodingInputs]:
    """Return the checked inputs of each participant; the network is loaded once.

    Raises InputError that names all participants whose inputs cannot be used.
    """
    opened: dict[str, EncodingInputs] = {}
    problems = []
    for label in labels:
        try:
            opened[label] = open_inputs(network, source, [label], app.rois, app.options)
            network = opened[label].trained
        except InputError as error:
            problems.append(str(error))
    if len(labels) == len(problems) == 1:
        raise InputError(problems[0])
    if problems:
        raise InputError(
            f"{len(problems)} of {len(labels)} participants cannot be encoded: "
            f"{'; '.join(dict.fromkeys(problems))}"
        )
    return opened


def _check_settings(
    network: "AppliedNetwork | External | Path | str | None", label: str, app: App
) -> None:
    """Raise InputError if a participant was encoded with other settings or another network."""
    record = record_of(app.out, label) or {}
    settings, _ = dataset_arguments(app.bids, network="", rois=app.rois, options=app.options)
    # Through JSON, so that tuples and lists compare as they are on disk.
    old, new = (
        {key: each.get(key) or {} for key in ("bids", "rois", "options")}
        for each in (record["settings"], json.loads(json.dumps(settings)))
    )
    for each in (old, new):  # figures are drawn again
        each["options"] = {k: v for k, v in each["options"].items() if k != "figures"}
    changes = changed_settings(old, new)
    if network is not None:
        from neuromusic.training.applied_networks import as_applied

        applied = as_applied(network)
        if applied.weights_hash() != record["inputs"]["network"]:
            changes.append("the network has changed")
    if changes:
        raise InputError(
            f"{app.place(label)}: was encoded with other settings ({listed(changes)}); give the "
            "group the settings of the participants, or encode them again"
        )


@contextlib.contextmanager
def _claimed(place: Path) -> Iterator[None]:
    """Keep a participant for this process; raise BusyError if another one has it.

    The lock of the `Step` comes later, when the checksums of all images are known.
    """
    with locked(place.with_name(f"{place.name}-claim")):
        yield


# --- The derivative -------------------------------------------------------------------------------


def _write_dataset_files(app: App, model: str) -> None:
    """Write what describes the derivative; all processes write the same bytes.

    Raises InputError if the output is that of another network.
    """
    from neuromusic.encoding import maps
    from neuromusic.fmri.export.bids_dataset import write_dataset_files

    name = f"Encoding of responses by the stages of {model}"
    app.out.mkdir(parents=True, exist_ok=True)
    if (app.out / DESCRIPTION).is_file():
        old = _generated_by_us(app.out).get("Name")
        if old != name and not app.overwrite:
            raise InputError(
                f"{app.out}: contains '{old}', not '{name}': choose another folder, or replace it "
                "with overwrite=True (--overwrite)"
            )
    part = app.out / f".description-{os.getpid()}"
    part.mkdir(exist_ok=True)
    try:
        write_dataset_files(
            part, name, model, README, ignored=(*IGNORED, *maps.IGNORED),
            extra=_sources(app.bids.directory, app.out),
        )  # fmt: skip
        for path in part.iterdir():
            os.replace(path, app.out / path.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sources(bids: Path, out: Path) -> dict[str, Any]:
    """Return where the data come from: the DOI that the dataset states, and its folder."""
    path = bids / DESCRIPTION
    content = read_json(path) if path.is_file() else {}
    doi = content.get("DatasetDOI") if isinstance(content, dict) else None
    source = {"URL": "bids:raw:"}
    if isinstance(doi, str) and doi.strip():
        source = {"DOI": doi.strip(), "URL": _doi_url(doi.strip())}
    try:
        link = Path(os.path.relpath(bids.resolve(), out.resolve())).as_posix()
    except ValueError:  # on another drive
        link = bids.resolve().as_uri()
    return {"SourceDatasets": [source], "DatasetLinks": {"raw": link}}


def _doi_url(doi: str) -> str:
    number = doi.removeprefix("https://doi.org/").removeprefix("doi:").lstrip("/")
    return f"https://doi.org/{number}"


def _write_page(directory: Path, is_new: bool) -> None:
    """Write the page of a participant or of the group, unless it was written before."""
    from neuromusic.pipeline.report import report

    page = directory.with_name(f"{directory.name}.html")
    if is_new or not page.is_file():
        report(directory, out=page)

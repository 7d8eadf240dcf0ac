"""The files at the top of a BIDS derivative: what it is, who made it, what validators ignore."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from neuromusic.core.files import write_json, write_text
from neuromusic.core.records import RECORD
from neuromusic.core.version import __version__

DESCRIPTION = "dataset_description.json"
BIDS_VERSION = "1.10.0"
ADD_AUTHORS = f"Before you publish this directory, put your names into `Authors` in {DESCRIPTION}."


def write_dataset_files(
    directory: Path,
    name: str,
    network: str,
    readme: str,
    *,
    ignored: Iterable[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write ``dataset_description.json``, ``README.md`` and ``.bidsignore`` of a BIDS derivative.

    Parameters
    ----------
    directory : Path
        Root of the derivative.
    name : str
        Name of the dataset.
    network : str
        Name of the network from which it was computed.
    readme : str
        Text that follows the name in ``README.md``, in Markdown.
    ignored : iterable of str
        Names of files, and of directories with a slash at the end, that BIDS has no place for;
        ``provenance.json`` is always among them.
    extra : mapping, optional
        Further entries of ``dataset_description.json``.
    """
    description = {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        # The program does not know who runs it, and validators expect at least two authors.
        "Authors": ["neuromusic (software)", f"{network} (neural network)"],
        "GeneratedBy": [{"Name": "neuromusic", "Version": __version__}],
        **(extra or {}),
    }
    write_json(directory / DESCRIPTION, description)
    parts = (f"# {name}", readme.strip(), ADD_AUTHORS, f"Written by neuromusic {__version__}.")
    write_text(directory / "README.md", "\n\n".join(parts) + "\n")
    write_text(directory / ".bidsignore", "".join(f"{line}\n" for line in (RECORD, *ignored)))


def bids_label(name: str) -> str:
    """Return a name as a label in BIDS file names, which may contain letters and digits only.

    Examples
    --------
    >>> from neuromusic.fmri.export.bids_dataset import bids_label
    >>> bids_label("cortex-s")
    'cortexs'
    """
    return re.sub(r"[^0-9A-Za-z]", "", name) or "network"

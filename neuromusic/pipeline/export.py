"""TODO: docstring."""

from collections.abc import Mapping
from pathlib import Path

from neuromusic.core.errors import InputError
from neuromusic.core.files import sha256
from neuromusic.core.outputs import check_target, new_directory
from neuromusic.core.progress import Say
from neuromusic.core.records import hash_inputs, is_current, record
from neuromusic.design import grid
from neuromusic.design.lists import _files_of, read_lists
from neuromusic.fmri.export.formats import Wanted


def _check_unchanged(lists: Path, inputs: Mapping[str, str]) -> None:
    """Raise InputError if what was hashed before the work is not what lies there after it."""
    for name, now in hash_inputs(_files_of(lists)).items():
        if inputs[name] != now:
            raise InputError(f"{name}: has changed while it was read; start again")


def make_export(
    directory: Path, lists: Path, out: Path, say: Say, wanted: Wanted | None = None
) -> Path:
    """Export a run's responses to every run of the lists, and in the formats that are wanted."""
    from neuromusic.fmri.export.derivative import export
    from neuromusic.training.trained import load_network

    run = load_network(directory)
    table = read_lists(lists)
    check_target(out, "export")
    wanted = wanted or Wanted()
    wanted.check([stage.name for stage in run.network.stages])
    inputs = {"run": sha256(directory / "model.safetensors"), **hash_inputs(_files_of(lists))}
    places = {"run": directory, "lists": lists}
    made = record("export", wanted.settings(), inputs, places=places)
    if is_current(out, made):
        say(f"{out} is there already and unchanged")
        return out
    with new_directory(out, made) as part:
        missing, notes = export(run, table, lists, part, wanted)
        _check_unchanged(lists, inputs)
    runs = table[["split", "run"]].drop_duplicates()
    say(
        f"wrote {out}: {len(runs)} runs of {grid.n_volumes(int(table['trial'].max()))} volumes, "
        f"stages {', '.join(stage.name for stage in run.network.stages)}"
    )
    if missing:
        say(f"{len(missing)} clips are missing; their volumes are NaN: {', '.join(missing)}")
    for name in dict.fromkeys(wanted.formats):
        say(f"wrote {out / name}")
    for line in notes:
        say(f"note: {line}")
    return out

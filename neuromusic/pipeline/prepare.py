"""TODO: docstring."""

import contextlib
from pathlib import Path

from neuromusic.core.errors import InputError
from neuromusic.core.files import checksum
from neuromusic.core.outputs import check_target, new_directory
from neuromusic.core.parallel import Machine
from neuromusic.core.progress import Say
from neuromusic.core.records import hash_inputs, is_current, record
from neuromusic.design.lists import _files_of


def make_prepared(
    lists: Path, out: Path, seed: int, workers: int, say: Say,
    name: str = "logmel", with_waves: bool = False, device: str = "cpu", dask: str | None = None,
) -> Path:  # fmt: skip
    """Prepare stimulus lists with a front end: every clip, the training clips in ten variants.

    What an interrupted preparation of the same has done is kept, and the next one goes on from it.
    """
    machine = Machine(workers, device, dask)
    check_target(out, "prepare")
    from neuromusic.features.build import prepare_audio, same_threads
    from neuromusic.features.frontends.base import describe, front_end

    spec = front_end(name)
    settings = {"seed": seed, "front_end": describe(spec), "waves": with_waves}
    if machine.device != "cpu":  # other bytes, within rounding
        settings["device"] = machine.device
    files = _files_of(lists)
    checksums = {path: checksum(path) for path in files}  # before the hashes, see `hear_clip`
    made = record("prepare", settings, hash_inputs(files), machine.device, places={"lists": lists})
    if is_current(out, made):
        say(f"{out} is there already and unchanged")
        return out
    threads = same_threads() if machine.is_this_process else contextlib.nullcontext()
    with new_directory(out, made, keep=True) as part, threads:
        silent, made["outputs"] = prepare_audio(
            lists, part, spec, with_waves, seed, checksums, machine
        )
    if silent:
        say(f"warning: silent and not trained on: {', '.join(silent)}")
    _say_prepared(out, say)
    return out


def make_prepared_features(
    train: Path, test: Path | None, out: Path, say: Say, name: str = "logmel"
) -> Path:
    """Prepare ready-made log-mel, as it is or as its modulation."""
    from neuromusic.features.precomputed import prepare_features

    check_target(out, "prepare")
    files = [path for path in (train, test) if path is not None]
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected an .npz with log-mel features")
    places = {"features": train} | ({"test_features": test} if test else {})
    made = record("prepare", {"front_end": name}, hash_inputs(files), places=places)
    if is_current(out, made):
        say(f"{out} is there already and unchanged")
        return out
    with new_directory(out, made) as part:
        prepare_features(train, test, part, name)
    _say_prepared(out, say)
    return out


def _say_prepared(out: Path, say: Say) -> None:
    from neuromusic.features.prepared import open_prepared

    data = open_prepared(out)
    clips = data.rows.drop_duplicates("clip")["split"].value_counts().to_dict()
    counts = ", ".join(f"{n} {split} clips" for split, n in clips.items())
    say(f"wrote {out}: {len(data.rows)} rows of {data.features.shape[1:]} from {counts}")

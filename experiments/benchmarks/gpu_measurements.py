"""The measurements of `gpu.py`: one function for each, which yields rows of the table.

They import what they need themselves, so that a missing package is an error of one of them only.
"""

import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
TOLERANCE = 1e-2  # of log-probabilities
CLIPS = 480  # training clips of the experiment
RIDGE_S = {5_000: 60.0, 60_000: 240.0}  # targets, for four stages


@dataclass(frozen=True)
class Job:
    """What a measurement is given: the device, its sizes, a directory and its time limit."""

    device: str
    small: bool
    folder: Path
    limit_s: float

    def pick(self, full: T, small: T) -> T:
        """Return one of two values, the second in the small form."""
        return small if self.small else full

    def precisions(self, *names: T) -> tuple[T, ...]:
        """Return all precisions on a GPU, only the first on a CPU, most of which emulate others."""
        return names if self.device == "cuda" else names[:1]


@dataclass(frozen=True)
class Row:
    """One row of the table; ``baseline`` has the same unit as ``value``."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    target: str = ""
    met: bool | None = None


def rate_row(
    name: str, value: float, baseline: float | None = None, least_ratio: float | None = None
) -> Row:
    """Return a row of windows per second, with the least ratio as the target."""
    ratio = value / baseline if baseline else None
    row = Row(name, value, "windows/s", baseline, ratio)
    return with_least_ratio(row, least_ratio)


def time_row(
    name: str, value: float, baseline: float | None = None, most: float | None = None
) -> Row:
    """Return a row of seconds, with a target for the seconds."""
    ratio = baseline / value if baseline else None
    row = Row(name, value, "s", baseline, ratio)
    return row if most is None else replace(row, target=f"<= {most:g} s", met=value <= most)


def with_least_ratio(row: Row, least: float | None) -> Row:
    """Return a row with a target for its ratio."""
    if least is None or row.ratio is None:
        return row
    return replace(row, target=f"ratio >= {least:g}", met=row.ratio >= least)


# --- Measurements ---------------------------------------------------------------------------------


def agreement(job: Job) -> Iterator[Row]:
    """Compare log-probabilities with those of the CPU, in float32 and in bfloat16."""
    import torch

    from neuromusic.models.registry import create_model
    from neuromusic.training.trained import use_full_precision

    torch.manual_seed(0)
    use_full_precision()
    spec = window_spec(job)
    x = torch.randn(job.pick(32, 4), spec.n_bands, spec.n_frames)
    for name in ("cortex-z", "cortex-rt", "cnn4-gru", "resnet50"):
        network = with_batch_statistics(create_model(name, spec, 0), x)
        with torch.inference_mode():
            expected = network(x)
            # As if trained: random weights give logits that hardly differ between windows.
            scale = 1 / expected.std(0).mean()
            network.to(job.device)
            for precision in job.precisions(torch.float32, torch.bfloat16):
                with torch.autocast(job.device, precision, enabled=precision is torch.bfloat16):
                    logits = network(x.to(job.device)).float().cpu()
                difference = (logits * scale).log_softmax(1) - (expected * scale).log_softmax(1)
                worst = float(difference.abs().max())
                row = Row(f"{name} and CPU, {short(precision)}", worst, "log units")
                if precision is torch.float32:  # bfloat16 is used in training only
                    row = replace(row, target=f"<= {TOLERANCE:g}", met=worst <= TOLERANCE)
                yield row


def window_spec(job: Job) -> Any:
    """Return the size of the windows that networks are given."""
    from networks import SPEC

    return replace(SPEC, n_frames=job.pick(SPEC.n_frames, 128))


def with_batch_statistics(network: Any, x: Any) -> Any:
    """Return a network in evaluation mode whose normalisation has the statistics of ``x``."""
    import torch

    for layer in network.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.momentum = None  # a plain average
    with torch.no_grad():
        network.train()(x)
    return network.eval()


def short(precision: Any) -> str:
    """Return the name of a torch type without its module."""
    return str(precision).removeprefix("torch.")


def determinism(job: Job) -> Iterator[Row]:
    """Train twice and compare the bytes of the weights."""
    import torch
    import training

    device = torch.device(job.device)
    prepared = training.make_set(job.pick(120, 24), job.folder)
    for name in job.pick(["cnn4-gru", "cortex"], ["cortex"]):
        config = training.settings(name, job.pick(8, 2), device, job.pick(None, 4))
        first, second = (
            trained_bytes(config, prepared, job.folder / f"{name}-{number}", job.device)
            for number in (1, 2)
        )
        same = first == second
        yield Row(f"weights of two trainings, {name}", float(same), "equal", None, None, "1", same)


def trained_bytes(config: Any, prepared: Path, out: Path, device: str) -> bytes:
    """Train for two epochs and return the bytes of the weights."""
    from neuromusic.features.prepared import open_prepared
    from neuromusic.training.fit import fit
    from neuromusic.training.trained import WEIGHTS

    accelerator = "gpu" if device == "cuda" else "cpu"
    train = config.train.model_copy(update={"epochs": 2, "accelerator": accelerator})
    fit(config.model_copy(update={"train": train}), open_prepared(prepared), out)
    return (out / WEIGHTS).read_bytes()


def training_speed(job: Job) -> Iterator[Row]:
    """Train `cnn4-gru` with the predecessors' loop and with `fit`, in float32 and bfloat16."""
    import torch
    import training

    device = torch.device(job.device)
    config = training.settings("cnn4-gru", job.pick(38, 1), device, job.pick(None, 4))
    prepared = training.make_set(job.pick(480, 24), job.folder)
    epochs, n_windows = job.pick(3, 1), config.data.windows_per_epoch
    reset_peak(job.device)
    seconds = training.predecessors(in_precision(config, "32-true"), prepared, epochs, device)
    plain_s, plain_mb = median_s(seconds), peak_mb(job.device)
    precisions = job.precisions("32-true", "bf16-mixed")
    for precision in precisions:
        last = precision == precisions[-1]  # the targets are those of the fastest precision
        reset_peak(job.device)
        seconds = training.ours(in_precision(config, precision), prepared, epochs, device)
        epoch_s = median_s(seconds)
        name = f"train cnn4-gru, {precision}"
        yield rate_row(name, n_windows / epoch_s, n_windows / plain_s, 5.0 if last else None)
        yield Row(f"memory: {name}", peak_mb(job.device), "MB", plain_mb)
        if last:
            name = f"26 epochs of {n_windows} windows, from {epochs}"
            yield time_row(name, 26 * epoch_s, 26 * plain_s, 60.0)


def compiled_training(job: Job) -> Iterator[Row]:
    """Train `cnn4-gru` in a plain loop with our batches, with and without `torch.compile`."""
    import torch
    import training

    device = torch.device(job.device)
    config = training.settings("cnn4-gru", job.pick(38, 1), device, job.pick(None, 4))
    prepared = training.make_set(job.pick(480, 24), job.folder)
    compiler = job.pick("inductor", "eager")  # the first one needs a C++ compiler on a CPU
    for precision in job.precisions("32-true", "bf16-mixed"):
        precise = in_precision(config, precision)
        plain, compiled = (
            config.data.windows_per_epoch
            / median_s(training.bare(precise, prepared, job.pick(2, 1), device, name))
            for name in ("", compiler)
        )
        yield rate_row(f"torch.compile ({compiler}), cnn4-gru, {precision}", compiled, plain)


def in_precision(config: Any, precision: str) -> Any:
    """Return settings with another precision."""
    train = config.train.model_copy(update={"precision": precision})
    return config.model_copy(update={"train": train})


def median_s(seconds: list[tuple[float, float]]) -> float:
    """Return the median wall-clock time of an epoch."""
    return statistics.median(wall for wall, _ in seconds)


def preparation(job: Job) -> Iterator[Row]:
    """Prepare ten variants of each clip with the command, and of a few with librosa."""
    import prepare

    n_clips = job.pick(CLIPS, 10)
    lists = prepare.make_lists(job.folder, n_clips)
    files = sorted((job.folder / f"clips{n_clips}").rglob("*.wav"))
    n_sample = job.pick(6, 1)
    seconds = prepare.baseline_in_a_process(files[:: len(files) // n_sample][:n_sample])
    baseline_s = statistics.median(seconds) * n_clips
    calls = job.pick(["", ", again"], [""])  # the first one may compile, so the last is judged
    for again in calls:
        measured = prepare.ours(lists, job.folder / "out", "--device", job.device)
        row = time_row(f"prepare {n_clips} clips tenfold{again}", measured.seconds, baseline_s)
        yield with_least_ratio(row, 200.0 if again == calls[-1] else None)
        yield Row(f"host memory: prepare{again}", measured.peak_mb, "MB")


def window_rates(job: Job) -> Iterator[Row]:
    """Time the networks: forward (one window at a time as the baseline) and a training step."""
    import torch
    from networks import seconds

    from neuromusic.models.inference import use_full_precision
    from neuromusic.models.registry import create_model
    from neuromusic.training.control_copies import to_channels_last

    batch, times = job.pick(128, 2), job.pick(5, 1)
    spec, precision = window_spec(job), job.precisions("float32", "bfloat16")[-1]
    x = torch.randn(batch, spec.n_bands, spec.n_frames, device=job.device)
    for name in ("cortex-z", "cortex-rt", "resnet50"):
        network = create_model(name, spec, 0).to(job.device)
        torch.backends.cudnn.allow_tf32 = True  # torch's default, as the predecessors had it
        plain_s = seconds(network, x, times, False, mixed=False)
        use_full_precision()
        single = 1 / forward_s(network.eval(), x[:1], times)
        to_channels_last(network)
        yield rate_row(f"{name} forward, float32", batch / forward_s(network, x, times), single)
        step_s = seconds(network.train(), x, times, False)
        yield rate_row(f"{name} training step, {precision}", batch / step_s, batch / plain_s)


def forward_s(network: Any, x: Any, times: int) -> float:
    """Return the median seconds of a forward pass without gradients, after one to warm up."""
    import torch
    from training import synchronise

    durations = []
    with torch.inference_mode():
        for _ in range(times + 1):
            start = time.perf_counter()
            network(x)
            synchronise(x.device)
            durations.append(time.perf_counter() - start)
    return statistics.median(durations[1:])


def export_runs(job: Job) -> Iterator[Row]:
    """Export 18 runs with the command, and a few clips by the predecessors' method."""
    import common
    import export
    import numpy as np

    network = common.write_network(job.folder / "network")
    few = job.folder / "lists-few"
    export.make_lists(few, 2)
    common.naive_mel(np.zeros(22050, np.float32))  # librosa compiles at its first use
    start = time.perf_counter()
    export.export_as_predecessors(network, few, job.folder / "naive")
    clip_s = (time.perf_counter() - start) / len(list(few.rglob("*.wav")))
    lists = few
    if not job.small:
        lists = job.folder / "lists"
        export.make_lists(lists, export.CLIPS_PER_GENRE)
    n_clips = len(list(lists.rglob("*.wav")))
    measured = export.measure_export(network, lists, job.folder / "out", "")
    name = f"export 18 runs, {n_clips} sounds"
    yield time_row(name, measured.seconds, clip_s * n_clips, export.GPU_TARGET_S)
    yield Row("host memory: export", measured.peak_mb, "MB")


def ridge(job: Job) -> Iterator[Row]:
    """Fit four stages to the voxels of a part of the brain and of the whole brain."""
    import encoding

    started = time.perf_counter()
    components = job.pick(100, 3)
    n_few, n_many = job.pick((5_000, 60_000), (40, 80))
    problem = encoding.problem(n_few, components)
    few_s = encoding.measure_encoding(*problem)["seconds"]
    yield time_row(f"encode {n_few} voxels, 4 stages", few_s, most=RIDGE_S[5_000])
    compared = encoding.compare_with_himalaya(*problem)
    name = f"ridge of {n_few} voxels, one stage (baseline: himalaya's RidgeCV)"
    yield time_row(name, compared["one_stage_seconds"], compared["himalaya_one_stage_seconds"])
    left_s = job.limit_s - (time.perf_counter() - started)
    n_fitted = fitting_voxels(n_few, n_many, few_s, left_s)
    result = encoding.measure_encoding(*encoding.problem(n_fitted, components))
    name = f"encode {n_many} voxels, 4 stages" + (f", from {n_fitted}" if n_fitted < n_many else "")
    yield time_row(name, result["seconds"] * n_many / n_fitted, most=RIDGE_S[60_000])
    yield Row("host memory: encode", 1000 * result["gigabytes_peak"], "MB")


def fitting_voxels(n_few: int, n_many: int, few_s: float, left_s: float) -> int:
    """Return how many voxels can be encoded in the time that is left, at most ``n_many``."""
    fitting = int(0.6 * left_s / few_s * n_few)  # the rest of the time makes the series
    return max(n_few, min(n_many, fitting))


MEASUREMENTS: dict[str, tuple[Callable[[Job], Iterator[Row]], float]] = {
    "agreement": (agreement, 45.0),
    "determinism": (determinism, 60.0),
    "training": (training_speed, 90.0),
    "preparation": (preparation, 110.0),
    "windows": (window_rates, 60.0),
    "export": (export_runs, 90.0),
    "encoding": (ridge, 120.0),
    "compile": (compiled_training, 120.0),
}  # with time limits in s; in the order of their importance, because the last may get less


# --- Memory ---------------------------------------------------------------------------------------


def reset_peak(device: str) -> None:
    """Forget the peak of torch's memory on the GPU."""
    import torch

    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_mb(device: str) -> float:
    """Return the peak of torch's memory on the GPU; on a CPU, of this process's memory."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_reserved() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

"""Figures: what is drawn against the data, sizes, formats, equal bytes, no overlaps."""

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from helpers import TINY, neuromusic
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from spreadsheets import judgements, write_sheet

from neuromusic.core.errors import InputError
from neuromusic.core.figures import FORMATS, FigureStyle, percent, save
from neuromusic.design.orders import GENRES
from neuromusic.encoding import plots as encoding_plots
from neuromusic.encoding import sound_plots, unique_plots
from neuromusic.encoding.area_intervals import area_intervals
from neuromusic.encoding.area_results import AreaResults
from neuromusic.encoding.brain_plots import BrainMaps, brain, why_not_drawn
from neuromusic.encoding.model_names import BASELINE, JOINT
from neuromusic.evaluation import plots, training_plots
from neuromusic.evaluation.training_plots import brief
from neuromusic.fmri.plots import timeline
from neuromusic.fmri.voxel_space import VoxelSpace, open_space
from neuromusic.pipeline.evaluate import evaluate
from neuromusic.stats import reliability

ALL = FigureStyle(FORMATS)
WIDTHS_MM = (80, 180)
STAGES = ["A1", "belt", "PB", "T2T3", "GRU"]
AREAS = ["A1", "belt", "PB", "noise"]


# --- Data to draw ---------------------------------------------------------------------------------


RUNS = np.repeat(range(6), 10)  # of the test clips


def encoding_of(clip_r):
    """Return the result whose areas have these contributions of clips to their r."""
    weights = reliability.clip_weights(RUNS)
    area_r = {key: weights @ each * len(RUNS) / weights.sum(1) for key, each in clip_r.items()}
    rng = np.random.default_rng(0)
    shifts = {}
    for key, each in clip_r.items():  # as played, and nine shifts without any match
        shifts[key] = [
            np.append(each[run == RUNS].sum(), rng.normal(0, each.std() * 3.2, 9))
            for run in range(6)
        ]
    clips = [f"clip {number}" for number in range(len(RUNS))]
    return AreaResults(
        areas=pd.DataFrame(), rdms={}, clips=clips, clip_runs=RUNS, n_volumes=10, area_r=area_r,
        area_shifts=shifts, has_folds=False,
    )  # fmt: skip


def encodings(n_subjects, areas=AREAS, tied=False, spread=0.0003):
    """Results in which each area is predicted best by the stage of its name, and noise by none."""
    rng = np.random.default_rng(0)
    results, rows = {}, []
    for subject in map(str, range(n_subjects)):
        clip_r = {}
        for index, area in enumerate(areas):
            for network, number in itertools.product(
                ("trained", "random", "permuted"), range(len(STAGES) + 1)
            ):
                is_control = network != "trained"
                if is_control and number == len(STAGES):
                    continue  # the joint model is fitted for the trained network only
                r = 0.5 - 0.08 * abs(number - index) - 0.2 * is_control
                r = 0.5 if tied and not is_control else r
                r = 0.9 if number == len(STAGES) else r
                r += 0 if tied else rng.normal(0, 3 * spread)
                each = (0 if area == "noise" else r / 60) + rng.normal(0, spread, 60) * (not tied)
                stage = [*STAGES, JOINT][number]
                clip_r[area, f"{network}-{stage}" if is_control else stage] = each
                rows.append(
                    {"area": area, "stage": stage, "network": network, "clips": "all",
                     "subject": subject, "voxels": 50, "reliable": 0 if area == "noise" else 50,
                     "ceiling_r": 0.7, "r": each.sum()}
                )  # fmt: skip
        results[subject] = encoding_of(clip_r)
    return results, pd.DataFrame(rows)


def intervals_of(results):
    return area_intervals(results, STAGES)


def similarity_rows(n_subjects):
    table = encodings(1)[1].rename(columns={"r": "rho"}).drop(columns=["reliable", "voxels"])
    table = table[table["stage"] != JOINT]
    return table.assign(p=0.5, ceiling_low=0.2, ceiling_high=0.3, subjects=n_subjects)


def unique_rows(areas):
    """Return what each stage adds to the baseline, and to the baseline and the stage below."""
    found = areas[(areas["network"] == "trained") & (areas["stage"] != JOINT)]
    found = found[["subject", "area", "stage"]]
    parts = [found.assign(beyond=BASELINE, smaller_r2=0.4, r2=0.004)]
    above = found[found["stage"] != STAGES[0]]
    parts.append(above.assign(beyond="the stage below", smaller_r2=0.41, r2=-0.002))
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(r2_low=rows["r2"] - 0.003, r2_high=rows["r2"] + 0.003)


def sound_rows(n_targets):
    rows = []
    sets = [("none", "baseline")]
    sets += itertools.product(
        ("trained", "random"), [s + end for s in [*STAGES, "all"] for end in ("", "+baseline")]
    )
    for target, (number, (network, features)) in itertools.product(
        range(n_targets), enumerate(sets)
    ):
        r2 = 0.2 + 0.02 * number
        rows.append({"protocol": "ours", "target": f"target {target}", "network": network,
                     "features": features, "r2": r2, "r2_min": r2 - 0.1,
                     "r2_max": r2 + 0.1})  # fmt: skip
    return pd.DataFrame(rows)


def presented():
    return pd.DataFrame(
        {"trial": range(11), "onset_s": 15.0 * np.arange(11), "duration_s": 15.0,
         "genre": [GENRES[-1], *GENRES], "clip": [GENRES[-1], *GENRES]}
    )  # fmt: skip


def bins(rng):
    low = np.arange(0, 1, 0.1)
    return pd.DataFrame(
        {"low": low, "high": low + 0.1, "n": rng.integers(1, 50, 10), "confidence": low + 0.05,
         "accuracy": rng.random(10), "expected_low": low, "expected_high": np.minimum(1, low + 0.3)}
    )  # fmt: skip


def compared(n=4):
    accuracy = np.linspace(1, 0.4, n)
    return pd.DataFrame(
        {"run": [f"runs/network-with-a-long-name-{i}" for i in range(n)], "model": "cortex-z",
         "n": 60, "accuracy": accuracy, "accuracy_low": accuracy - 0.1,
         "accuracy_high": np.minimum(1, accuracy + 0.1), "random_weights": 0.1, "chance": 0.1,
         "published": [0.77] + [np.nan] * (n - 1)}
    )  # fmt: skip


def epochs(n):
    falling = np.linspace(2, 0.1, n)
    return pd.DataFrame(
        {"epoch": np.arange(1, n + 1), "train_loss": falling, "train_accuracy": 1 - falling / 3,
         "valid_loss": falling, "valid_accuracy": np.ones(n)}
    )  # fmt: skip


def trials(n):
    state = np.where(np.arange(n) % 3, "complete", "pruned")
    return pd.DataFrame({"trial": range(n), "state": state, "valid_loss": np.linspace(2, 1, n)})


CALIBRATION = {"error": 0.034, "error_if_calibrated": 0.057, "error_if_calibrated_95": 0.103}


def drawn(name, style):
    """Draw a figure as the commands do."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(10), 10)
    results, areas = encodings(3)
    figures = {
        "confusion": lambda: plots.confusion(
            rng.integers(0, 49, (10, 10)), GENRES, "cortex-z: 76.7 % of 480 clips correct", style
        ),
        "confusions": lambda: plots.confusions(
            {f"{who}\n76.7 % correct, 5 subjects x 480 clips": shares for who in "abc"}, GENRES,
            [f"{pair}: Spearman's rho 0.45 (one-sided p = 0.0005)"
             for pair in ("a and b", "b and c")], style,
        ),
        "reliability": lambda: plots.reliability(
            bins(rng), CALIBRATION, "cortex-z, 60 clips", style,
        ),
        "comparison": lambda: plots.comparison(compared(), "clips and seeds", style),
        "learning_curves": lambda: training_plots.learning_curves(epochs(30), "cortex-z", style),
        "one_epoch": lambda: training_plots.learning_curves(epochs(1), "cortex-z", style),
        "history": lambda: training_plots.history(trials(20), "valid_loss", True, style),
        "variants": lambda: training_plots.variants(
            [rng.normal(-40, 9, (64, 90)).astype(np.float32)] * 10, 0.15,
            ["separation margin 1.24"] * 10, "disco.00005_15s.wav", style,
        ),
        "timeline": lambda: timeline(
            rng.dirichlet(np.ones(10), 110).astype(np.float32), presented(), 1.5, GENRES,
            "Test run 1", style,
        ),
        "stage_by_area": lambda: encoding_plots.stage_by_area(
            areas, intervals_of(results), STAGES, style
        ),
        "unique_variance": lambda: unique_plots.unique_variance(unique_rows(areas), areas, style),
        "similarity": lambda: encoding_plots.similarities(similarity_rows(3), STAGES, style),
        "stages": lambda: sound_plots.stages(
            sound_rows(6), sound_rows(1), [*STAGES, "all"], 10, style
        ),
    }  # fmt: skip
    return figures[name]()


NAMES = (
    "confusion", "confusions", "reliability", "comparison", "learning_curves", "one_epoch",
    "history", "variants", "timeline", "stage_by_area", "unique_variance", "similarity",
    "stages",
)  # fmt: skip


def texts_of(figure):
    """Return the visible texts of a drawn figure with their boxes in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    found = []
    for text in figure.findobj(Text):
        if not text.get_visible() or not text.get_text().strip():
            continue
        axes = text.axes
        if axes is not None and not axes.get_visible():
            continue
        found.append((text, text.get_window_extent(canvas.get_renderer())))
    return found


def visible_tick_labels(figure):
    """Return the identities of tick labels that matplotlib draws; others keep stale positions."""
    shown = set()
    for axes in figure.findobj(lambda a: hasattr(a, "get_xaxis")):
        for axis in (axes.get_xaxis(), axes.get_yaxis()):
            for tick in axis._update_ticks():
                shown |= {id(tick.label1)} if tick.label1.get_visible() else set()
                shown |= {id(tick.label2)} if tick.label2.get_visible() else set()
    return shown


def all_tick_labels(figure):
    labels = set()
    for axes in figure.findobj(lambda a: hasattr(a, "get_xaxis")):
        for axis in (axes.get_xaxis(), axes.get_yaxis()):
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                labels |= {id(tick.label1), id(tick.label2)}
    return labels


# --- Layout ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("width_mm", WIDTHS_MM)
@pytest.mark.parametrize("name", NAMES)
def test_no_text_overlaps_or_is_cut_off(name, width_mm):
    figure = drawn(name, FigureStyle(width_mm=width_mm))
    found = texts_of(figure)
    hidden = all_tick_labels(figure) - visible_tick_labels(figure)
    found = [(text, box) for text, box in found if id(text) not in hidden]
    frame = figure.bbox
    for text, box in found:
        assert box.x0 >= frame.x0 - 1 and box.x1 <= frame.x1 + 1, f"{text.get_text()!r} is cut off"
        assert box.y0 >= frame.y0 - 1 and box.y1 <= frame.y1 + 1, f"{text.get_text()!r} is cut off"
    upright = [(t, b) for t, b in found if t.get_rotation() % 90 == 0]
    for (first, a), (second, b) in itertools.combinations(upright, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        along = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across < 2 or along < 2, f"{first.get_text()!r} overlaps {second.get_text()!r}"


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_has_a_title_labels_and_its_width(name, tmp_path):
    figure = drawn(name, FigureStyle(width_mm=100))
    panels = [a for a in figure.axes if a.get_visible() and a.get_label() != "<colorbar>"]
    assert figure.get_suptitle() or all(axes.get_title() for axes in panels)
    for axes in panels[-1:] if len(figure.axes) <= 2 else []:  # panels share the labels of the last
        assert axes.get_xlabel()
    [path] = save(figure, tmp_path / name, FigureStyle())
    height, width = matplotlib.image.imread(path).shape[:2]
    assert width == pytest.approx(100 / 25.4 * 300, abs=2)
    assert height > 200


def test_the_users_matplotlib_settings_do_not_matter(tmp_path):
    with matplotlib.rc_context({"font.size": 30, "savefig.dpi": 20, "axes.facecolor": "red"}):
        changed = save(drawn("comparison", ALL), tmp_path / "changed", ALL)
    plain = save(drawn("comparison", ALL), tmp_path / "plain", ALL)
    for a, b in zip(changed, plain, strict=True):
        assert a.read_bytes() == b.read_bytes()


# --- Formats --------------------------------------------------------------------------------------


DRAW = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {cases!r}]
from neuromusic.core.figures import FORMATS, FigureStyle, save
import test_figures
style = FigureStyle(FORMATS)
for name in sys.argv[2:]:
    save(test_figures.drawn(name, style), Path(sys.argv[1], name), style)
"""


@pytest.mark.parametrize("names", [NAMES[:1], pytest.param(NAMES, marks=pytest.mark.slow)])
def test_the_same_figure_has_the_same_bytes_in_every_format_and_process(names, tmp_path):
    code = DRAW.format(tests=str(Path(__file__).parents[1]), cases=str(Path(__file__).parent))
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / number), *names], check=True,
            capture_output=True,
            env={"PYTHONHASHSEED": number, "PATH": "/usr/bin:/bin", "TZ": f"UTC+{number}",
                 "MPLCONFIGDIR": mpl.get_cachedir()},  # it knows the fonts
        )  # fmt: skip
    files = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert files == sorted(f"{name}.{form}" for name in names for form in FORMATS)
    for name in files:
        content = (tmp_path / "1" / name).read_bytes()
        assert content == (tmp_path / "2" / name).read_bytes(), name
        assert not re.search(rb"20[2-9]\d-?[01]\d-?[0-3]\d|matplotlib v", content), name


def test_fonts_are_embedded_in_pdf_and_text_stays_text_in_svg(tmp_path):
    png, pdf, svg = save(drawn("comparison", ALL), tmp_path / "figure", ALL)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"/FontFile2" in pdf.read_bytes()
    assert b"/Type3" not in pdf.read_bytes()
    text = svg.read_text("utf-8")
    assert "<text" in text
    assert "accuracy (share of clips)" in text


@pytest.mark.parametrize(
    ("formats", "width_mm", "message"),
    [
        (("jpg",), None, r"'jpg' is not a format of figures; choose from png, pdf, svg"),
        ((), None, "no format"),
        (("PDF",), None, "'PDF' is not a format"),
        (("png",), 20, "a width of 20 mm; expected 80 to 400 mm"),
        (("png",), 4000, "a width of 4000 mm"),
        (("png",), float("nan"), "a width of nan mm"),
    ],
)
def test_other_formats_and_widths_are_refused(formats, width_mm, message):
    with pytest.raises(InputError, match=message):
        FigureStyle(formats, width_mm)


@pytest.mark.parametrize(
    ("share", "text"), [(1, "100 %"), (0.767, "76.7 %"), (0, "0 %"), (2 / 3, "66.7 %")]
)
def test_percentages_have_one_format(share, text):
    assert percent(share) == text


# --- What is drawn --------------------------------------------------------------------------------


def numbers_in(axes):
    return [text.get_text() for text in axes.texts]


def test_a_confusion_matrix_shows_the_counts():
    counts = np.random.default_rng(0).integers(0, 30, (10, 10))
    figure = plots.confusion(counts, GENRES, "title", FigureStyle())
    axes = figure.axes[0]
    assert numbers_in(axes) == [str(count) for count in counts.ravel() if count]
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares, counts / counts.sum(1, keepdims=True))


def test_confusion_matrices_show_percentages():
    matrix = np.random.default_rng(0).dirichlet(np.ones(10), 10)
    figure = plots.confusions({"network": matrix, "brain": matrix}, GENRES, [], FigureStyle())
    expected = [f"{100 * share:.0f}" for share in matrix.ravel() if round(100 * share)]
    for axes in figure.axes[:2]:
        assert numbers_in(axes) == expected


def test_published_accuracies_are_not_on_the_axis_of_other_clips():
    table = compared()
    figure = plots.comparison(table, "clips", FigureStyle())
    [axes] = figure.axes
    values = np.concatenate([line.get_xdata() for line in axes.lines]).astype(float)
    np.testing.assert_allclose(sorted(values), sorted(table["accuracy"]))
    assert not np.isclose(values, 0.77).any()
    assert "published" not in " ".join(axes.get_legend_handles_labels()[1])
    assert "Published accuracies are in the table only" in axes.get_xlabel().replace("\n", " ")
    table["published"] = np.nan
    [axes] = plots.comparison(table, "clips", FigureStyle()).axes
    assert axes.get_xlabel() == "accuracy (share of clips)"


def test_an_accuracy_of_one_is_inside_the_axis():
    figure = training_plots.learning_curves(epochs(30), "cortex-z", FigureStyle())
    loss, accuracy = figure.axes
    assert accuracy.get_ylim()[1] > 1
    assert loss.get_ylim()[0] == 0
    np.testing.assert_allclose(accuracy.lines[1].get_ydata(), 1)
    assert figure.get_suptitle() == "cortex-z, 30 epochs; kept: epoch 30 (dotted line)"


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "as played"),
        ({"snr_db": 10.16, "noise_seed": 5}, "signal-to-noise 10.2 dB"),
        ({"shift": 0.4083}, "by 40.8 % of the clip"),
        ({"rate": 1.1428}, "1.14 times as fast"),
        ({"pitch_semitones": -1.106}, "\N{MINUS SIGN}1.11 semitones"),
        ({"pitch_semitones": 2.5}, "+2.50 semitones"),
        ({"rate_hz": 8830}, "sampled at 8.8 kHz"),
        ({"gain_db": -3.4}, "\N{MINUS SIGN}3.4 dB"),
        ({"margin": 1.83}, "separation margin 1.83"),
    ],
)
def test_parameters_of_variants_are_in_words_with_units(parameters, text):
    assert brief(json.dumps(parameters)) == text


def test_a_timeline_has_a_box_for_each_presentation():
    table = presented()
    probability = np.random.default_rng(0).dirichlet(np.ones(10), 110).astype(np.float32)
    figure = timeline(probability, table, 1.5, GENRES, "Test run 1", FigureStyle())
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), probability.T)
    places = [(box.get_x(), round(box.get_y() + 0.5)) for box in axes.patches]
    assert places == [(row.onset_s, GENRES.index(row.genre)) for row in table.itertuples()]
    assert "11 presentations of 10 clips" in figure.get_suptitle()


# --- Stages by areas ------------------------------------------------------------------------------


def grids(figure):
    return {axes.get_title(): axes for axes in figure.axes if axes.images}


def frames(axes):
    """Return (row, column) of the cells with a frame."""
    return [(round(box.get_y() + 0.44), round(box.get_x() + 0.46)) for box in axes.patches]


@pytest.mark.parametrize("n_subjects", [1, 3])
def test_the_best_stage_is_framed_but_neither_noise_nor_ties(n_subjects):
    results, areas = encodings(n_subjects)
    style = FigureStyle()
    figure = encoding_plots.stage_by_area(areas, intervals_of(results), STAGES, style)
    assert frames(grids(figure)["trained weights"]) == [(0, 0), (1, 1), (2, 2)]
    assert frames(grids(figure)["random weights"]) == []
    results, areas = encodings(n_subjects, tied=True)
    figure = encoding_plots.stage_by_area(areas, intervals_of(results), STAGES, style)
    assert frames(grids(figure)["trained weights"]) == []


def test_the_colours_end_at_the_best_stage_of_the_trained_network():
    """The joint model (.9) does not set the scale."""
    results, areas = encodings(2)
    table = intervals_of(results)
    figure = encoding_plots.stage_by_area(areas, table, STAGES, FigureStyle())
    stages = table[(table["network"] == "trained") & table["stage"].isin(STAGES)]
    axes = grids(figure)["trained weights"]
    assert axes.images[0].get_clim() == (0, pytest.approx(stages["r"].max()))
    shown = [text.replace("\N{MINUS SIGN}", "-") for text in numbers_in(axes)]
    r = table[table["network"] == "trained"].set_index(["area", "stage"])["r"]
    expected = [r[area, stage] for area in AREAS for stage in [*STAGES, JOINT]]
    np.testing.assert_allclose(np.array(shown, float), expected, atol=0.0051)
    for other in grids(figure).values():
        assert {image.get_clim() for image in other.images} == {axes.images[0].get_clim()}
    ticks = [label.get_text() for label in axes.get_yticklabels()]
    assert ticks == ["A1 (100 of 100)", "belt (100 of 100)", "PB (100 of 100)", "noise (0 of 100)"]


def test_panels_show_intervals_and_every_subject():
    results, areas = encodings(3)
    table = intervals_of(results)
    figure = encoding_plots.stage_by_area(areas, table, STAGES, FigureStyle())
    panels = {axes.get_title().split(" (")[0]: axes for axes in figure.axes if axes.containers}
    assert list(panels) == AREAS
    assert len({axes.get_ylim() for axes in panels.values()}) == 1
    for area, axes in panels.items():
        rows = table[(table["area"] == area) & (table["network"] == "trained")]
        bars = axes.containers[0].lines[2][0].get_segments()
        np.testing.assert_allclose([bar[:, 1] for bar in bars], rows[["r_low", "r_high"]])
        single = areas[(areas["area"] == area) & (areas["network"] == "trained")]
        np.testing.assert_allclose(axes.collections[0].get_offsets()[:, 1], single["r"])


def test_areas_without_a_response_are_set_apart():
    results, areas = encodings(2, ["noise", "A1", "belt"])
    figure = encoding_plots.stage_by_area(areas, intervals_of(results), STAGES, FigureStyle())
    assert list(grids(figure)) == ["trained weights", "random weights", "permuted weights"]
    for axes in grids(figure).values():
        np.testing.assert_allclose(axes.get_yticks(), [0, 1, 2.5])
    labels = [label.get_text() for label in grids(figure)["trained weights"].get_yticklabels()]
    assert [label.split(" (")[0] for label in labels] == ["A1", "belt", "noise"]
    areas["reliable"] = 0  # as without repeats
    figure = encoding_plots.stage_by_area(areas, intervals_of(results), STAGES, FigureStyle())
    np.testing.assert_allclose(grids(figure)["trained weights"].get_yticks(), [0, 1, 2.5])


def test_intervals_of_one_subject_are_students_over_runs():
    results, _ = encodings(1)
    table = intervals_of(results).set_index(["network", "area", "stage"])
    left_out = results["0"].area_r["A1", "belt"]
    of_runs = 6 * left_out[0] - 5 * left_out[1:]  # pseudo-values: the mean r of each run
    expected = scipy.stats.ttest_1samp(of_runs, 0)
    row = table.loc["trained", "A1", "belt"]
    assert row["r"] == pytest.approx(of_runs.mean())
    assert (row["r_low"], row["r_high"]) == pytest.approx(expected.confidence_interval(0.95))


def test_intervals_of_several_subjects_are_students():
    results, areas = encodings(5)
    table = intervals_of(results).set_index(["network", "area", "stage"])
    rows = areas.query("network == 'random' and area == 'belt' and stage == 'PB'")
    expected = scipy.stats.ttest_1samp(rows["r"], 0).confidence_interval(0.95)
    row = table.loc["random", "belt", "PB"]
    assert (row["r_low"], row["r_high"]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("n_subjects", "mean"),
    [
        (1, 0.0),
        (1, 0.3),
        pytest.param(5, 0.0, marks=pytest.mark.slow),
        pytest.param(5, 0.3, marks=pytest.mark.slow),
    ],
)
def test_noise_and_equal_stages_are_rarely_called_best(mean, n_subjects):
    """At most 5 % of tables without a best stage have a frame anywhere."""
    rng = np.random.default_rng(1)
    n_framed = 0
    for _ in range(60):
        results = {}
        for subject in range(n_subjects):
            shared = {area: rng.normal(mean / 60, 0.01, 60) for area in AREAS}
            own = {key: rng.normal(0, 0.01, 60) for key in itertools.product(AREAS, STAGES)}
            results[str(subject)] = encoding_of({key: shared[key[0]] + own[key] for key in own})
        n_framed += intervals_of(results)["best"].any()
    assert n_framed <= scipy.stats.binom.ppf(0.999, 60, 0.05)


@pytest.mark.slow
def test_of_many_areas_those_with_reliable_voxels_are_drawn():
    names = [f"area {number}" for number in range(40)]
    results, areas = encodings(1, names)
    areas["reliable"] = areas["area"].str.removeprefix("area ").astype(int)
    figure = encoding_plots.stage_by_area(areas, intervals_of(results), STAGES, FigureStyle())
    labels = [label.get_text() for label in grids(figure)["trained weights"].get_yticklabels()]
    assert [label.split(" (")[0] for label in labels] == names[16:]
    assert "24 of 40 areas, those with" in figure.get_suptitle().replace("\n", " ")


@pytest.mark.parametrize(
    ("n_subjects", "text"),
    [(1, "from halves of the repeats"), (5, "from the other subjects")],
)
def test_the_ceiling_of_similarity_says_what_it_is_of(n_subjects, text):
    table = similarity_rows(n_subjects)
    figure = encoding_plots.similarities(table, STAGES, FigureStyle())
    assert any(text in entry.get_text() for entry in figure.legends[0].get_texts())
    band = figure.axes[0].collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == (0.2, 0.3)
    rows = table[(table["area"] == "A1") & (table["network"] == "trained")]
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), rows["rho"])


def test_stages_are_labelled_under_every_panel_and_bars_do_not_overlap():
    targets = sound_rows(6)
    figure = sound_plots.stages(targets, sound_rows(1), [*STAGES, "all"], 10, FigureStyle())
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == 7
    for axes in panels:
        labels = [label.get_text() for label in axes.get_xticklabels() if label.get_visible()]
        assert labels == [*STAGES, "all"]
        x = np.concatenate([bars.lines[0].get_xdata() for bars in axes.containers])
        assert np.diff(np.sort(x)).min() > 0.15
        styles = {(bars.lines[0].get_color(), bars.lines[0].get_marker())
                  for bars in axes.containers}  # fmt: skip
        assert len(styles) == 4
    one = targets[targets["target"] == "target 0"].set_index(["network", "features"])
    values = panels[0].containers[0].lines[0].get_ydata().astype(float)
    np.testing.assert_allclose(values, [one.loc[("trained", s), "r2"] for s in [*STAGES, "all"]])


# --- The brain ------------------------------------------------------------------------------------


def volume(tmp_path, name):
    """A grid of 8 mm around the brain; the values are near both primary auditory cortices."""
    import nibabel

    affine = np.diag([8.0, 8, 8, 1])
    affine[:3, 3] = (-80, -112, -64)
    path = tmp_path / name
    shape = (21, 26, 21)
    series = np.random.default_rng(0).normal(100, 1, (*shape, 3)).astype(np.float32)
    image = nibabel.Nifti1Image(series, affine)
    image.set_sform(affine, 1)
    nibabel.save(image, path)
    space = open_space([path])
    mm = np.indices(shape).reshape(3, -1).T * 8 + affine[:3, 3]
    distance = [np.linalg.norm(mm - [x, -20, 8], axis=1) for x in (-50, 50)]
    voxels = np.flatnonzero(np.min(distance, axis=0) < 24)
    rng = np.random.default_rng(0)
    values = {"A1": rng.random(len(voxels)), "best stage": rng.random(len(voxels))}
    values["A1"][::2] = np.nan
    return BrainMaps(space, voxels, values)


@pytest.mark.slow
def test_volumes_in_mni_space_are_drawn_on_slices_and_surfaces(tmp_path):
    maps = volume(tmp_path, "sub-A_space-MNI152NLin2009cAsym_bold.nii.gz")
    figure = brain(maps, "sub-A", "correlation r (q < .05)", FigureStyle(width_mm=120))
    surfaces = [axes for axes in figure.axes if axes.name == "3d"]
    assert len(surfaces) == 2 * len(maps.values)
    assert "mm on the MNI template" in figure.get_suptitle()
    [bar] = [axes for axes in figure.axes if axes.get_xlabel()]
    assert bar.get_xlabel() == "correlation r (q < .05)"
    assert bar.get_xlim() == (0, pytest.approx(np.nanmax([*maps.values.values()])))
    assert {"A1", "best stage"} <= {text.get_text() for text in figure.texts}
    paths = save(figure, tmp_path / "brain", ALL)
    assert all(path.stat().st_size > 20_000 for path in paths)
    assert paths[1].stat().st_size < 5e6  # the surfaces are not thousands of polygons


def test_volumes_in_their_own_space_are_drawn_on_themselves(tmp_path):
    maps = volume(tmp_path, "sub-A_bold.nii.gz")
    figure = brain(maps, "sub-A", "r", FigureStyle())
    assert not [axes for axes in figure.axes if axes.name == "3d"]
    assert "which are in a space of their own" in figure.get_suptitle().replace("\n", " ")


@pytest.mark.parametrize("n", [10_242, 40_962])
def test_surfaces_of_fsaverage_are_drawn_on_fsaverage5(n):
    rng = np.random.default_rng(0)
    space = VoxelSpace("surface", (n, n), None, ())
    voxels = np.array([0, 5, n + 3, 2 * n - 1])
    maps = BrainMaps(space, voxels, {"A1": rng.random(4)})
    assert why_not_drawn(maps) == ""
    figure = brain(maps, "sub-A", "r", FigureStyle())
    assert len([axes for axes in figure.axes if axes.name == "3d"]) == 2


@pytest.mark.parametrize(
    ("space", "value", "reason"),
    [
        (VoxelSpace("array", (4,), None, ()), 0.5, "arrays without places"),
        (VoxelSpace("surface", (32_492, 32_492), None, ()), 0.5, "are not fsaverage"),
        (VoxelSpace("surface", (10_242,), None, ()), 0.5, "both hemispheres"),
        (VoxelSpace("array", (4,), None, ()), np.nan, "no voxel is significant"),
    ],
)
def test_the_reason_is_given_if_a_brain_cannot_be_drawn(space, value, reason):
    assert reason in why_not_drawn(BrainMaps(space, np.array([1]), {"A1": np.array([value])}))


# --- Commands -------------------------------------------------------------------------------------


def written(directory):
    return {path.name for path in directory.rglob("*") if path.suffix[1:] in FORMATS}


def all_formats(*names):
    return {f"{name}.{form}" for name in names for form in FORMATS}


def test_evaluate_writes_every_format_and_replaces_the_old_ones(run, tmp_path):
    shown = ("confusion", "reliability", "learning_curves", "timeline")
    result = neuromusic("evaluate", run, "--figures", "png,pdf", "--figures", "svg", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert written(run / "figures") == all_formats(*shown)
    first = {path.name: path.read_bytes() for path in (run / "figures").iterdir()}
    copy = shutil.copytree(run, tmp_path / "copy")
    evaluate(copy, figures=ALL, overwrite=True)
    for path in (copy / "figures").iterdir():
        assert path.read_bytes() == first[path.name], path.name
    line = ["evaluate", run, "--figures", "pdf", "--figure-width-mm", "120"]
    result = neuromusic(*line, cwd=tmp_path)
    assert result.returncode == 2
    assert "figures.formats" in result.stderr
    result = neuromusic(*line, "--overwrite", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert written(run / "figures") == {f"{name}.pdf" for name in shown}
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", (run / "figures/confusion.pdf").read_bytes())
    assert float(box[1]) == pytest.approx(120 * 72 / 25.4, abs=0.1)


@pytest.mark.parametrize(
    ("option", "message"),
    [("--figures=jpg", "'jpg' is not a format"), ("--figure-width-mm=5", "a width of 5 mm")],
)
@pytest.mark.parametrize(
    "line",
    ["evaluate run", "compare run --out out", "crossval t.toml --prepared p --out out",
     "confusions run --behaviour b --decoding d.tsv --out out", "encode run --bids b --out out",
     "sweep t.toml --trials 1 --storage sqlite:///s.db", "demo --out out", "run t.toml"],
)  # fmt: skip
def test_commands_refuse_other_formats_first(tmp_path, line, option, message):
    (tmp_path / "t.toml").write_text("")
    result = neuromusic(*line.split(), option, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.toml"]


@pytest.mark.slow
def test_compare_and_confusions_write_every_format(run, tmp_path):
    evaluate(run)
    result = neuromusic("compare", run, "--out", "out", "--figures=png,pdf,svg", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert written(tmp_path / "out") == all_formats("table")
    truth = np.arange(10).repeat(2)
    (tmp_path / "behaviour").mkdir()
    for subject in "AB":
        write_sheet(tmp_path / f"behaviour/{subject}.xlsx", judgements(truth, truth, GENRES))
    genres = np.array(GENRES)[truth]
    table = pd.DataFrame({"subject": "A", "y_true": genres, "y_pred": genres})
    table.to_csv(tmp_path / "decoded.tsv", sep="\t", index=False)
    line = ["confusions", run, "--behaviour", "behaviour", "--decoding", "decoded.tsv"]
    result = neuromusic(*line, "--out", "confused", "--figures=png,pdf,svg", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "100 % correct" in result.stdout
    assert written(tmp_path / "confused") == all_formats("confusions")


@pytest.mark.slow
def test_crossval_and_sweep_write_every_format(prepared, tmp_path):
    size = json.dumps(TINY["size"])
    (tmp_path / "tiny.toml").write_text(
        "[data]\nwindow_s = 5.0\nhop_s = 2.5\nvalidation_runs = 0\n[train]\nepochs = 1\n"
        f"[model.options]\nsize = {size}\n"
        '[sweep.space]\n"train.lr" = {low = 1e-4, high = 1e-2, log = true}\n'
    )
    line = ["crossval", "tiny.toml", "--prepared", prepared, "--folds", "2", "--out", "cv"]
    result = neuromusic(*line, "--figures=png,pdf,svg", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert written(tmp_path / "cv") == all_formats("confusion", "reliability")
    line = ["sweep", "tiny.toml", "--prepared", prepared, "--trials", "1", "--out", "sweep"]
    line += ["--storage", "sqlite:///s.db", "--set", "data.validation_runs=1"]
    line += ["--figures=png,pdf,svg"]
    result = neuromusic(*line, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert written(tmp_path / "sweep") == all_formats("history")


@pytest.mark.slow
def test_encode_writes_every_format(tiny_run, tiny_bids, tmp_path):
    line = ["fmri", "simulate", tiny_run.directory, "--bids", tiny_bids, "--voxels", "6"]
    result = neuromusic(*line, "--noise-voxels", "6", "--out", "images", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    line = ["encode", tiny_run.directory, "--bids", "images", "--roi", "all", "--components", "5"]
    line += ["--atlas", "images/derivatives/truth/areas.nii.gz", "--figures=png,pdf,svg"]
    result = neuromusic(*line, "--out", "encoded", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert written(tmp_path / "encoded/figures") == all_formats(
        "stage_by_area", "similarity", "unique_variance"
    )
    table = pd.read_csv(tmp_path / "encoded/figures/stage_by_area.tsv", sep="\t")
    areas = pd.read_csv(tmp_path / "encoded/areas.tsv", sep="\t")
    both = areas.merge(table, on=["area", "stage", "network"], suffixes=("", "_drawn"))
    np.testing.assert_allclose(both["r"], both["r_drawn"], atol=2e-4)  # one subject
    assert ((table["r_low"] <= table["r"]) & (table["r"] <= table["r_high"])).all()
    brains = written(tmp_path / "encoded/sub-A")
    assert brains == all_formats("sub-A_brain") or "no voxel is significant" in result.stdout


@pytest.mark.slow
def test_encode_sounds_writes_every_format(sound_run, small_clips, tmp_path):
    names = sorted(path.name for path in small_clips.iterdir())
    values = np.random.default_rng(0).normal(size=(len(names), 2))
    table = pd.DataFrame(values, columns=["x", "y"], index=pd.Index(names, name="sound"))
    table.to_csv(tmp_path / "responses.tsv", sep="\t")
    result = neuromusic(
        "encode", sound_run.directory, "--sounds", small_clips, "--responses", "responses.tsv",
        "--splits", "2", "--figures=png,pdf,svg", "--out", "encoded", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert written(tmp_path / "encoded") == all_formats("stages")


def test_a_figure_is_a_plain_matplotlib_figure():
    assert isinstance(drawn("confusion", FigureStyle()), Figure)

"""Pages of results in a real browser, and against the tables that they were made from."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from outputs import HOSTILE, chromium, make_hostile, make_outputs
from sklearn.metrics import confusion_matrix

import neuromusic as nm
from neuromusic.core.errors import InputError
from neuromusic.pipeline.report import Report
from neuromusic.stimuli.variants import VARIANTS

WIDTHS = (1400, 380)


@pytest.fixture(scope="module")
def outputs(tiny_run, tmp_path_factory) -> Path:
    return make_outputs(tiny_run, tmp_path_factory.mktemp("outputs"))


@pytest.fixture(scope="module")
def made(outputs) -> Report:
    figures = nm.FigureStyle(("pdf", "svg"), width_mm=85)
    return nm.report(outputs, out=outputs / "report.html", figures=figures)


@pytest.fixture(scope="module")
def browser():
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Containers do not permit the browser's own sandbox; the pages are ours.
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


class Seen:
    """A page in the browser, with what it complained about and what it loaded."""

    def __init__(self, browser, path: Path, width: int = 1400) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.complaints: list[str] = []
        self.loaded: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.loaded.append(request.url))
        self.page.goto(path.as_uri())

    def outside(self) -> list[str]:
        """Return what was loaded besides the page and what is inside it."""
        return [url for url in self.loaded[1:] if not url.startswith("data:")]


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


# --- What is on the page --------------------------------------------------------------------------


def test_the_page_has_a_part_for_each_output_and_nothing_is_missing(made):
    html = made.path.read_text("utf-8")
    assert made.problems == []
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", html)
    assert titles == [
        "Trained network: cortex-z", "Comparison of networks",
        "Predictions and activations on the scanner&#39;s time grid",
    ]  # fmt: skip
    assert made.path.stat().st_size < 25e6
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", html)


def test_the_numbers_are_those_of_the_evaluation(outputs, made):
    scores = json.loads((outputs / "run/evaluation.json").read_text())
    text = text_of(made.path.read_text("utf-8"))
    clip, low, high = scores["clip"], *scores["clip"]["accuracy_ci95"]
    percent = [f"{100 * x:.1f}".removesuffix(".0") for x in (clip["accuracy"], low, high)]
    sentence = f"The network is right for {percent[0]} % ({percent[1]} to {percent[2]} %), "
    assert f"{sentence}{clip['n']} clips. Chance is 10 %." in text
    assert f"{scores['calibration']['error']:.3f}" in text
    # Three training runs of ten clips, of which one is for validation.
    assert "one frame every 155 ms) of 20 training clips." in text
    kept = "The epoch with the lowest cross-entropy of the validation clips of 1 held-out run was"
    assert kept in text
    assert f"{scores['parameters']:,}".replace(",", " ") in text


def test_the_same_inputs_give_the_same_bytes(outputs, made, tmp_path):
    again = nm.report(
        outputs, out=tmp_path / "again.html", figures=nm.FigureStyle(("pdf",), width_mm=85)
    )
    assert again.path.read_bytes() == made.path.read_bytes()


def test_a_figure_that_was_changed_by_hand_is_kept(run, tmp_path):
    style = nm.FigureStyle(("svg",))

    def write(**options):
        return nm.report(run, out=tmp_path / "page.html", figures=style, **options)

    figures = write().figures
    (tmp_path / "page_figures/notes.txt").write_text("mine")
    assert write().figures == figures  # the same figures again
    drawn = figures[0].read_bytes()
    figures[0].write_text("changed")
    (tmp_path / "page.html").write_bytes((tmp_path / "page.html").read_bytes() + b"<!-- old -->")
    with pytest.raises(nm.InputError, match=f"{figures[0].name}: is another figure"):
        write()
    assert figures[0].read_text() == "changed"
    assert (tmp_path / "page.html").read_text().endswith("<!-- old -->")
    write(overwrite=True)
    assert figures[0].read_bytes() == drawn
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "page.html", "page_figures", "run",
    ]  # fmt: skip
    assert (tmp_path / "page_figures/notes.txt").exists()


def test_files_of_the_working_directory_do_not_matter(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs.tsv").write_text("another table\nx\n")
    Path("experiment.toml").write_text("not settings")
    assert nm.report(run, out="page.html").problems == []


def test_each_figure_is_written_in_the_formats_with_its_data(outputs, made):
    folder = outputs / "report_figures"
    stems = {path.stem for path in folder.iterdir()}
    expected = {"accuracy", "confusion", "calibration", "learning_curves", "comparison", "design"}
    assert expected <= stems
    for stem in stems:
        assert {path.suffix for path in folder.glob(f"{stem}.*")} == {".pdf", ".svg", ".tsv"}
        svg = (folder / f"{stem}.svg").read_text()
        width_pt = float(re.search(r'width="([\d.]+)pt"', svg)[1])
        width_mm = 180 if stem == "design" else 85  # the design is always as wide as a page
        assert width_pt * 25.4 / 72 == pytest.approx(width_mm, abs=0.5), stem
    counts = pd.read_csv(folder / "confusion.tsv", sep="\t").set_index("true")
    table = pd.read_csv(outputs / "run/predictions.tsv", sep="\t")
    names = list(counts.columns)
    truth = confusion_matrix(table["genre"], table["predicted"], labels=names)
    np.testing.assert_array_equal(counts.to_numpy(), truth)


def test_a_network_shows_itself_in_a_notebook(run):
    scores = nm.evaluate(run)
    (run / "evaluation.json").write_text(json.dumps(scores | {"model": "<b>"}))
    html = nm.load_network(run)._repr_html_()
    accuracy = f"{100 * scores['clip']['accuracy']:.1f}".removesuffix(".0")
    assert f"{accuracy} % (" in html
    assert "A1, belt, PB, T2T3, GRU" in html
    assert "<b>" not in html


def test_lists_are_counted_and_variants_can_be_heard(sound_run, tmp_path):
    lists = sound_run.prepared.parent / "lists"
    made = nm.report([sound_run, lists], out=tmp_path / "page.html", hear=True)
    assert made.problems == []
    html = made.path.read_text("utf-8")
    sounds = re.findall(r'src="data:audio/ogg;base64,([^"]+)"', html)
    assert len(sounds) == len(VARIANTS)
    waves = [soundfile.read(io.BytesIO(base64.b64decode(each)))[0] for each in sounds]
    clip = re.search(r"The variants of (\S+) as the network gets them", html)[1]
    table = pd.read_csv(lists / "train.tsv", sep="\t").set_index("clip")
    original, _ = soundfile.read(lists / table["path"][clip])
    assert np.corrcoef(waves[0], original)[0, 1] > 0.95
    assert len(set(sounds)) == len(VARIANTS)
    assert "Training and test share no clip and no track." in html


# --- In a browser ---------------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_drawn_without_errors_and_loads_nothing(made, browser, width):
    seen = Seen(browser, made.path, width)
    assert seen.complaints == []
    assert seen.outside() == []
    undrawn = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert seen.page.evaluate(undrawn) == 0
    assert seen.page.evaluate("document.images.length") >= 5
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    seen.page.emulate_media(media="print")
    assert seen.page.evaluate(undrawn) == 0
    hidden = "[...document.images].filter(i => !i.getBoundingClientRect().width).length"
    assert seen.page.evaluate(hidden) == 0
    seen.page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_no_barrier(made, browser, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    seen = Seen(browser, made.path, width)
    violations = axe.Axe().run(seen.page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in violations] == []
    seen.page.close()


def test_a_cell_names_its_clips_for_the_mouse_and_for_the_keyboard(outputs, made, browser):
    seen = Seen(browser, made.path)
    table = pd.read_csv(outputs / "run/predictions.tsv", sep="\t")
    cells = table.groupby(["genre", "predicted"])["clip"].agg(sorted)
    (true, answer), clips = next(iter(cells.items()))
    cell = seen.page.locator(f"button[aria-label^='{true}, answered {answer}:']")
    shown = seen.page.locator(".confusions .clips li")
    cell.hover()
    assert sorted(shown.all_inner_texts()) == clips
    seen.page.locator(".confusions button").last.focus()
    last = shown.all_inner_texts()
    cell.focus()
    assert sorted(shown.all_inner_texts()) == clips != last
    seen.page.close()


def test_everything_is_reached_with_the_tab_key(made, browser):
    seen = Seen(browser, made.path)
    wanted = (
        "[...document.querySelectorAll('a, button, input, select, .scroll, audio')]"
        ".filter(e => e.offsetParent !== null).length"
    )
    n_wanted = seen.page.evaluate(wanted)
    seen.page.evaluate("window.reached = new Set()")
    for _ in range(n_wanted + 5):
        seen.page.keyboard.press("Tab")
        seen.page.evaluate("window.reached.add(document.activeElement)")
    reached = seen.page.evaluate("[...window.reached].filter(e => e !== document.body).length")
    assert reached >= n_wanted
    seen.page.close()


def test_a_table_is_sorted_and_filtered(outputs, made, browser):
    seen = Seen(browser, made.path)
    box = seen.page.locator(".table", has=seen.page.get_by_text("All clips, wrong answers first"))
    table = pd.read_csv(outputs / "run/predictions.tsv", sep="\t")
    box.get_by_role("button", name="probability").click()
    first = float(box.locator("tbody tr").first.locator("td.number").first.inner_text())
    assert first == pytest.approx(table["probability"].min(), rel=1e-3)
    genre = table["genre"].iat[0]
    box.locator("input").fill(f"{genre}.0")
    n = int(table["clip"].str.contains(f"{genre}.0", regex=False).sum())
    assert box.locator("tbody tr").count() == n
    assert box.locator(".found").inner_text() == f"{n} of {len(table)} rows"
    seen.page.close()


def test_a_run_is_selected_and_drawn_as_it_was_exported(outputs, made, browser):
    seen = Seen(browser, made.path)
    box = seen.page.locator(".timelines")
    names = box.locator("option").all_inner_texts()
    assert names == sorted(path.name[: -len("_stim.tsv.gz")] for path in
                           (outputs / "export").glob("*_stim.tsv.gz"))  # fmt: skip
    box.locator("select").select_option(label="task-Training_run-02")
    volumes = pd.read_csv(outputs / "export/activations/task-Training_run-02_volumes.tsv", sep="\t")
    titles = box.locator("svg title").all_text_contents()
    played = volumes.dropna(subset="trial").groupby("trial").agg(
        {"clip": "first", "genre": "first", "volume": ["min", "max"]}
    )  # fmt: skip
    expected = [
        f"trial {trial}: {row.iloc[0]} ({row.iloc[1]}), volumes {row.iloc[2]} to {row.iloc[3]}"
        for trial, row in played.iterrows()
    ]
    assert titles == expected
    seen.page.close()


# --- Bad input ------------------------------------------------------------------------------------


def test_hostile_names_are_text(run, browser, tmp_path):
    nm.evaluate(run)
    make_hostile(run)
    page = nm.report(run, out=tmp_path / "page.html")
    seen = Seen(browser, page.path)
    assert page.problems == []
    assert seen.complaints == []
    assert seen.outside() == []
    assert seen.page.evaluate("window.hacked") is None
    heads = seen.page.locator(".confusions thead th span").all_text_contents()
    assert heads == list(HOSTILE)
    seen.page.locator(".confusions button").first.hover()
    shown = seen.page.locator(".confusions .clips li").all_text_contents()
    assert shown
    assert all(name.startswith(HOSTILE[0]) for name in shown)
    assert seen.page.evaluate("window.hacked") is None
    seen.page.close()


@pytest.mark.slow
def test_five_thousand_clips_fit(run, browser, tmp_path):
    nm.evaluate(run)
    table = make_hostile(run, 5_000)
    page = nm.report(run, out=tmp_path / "page.html")
    assert page.problems == []
    assert page.path.stat().st_size < 5e6
    seen = Seen(browser, page.path)
    box = seen.page.locator(".table", has=seen.page.get_by_text("All clips, wrong answers first"))
    assert box.locator("tbody tr").count() == 20
    box.locator(".more").click()
    assert box.locator("tbody tr").count() == len(table)
    seen.page.close()


def test_a_damaged_table_leaves_a_sentence_and_the_command_exits_with_1(run, tmp_path, runner):
    from neuromusic.cli.main import cli

    nm.evaluate(run)
    (run / "predictions.tsv").write_text("clip\tgenre\na\n")
    result = runner.invoke(cli, ["report", str(run), "--out", str(tmp_path / "page.html")])
    assert result.exit_code == 1
    html = (tmp_path / "page.html").read_text("utf-8")
    assert "This could not be made (What it confuses)" in html
    assert "How the training went" in html
    assert "<img" in html


def test_an_unfinished_training_and_an_older_version_are_named_at_the_top(run, tmp_path):
    record = json.loads((run / "provenance.json").read_text())
    record["code_version"] = "0.0.1"
    (run / "provenance.json").write_text(json.dumps(record))
    html = nm.report(run, out=tmp_path / "old.html").path.read_text("utf-8")
    assert "Made by neuromusic 0.0.1" in html
    assert "It was not evaluated: type &#39;neuromusic evaluate" in html
    (run / "provenance.json").unlink()
    html = nm.report(run, out=tmp_path / "part.html").path.read_text("utf-8")
    assert "The training is not finished" in html
    assert "<img" in html


def test_other_directories_and_files_are_refused(run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: contains nothing to report"):
        nm.report(tmp_path / "empty", out=tmp_path / "page.html")
    with pytest.raises(InputError, match="missing: is not a directory"):
        nm.report(tmp_path / "missing", out=tmp_path / "page.html")
    with pytest.raises(InputError, match=r"expected one that ends in \.html"):
        nm.report(run, out=tmp_path / "page.pdf")
    (tmp_path / "mine.html").write_text("<html>mine</html>")
    with pytest.raises(InputError, match=r"mine\.html: is not a page of neuromusic"):
        nm.report(run, out=tmp_path / "mine.html")
    assert (tmp_path / "mine.html").read_text() == "<html>mine</html>"


def test_a_page_too_large_for_mail_is_not_written(tmp_path):
    from neuromusic.reporting.blocks import Part, Picture, Section
    from neuromusic.reporting.page import make_page

    picture = tmp_path / "brain.svg"
    picture.write_bytes(b" " * 20_000_000)  # 26.7 MB in base64
    section = Section("Maps", lambda: [Picture("brain", "", "", picture)])
    part = Part("Encoding", tmp_path, [section])
    with pytest.raises(InputError, match=r"more than the 25.0 MB"):
        make_page([part], tmp_path / "page.html", "", nm.FigureStyle(), None)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.slow
def test_the_page_of_simulated_images_is_drawn(tiny_run, tiny_bids, browser, tmp_path):
    simulated = nm.simulate(tiny_run, bids=tiny_bids, out=tmp_path / "simulated")
    nm.encode(
        tiny_run, bids=simulated, out=tmp_path / "encoded",
        rois=nm.Rois("all", simulated / "derivatives/truth/areas.nii.gz"),
    )  # fmt: skip
    page = nm.report(tmp_path / "encoded", out=tmp_path / "page.html")
    assert page.problems == []
    seen = Seen(browser, page.path)
    assert seen.complaints == []
    areas = pd.read_csv(tmp_path / "encoded/areas.tsv", sep="\t", keep_default_na=False)
    of_stages = areas[(areas["network"] == "trained") & (areas["clips"] == "all")]
    of_stages = of_stages[~of_stages["stage"].str.contains(" ")].astype({"r": float})
    best = of_stages.loc[of_stages[of_stages["area"] == "A1"]["r"].idxmax(), "stage"]
    assert seen.page.get_by_text(f"A1: stage {best} predicts best").count() == 1
    seen.page.close()

"""What a new user meets first: help, settings by name, tables, pipes, completion and progress."""

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from helpers import TINY_TOML, neuromusic, neuromusic_anew, write_features

from neuromusic.cli.commands import SECTIONS
from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError, listed
from neuromusic.core.progress import duration
from neuromusic.models.registry import list_models
from neuromusic.models.summary import network_row
from neuromusic.pipeline.prepare import prepare_features
from neuromusic.training import library
from neuromusic.training.config import load_config

ROOT = Path(__file__).parents[2]
PYTHON = [sys.executable, "-m", "neuromusic"]


def commands(group=cli, path=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def in_terminal(command, cwd, columns=80, env=None):
    """Run a command in a terminal; return its exit code and (seconds, text) as it appears."""
    main, side = pytest.importorskip("pty").openpty()
    settings = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), **(env or {})}
    process = subprocess.Popen(
        command, cwd=cwd, stdin=side, stdout=side, stderr=side, env=settings, close_fds=True
    )
    os.close(side)
    begun, seen = time.monotonic(), []
    while True:
        try:
            text = os.read(main, 4096).decode(errors="replace")
        except OSError:  # the process has ended
            break
        if not text:
            break
        seen.append((time.monotonic() - begun, text))
    os.close(main)
    return process.wait(60), seen


def plain(seen):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", "".join(text for _, text in seen))


# --- Settings by name -----------------------------------------------------------------------------


def test_the_settings_in_experiments_are_those_in_the_package():
    shown = {path.stem: path for path in (ROOT / "experiments").glob("*.toml")}
    for name in ("benchmark", "benchmark-four"):  # of `benchmark`, not of a network
        del shown[name]
    assert sorted(shown) == library.settings_names()
    for name, path in shown.items():
        assert path.read_bytes() == library.settings_file(name).read_bytes()


@pytest.mark.parametrize("name", library.settings_names())
def test_each_has_a_sentence(name):
    assert 10 < len(library.summary(library.settings_text(name))) < 160


def test_settings_are_listed_and_printed(tmp_path):
    result = neuromusic("settings", cwd=tmp_path)
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert lines[0] == ["group", "name", "settings"]
    assert lines[1][1] == "cortex"
    assert sorted(line[1] for line in lines[1:]) == library.settings_names()
    groups = [line[0] for line in lines[1:]]
    assert sorted(set(groups), key=groups.index) == [g for i, g in enumerate(groups)
                                                     if i == 0 or groups[i - 1] != g]  # fmt: skip
    text = neuromusic("settings", "cortex", cwd=tmp_path).stdout
    assert text.encode() == (ROOT / "experiments/cortex.toml").read_bytes()
    wrong = neuromusic("settings", "cortx", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "did you mean 'cortex'?" in wrong.stderr


@pytest.mark.parametrize(
    "command",
    ["train {} --prepared prepared --out new", "crossval {} --prepared prepared --out new",
     "sweep {} --prepared prepared --trials 1 --storage sqlite:///x.db --out new", "run {}"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("name", "message"),
    [("cortx", "did you mean 'cortex'?"), ("cortex.toml", "'cortex'"),
     ("experiments/cortex.toml", "'cortex'"), ("nothing/like/it.toml", "'neuromusic settings'"),
     ("qqqqqq", "and 33 more ('neuromusic settings' lists them)")],
)  # fmt: skip
def test_an_unknown_name_is_refused_in_one_line(tmp_path, command, name, message):
    result = neuromusic(*command.format(name).split(), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_name_works_anywhere_and_a_file_of_that_name_has_precedence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("cortex").train.epochs == 80
    (tmp_path / "cortex").mkdir()  # a directory, such as a trained network, does not count
    assert load_config("cortex", ("train.epochs=3",)).train.epochs == 3
    (tmp_path / "cortex").rmdir()
    (tmp_path / "cortex").write_text("[train]\nepochs = 7\n")
    assert load_config("cortex").train.epochs == 7
    assert load_config("cnn4").train.optimizer == "sgd"  # settings of that name
    assert load_config("cortex-z") == load_config(tmp_path / "cortex", ("train.epochs=60",))
    with pytest.raises(InputError, match="did you mean 'cortex-z'"):
        load_config("cortexz")


def test_a_network_is_trained_from_a_name_in_any_directory(tmp_path):
    prepare_features(write_features(tmp_path / "x.npz"), out=tmp_path / "prepared")
    changes = ("train.epochs=1", "data.windows_per_epoch=32", "model.options.size=tiny")
    changes = [part for change in changes for part in ("--set", change)]
    result = neuromusic(
        "train", "cortex", "--prepared", "prepared", "--out", "runs/cortex", *changes, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs/cortex/model.safetensors").is_file()
    next_line = re.search(r"^next: (.*)$", result.stderr, re.MULTILINE).group(1)
    assert next_line == "neuromusic evaluate runs/cortex"


# --- Help -----------------------------------------------------------------------------------------

EVERY = list(commands())


def examples(command):
    """Return the command lines in a command's help."""
    text = command.help.split("Example", 1)[1].split(":", 1)[1]
    joined = re.sub(r"\\\n\s*", "", text)
    lines = [line.strip() for line in joined.splitlines() if line.strip().startswith("neuromusic")]
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize(("path", "command"), EVERY, ids=[" ".join(path) for path, _ in EVERY])
def test_every_example_can_be_parsed(path, command):
    lines = examples(command)
    assert lines
    for line in lines:
        words = [part for part in line[1:] if part not in (">", "mine.toml") or ">" not in line]
        context, current = click.Context(cli, info_name="neuromusic"), cli
        while isinstance(current, click.Group):
            name, current, words = current.resolve_command(context, words)
            if not isinstance(current, click.Group):
                context = current.make_context(name, words, parent=context)
        assert current is command or isinstance(command, click.Group)
        context.close()


def test_the_help_has_all_commands_by_purpose_with_whole_summaries(tmp_path):
    with_option = neuromusic("--help", cwd=tmp_path)
    without = neuromusic(cwd=tmp_path)
    assert (without.returncode, without.stdout) == (0, with_option.stdout)
    assert "..." not in without.stdout.replace("[ARGS]...", "")
    text = " ".join(without.stdout.split())
    position = 0
    for title, section in SECTIONS.items():
        position = text.index(title, position)
        for name, summary in section.items():
            command = cli.get_command(click.Context(cli), name)
            assert command.get_short_help_str(1000) == summary
            position = text.index(f"{name} {summary}", position)
    for group in ("orders", "stimuli", "fmri"):
        result = neuromusic(group, cwd=tmp_path)
        assert result.returncode == 0
        assert "..." not in result.stdout.replace("[ARGS]...", "")


def test_an_unknown_command_gets_a_suggestion(tmp_path):
    result = neuromusic("trian", cwd=tmp_path)
    assert result.returncode == 2
    assert "did you mean 'train'?" in result.stderr


# --- Tables and pipes -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_models())
def test_the_table_of_the_networks_is_what_they_are(name):
    stored = {row["name"]: row for row in library.network_rows()}
    if name not in stored and not re.match("cortex|mlp|cel|cnn|vgg|resnet", name):
        pytest.skip("registered by another test")
    row = network_row(name)
    assert stored[name] == row, "run python -m neuromusic.models.summary"


def test_the_networks_are_listed_without_warnings(tmp_path):
    result = neuromusic_anew("models", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    header, *lines = (line.split("\t") for line in result.stdout.splitlines())
    assert header[:6] == ["family", "name", "input", "window_s", "parameters", "multiply_adds"]
    assert {line[3] for line in lines} == {"10"}  # the same sound for all
    assert {len(line) for line in lines} == {len(header)}


@pytest.mark.parametrize("command", ["models", "settings"])
def test_a_table_in_a_terminal_is_aligned_and_fits(tmp_path, command):
    code, seen = in_terminal([*PYTHON, command], tmp_path)
    text = plain(seen)
    assert code == 0
    assert "\t" not in text
    *_, rows = text.partition("---\r\n")
    assert max(map(len, rows.splitlines())) <= 80
    assert "\r\nbuilt like auditory cortex\r\n" in text
    if command == "models":
        assert "10 s of sound" in text
        assert re.search(r"cortex-z +bands +348,570 ", text)


@pytest.mark.parametrize(
    "command", ["models", "settings", "settings cortex", "--help", "train --help", "--version",
                "completion bash"],
)  # fmt: skip
@pytest.mark.parametrize("both", [False, True], ids=["stdout", "both"])
def test_a_closed_pipe_is_no_error(tmp_path, command, both):
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [*PYTHON, *command.split()], cwd=tmp_path, stdout=writer,
        stderr=subprocess.STDOUT if both else subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert process.returncode == 141
    assert not process.stderr


def test_a_closed_pipe_ends_a_command_that_logs_and_leaves_nothing_half_written(tmp_path):
    write_features(tmp_path / "x.npz")
    line = shlex.join([*PYTHON, "prepare", "--features", "x.npz", "--out", "prepared"])
    script = f"{line} 2> err | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() in ("0", "141")  # 0: `true` was slower
    assert not re.search("Error|Traceback|Broken", (tmp_path / "err").read_text())
    assert all(not path.name.startswith(".") for path in tmp_path.iterdir())


def test_a_full_disk_is_still_an_error(tmp_path):
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [*PYTHON, "models"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True,
            check=False,
        )  # fmt: skip
    assert process.returncode == 2
    assert "No space left on device" in process.stderr


@pytest.mark.parametrize(
    ("n", "end"), [(1, "a0"), (10, "a8, a9"), (11, "a9 and 1 more"), (501, "a9 and 491 more")]
)
def test_a_long_list_is_cut_after_ten(n, end):
    assert listed(f"a{i}" for i in range(n)).endswith(end)
    assert len(listed(["x" * 20] * n)) < 250


# --- Completion -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_path(tmp_path_factory):
    """A directory with the command ``neuromusic``, for PATH."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "neuromusic"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m neuromusic "$@"\n')
    script.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["tra"], ["train"]), (["orders", "d"], ["design"]), (["train", "--prep"], ["--prepared"]),
     (["train", "natso"], ["natsound"]), (["settings", "sen"], ["senet"]),
     (["models", "vgg1"], ["vgg11", "vgg13", "vgg16", "vgg19"]),
     (["lists", "--link", "s"], ["sym"])],
)  # fmt: skip
def test_bash_completes(on_path, tmp_path, words, expected):
    line = ["neuromusic", *words]
    script = (
        "source <(neuromusic completion bash) || exit 1\n"
        f"COMP_WORDS=({shlex.join(line)}); COMP_CWORD={len(words)}\n"
        "_neuromusic_completion neuromusic\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    result = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{on_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert result.stdout.split() == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_valid_for_its_shell(tmp_path, shell):
    result = neuromusic("completion", shell, cwd=tmp_path)
    assert result.returncode == 0
    assert "_NEUROMUSIC_COMPLETE" in result.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=result.stdout, text=True, check=True)


# --- Progress -------------------------------------------------------------------------------------

WORK = """
import sys, time
from neuromusic.core import progress
progress.LINE_S = float(sys.argv[1])
print("a result")
for _ in progress.track(range(4), "prepare", 4):
    for _ in progress.track(range(2), "part", 2):
        time.sleep({0})
print("another result")
with progress.working("trained network: computing activations"):
    time.sleep({0} * 4)
"""


def script(seconds, line_s=30):
    return [sys.executable, "-c", WORK.format(seconds), str(line_s)]


def test_a_bar_in_a_terminal_moves_every_second_and_says_what_is_done(tmp_path):
    code, seen = in_terminal(script(0.9), tmp_path, 100)
    assert code == 0
    moments = [seconds for seconds, _ in seen]
    started = next(seconds for seconds, text in seen if "a result" in text)
    after = [seconds for seconds in moments if seconds >= started]
    assert max(b - a for a, b in itertools.pairwise(after)) < 1
    text = plain(seen)
    assert re.search(r"prepare +\S+ 3 of 4 +about \d s left", text)
    assert re.search(r"part +\S+ 1 of 2 ", text)
    assert re.search(r"trained network: computing activations .* 3 s so far", text)
    assert re.search(r"prepare: 4 of 4 in [78] s", text)
    assert text.count("another result") == 1


def test_results_go_to_the_file_while_a_bar_is_in_the_terminal(tmp_path):
    line = f"{shlex.join(script(0.3))} > out.txt"
    code, seen = in_terminal(["bash", "-c", line], tmp_path)
    assert code == 0
    assert (tmp_path / "out.txt").read_text() == "a result\nanother result\n"
    assert "result" not in plain(seen)


def test_a_pipe_gets_a_line_now_and_then_and_one_at_the_end(tmp_path):
    result = subprocess.run(
        script(0.5, 0.8), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = result.stderr.splitlines()
    assert result.stdout == "a result\nanother result\n"
    assert "\x1b" not in result.stderr
    shown = r"prepare: [123] of 4, (about \d s left|\d s so far); part: "
    assert any(re.match(shown, line) for line in lines)
    assert any(re.match(r"prepare: 4 of 4 in [45] s$", line) for line in lines)
    assert any(line.startswith("trained network: computing activations: 1 s") for line in lines)
    assert lines[-1] == "trained network: computing activations: done in 2 s"


def test_short_work_is_not_mentioned_in_a_pipe(tmp_path):
    result = subprocess.run(script(0.01), cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stderr == ""


@pytest.mark.slow
def test_the_line_comes_every_30_s(tmp_path):
    result = subprocess.run(script(8), cwd=tmp_path, capture_output=True, text=True, check=True)
    first = result.stderr.splitlines()[0]
    assert re.match(r"prepare: [12] of 4, (about \d+ (s|min) left|\d+ s so far)", first)


@pytest.mark.slow
def test_training_shows_its_epochs_and_batches(tmp_path):
    prepare_features(write_features(tmp_path / "x.npz"), out=tmp_path / "prepared")
    (tmp_path / "tiny.toml").write_text(TINY_TOML)
    line = "train tiny.toml --prepared prepared --out run --set train.epochs=2"
    code, seen = in_terminal(
        [*PYTHON, *line.split(), "--set", "data.windows_per_epoch=320"], tmp_path, 120
    )
    text = plain(seen)
    assert code == 0, text
    assert re.search(r"train\b.* of 2 ", text)
    assert re.search(r"epoch \d +\S+ \d+ of 20 ", text)


def test_an_error_is_the_last_line_below_a_bar(tmp_path):
    code = (
        "from neuromusic.core.progress import track\n"
        "for i in track(range(9), 'prepare', 9):\n"
        "    raise SystemExit('broken')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.stderr == "broken\n"
    _, seen = in_terminal([sys.executable, "-c", code], tmp_path)
    assert plain(seen).rstrip().endswith("broken")
    assert seen and "\x1b[?25h" in "".join(text for _, text in seen)  # the cursor is visible again


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (90, "2 min"), (3599, "1 h"),
     (7500, "2 h 5 min")],
)  # fmt: skip
def test_durations_in_words(seconds, text):
    assert duration(seconds) == text

"""The Python code of the pages, and numbers that two pages have in common."""

import re

import torch
from pages import ROOT, blocks_of

import neuromusic as nm


def run_block(block, names):
    exec(compile(block.code, str(block), "exec"), names)


def test_the_network_files_of_networks_md_are_networks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outline, complete = blocks_of("docs/how-to/networks.md", "python")

    class MyNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = torch.nn.Conv1d(1, 4, 400, 160)
            self.blocks = torch.nn.Sequential(*[torch.nn.Conv1d(4, 4, 3) for _ in range(4)])

        def forward(self, x):
            return self.blocks(self.conv1(x[:, None]))

    torch.save(MyNet().state_dict(), tmp_path / "my_net.pt")
    names = {"MyNet": MyNet}
    run_block(outline, names)
    network = names["network"]()
    assert list(network.stages) == ["early", "late"]
    (tmp_path / "my_net.py").write_text(complete.code)
    loaded = nm.load_applied("my_net.py")
    assert loaded.name == "my-net"


def test_the_code_of_api_md_runs():
    for block in blocks_of("docs/reference/api.md", "python"):
        run_block(block, {})


def test_the_results_of_the_readme_are_those_that_were_measured():
    table = re.findall(r"^\| .*`?.*\|$", (ROOT / "README.md").read_text("utf-8"), re.M)
    numbers = {
        n for row in table for n in re.findall(r"\.\d{3}(?: \(|\b)(?:\.\d{3} to \.\d{3}\))?", row)
    }
    measured = (ROOT / "experiments/README.md").read_text("utf-8").replace("**", "")
    assert len(numbers) > 4
    assert not [number for number in numbers if number not in measured]

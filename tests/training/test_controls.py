"""Control networks: random and permuted weights."""

import numpy as np
import pytest
import torch
from helpers import TINY_TOML, write_features

from neuromusic.pipeline.prepare import prepare_features
from neuromusic.pipeline.train import train
from neuromusic.training.control_copies import permuted_copy, untrained_copy
from neuromusic.training.trained import load_network


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    import tomllib

    root = tmp_path_factory.mktemp("controls")
    data = prepare_features(write_features(root / "train.npz", 3), out=root / "p")
    tree = tomllib.loads(TINY_TOML)
    tree["train"]["epochs"] = 1
    train(tree, data, out=root / "run")
    return load_network(root / "run")


def tensors(network):
    return {name: value.numpy() for name, value in network.state_dict().items()}


def output(network):
    spec = network.spec
    generator = torch.Generator().manual_seed(0)
    shape = (2, spec.n_rows, spec.n_frames)
    return network(torch.randn(shape, generator=generator)).detach().numpy()


def test_permuted_tensors_have_the_same_values_in_another_order(trained):
    before, after = tensors(trained.network), tensors(permuted_copy(trained))
    n_moved = 0
    for name, values in before.items():
        np.testing.assert_array_equal(np.sort(values.ravel()), np.sort(after[name].ravel()))
        n_moved += not np.array_equal(values, after[name])
    parameters = dict(trained.network.named_parameters())
    varied = [name for name in parameters if len(np.unique(before[name])) > 1]
    assert all(not np.array_equal(before[name], after[name]) for name in varied)
    for name in ("band_mean", "band_std"):
        np.testing.assert_array_equal(before[name], after[name])
    assert n_moved >= len(varied)


def test_statistics_of_a_batch_norm_move_together(trained):
    before, after = tensors(trained.network), tensors(permuted_copy(trained))
    norms = [name.removesuffix("running_mean") for name in before if name.endswith("running_mean")]
    assert norms
    for norm in norms:
        columns = [norm + part for part in ("weight", "bias", "running_mean", "running_var")]
        rows = [np.stack([each[name] for name in columns], axis=1) for each in (before, after)]
        np.testing.assert_array_equal(*[np.unique(each, axis=0) for each in rows])


def test_copies_differ_by_number_and_are_the_same_each_time(trained):
    for copy in (permuted_copy, untrained_copy):
        first, again, second = (tensors(copy(trained, number)) for number in (1, 1, 2))
        assert all(np.array_equal(first[name], again[name]) for name in first)
        weights = next(name for name, _ in trained.network.named_parameters())
        assert not np.array_equal(first[weights], second[weights])


def test_outputs_differ_from_those_of_the_trained_network(trained):
    own = output(trained.network)
    for copy in (permuted_copy(trained), permuted_copy(trained, 2), untrained_copy(trained)):
        assert np.isfinite(output(copy)).all()
        assert np.abs(output(copy) - own).max() > 1e-3
    np.testing.assert_array_equal(output(trained.network), own)  # the copies share no weights

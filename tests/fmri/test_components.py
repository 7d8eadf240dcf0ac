"""Principal components against scikit-learn's PCA."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from neuromusic.fmri.components import fit_components, fit_units


@pytest.mark.parametrize("shape", [(300, 40), (60, 700), (1100, 1050)])
def test_components_are_those_of_sklearn(shape):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(shape[0], 8)) @ rng.normal(size=(8, shape[1])) * 3 + 50
    rows = (rows + 0.3 * rng.normal(size=shape)).astype(np.float32)
    ours = fit_components(rows, 5)
    theirs = PCA(5, whiten=True, svd_solver="full").fit(rows.astype(np.float64))
    np.testing.assert_allclose(ours.explained, theirs.explained_variance_ratio_, rtol=1e-8)
    np.testing.assert_allclose(ours.weights, theirs.components_, atol=1e-7)
    new = rng.normal(size=(20, shape[1]))
    np.testing.assert_allclose(ours.project(new), theirs.transform(new), atol=1e-6)
    assert (np.abs(ours.weights).max(1) == ours.weights.max(1)).all()


def test_there_are_no_more_components_than_dimensions():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 30))
    assert fit_components(rows, 10).labels == ["pc01", "pc02"]
    assert fit_components(np.ones((50, 4)), 3).labels == []


def test_units_that_vary_become_components():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 30))
    rows[:, 3] = 7  # a constant unit
    units = fit_units(rows)
    assert len(units.labels) == 29
    assert "unit0004" not in units.labels
    np.testing.assert_allclose(units.project(rows).std(axis=0, ddof=1), 1)

"""The experiment and the time grid of its scanner runs."""

import dataclasses

from neuromusic.design import grid
from neuromusic.design.experiment import DS003720


def test_a_run_of_the_experiment_has_410_volumes():
    assert grid.n_volumes(40) == 410
    assert grid.first_volume(40) + grid.VOLUMES_PER_CLIP == 410
    assert grid.trial_onset_s(40) == 600.0


def test_another_clip_length_gives_another_number_of_volumes():
    experiment = dataclasses.replace(DS003720, tr_s=2.0, clip_s=12.0)
    assert experiment.volumes_per_clip == 6
    assert experiment.n_volumes(n_trials=3) == 24

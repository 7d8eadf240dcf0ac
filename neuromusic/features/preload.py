"""Forkserver preload: import and warm up everything a worker needs.

Workers are forked from the server process that imports this module. It computes all variants of a
short noise once, so the compiled functions are loaded once and shared by all workers.
"""

import gc

gc.disable()  # imports leave no garbage, so collecting it would only cost time

import soundfile  # noqa: E402, F401  # used by stimuli.audio.read
import soxr  # noqa: E402, F401
import torch  # noqa: E402

from neuromusic.features import augment, worker  # noqa: E402, F401
from neuromusic.features.frontends import mel  # noqa: E402
from neuromusic.stimuli.variants import VARIANTS  # noqa: E402

torch.set_num_threads(1)  # threads do not survive a fork
_noise = 0.1 * torch.randn(2048, generator=torch.Generator().manual_seed(0))
_source = augment.Source(_noise.numpy())
for _variant in range(len(VARIANTS)):
    _wave = augment.apply(_source, _variant, augment.draw(0, "", _variant))
    mel.log_mel_tensor(_wave, mel.MelSpec())
gc.freeze()  # otherwise garbage collection in a worker would copy all shared pages
gc.enable()

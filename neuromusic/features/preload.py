"""Imported by the server of which the workers are copies: all that they need, ready to run.

Makes the variants of a moment of noise, so that the compiled passes are loaded once for all.
"""

import gc

gc.disable()  # nothing of what is imported is ever garbage

import soundfile  # noqa: E402, F401  # that audio.read needs
import soxr  # noqa: E402, F401
import torch  # noqa: E402

from neuromusic.features import augment, worker  # noqa: E402, F401
from neuromusic.features.frontends import mel  # noqa: E402
from neuromusic.stimuli.variants import VARIANTS  # noqa: E402

torch.set_num_threads(1)  # threads would not be copied
_noise = 0.1 * torch.randn(2048, generator=torch.Generator().manual_seed(0))
_source = augment.Source(_noise.numpy())
for _variant in range(len(VARIANTS)):
    _wave = augment.apply(_source, _variant, augment.draw(0, "", _variant))
    mel.log_mel_tensor(_wave, mel.MelSpec())
gc.freeze()  # else each worker, looking for garbage, would make all of these pages its own
gc.enable()

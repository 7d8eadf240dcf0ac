"""Check that this machine has the devices that the settings of a training name."""

import torch

from neuromusic.core.errors import InputError
from neuromusic.training.config import Train


def check_devices(settings: Train) -> None:
    """Raise InputError if this machine cannot train as the settings say.

    Call it before data are read: PyTorch Lightning notices only when the training starts.
    """
    n_gpus = _n_gpus()
    if settings.accelerator == "gpu" and n_gpus == 0:
        raise InputError(
            "train.accelerator: is gpu, but torch finds no GPU; set train.accelerator=auto to use "
            "what there is, or cpu"
        )
    if uses_gpu(settings):
        if settings.devices > n_gpus:
            raise InputError(
                f"train.devices: is {settings.devices}, but torch finds {n_gpus} "
                f"GPU{'s' if n_gpus > 1 else ''}; set train.devices={n_gpus}, or "
                "train.accelerator=cpu"
            )
        # Emulation is slower than 32-true.
        if settings.precision == "bf16-mixed" and not torch.cuda.is_bf16_supported(
            including_emulation=False
        ):
            raise InputError(
                f"train.precision: {torch.cuda.get_device_name(0)} cannot compute in bf16; set "
                "train.precision=16-mixed or 32-true"
            )
    elif settings.precision == "16-mixed":
        raise InputError(
            "train.precision: 16-mixed needs a GPU; set train.precision=bf16-mixed or 32-true"
        )


def uses_gpu(settings: Train) -> bool:
    """Return whether a training would use a GPU of this machine."""
    return settings.accelerator != "cpu" and _n_gpus() > 0


def _n_gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0

"""Load a network from outside by what the user types: a file, a function, or a name."""

import importlib
import importlib.metadata
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from neuromusic.core.errors import InputError, did_you_mean, listed
from neuromusic.core.files import reading, sha256
from neuromusic.core.folders import why_no_file
from neuromusic.models.external import External

FUNCTION = "network"  # of a file
ENTRY_POINTS = "neuromusic.networks"
TRUST = "NEUROMUSIC_TRUST"  # environment variable: code that records may name
EXAMPLE = (
    "expected a file such as my_net.py, package.module:function, the name of a network "
    "('neuromusic networks list'), or a trained network"
)

_named: dict[str, None] = {}  # code that this process has loaded, because the user named it


def load_external(source: str | Path) -> External:
    """Return the network that a file, a function or a name stands for.

    A network file is the user's own code, and it runs because the user names it.

    Parameters
    ----------
    source : str or Path
        One of

        * a Python file with a function ``network()`` that returns an `External`: ``my_net.py``;
        * a function of an installed module: ``package.module:function``;
        * an entry point in the group ``neuromusic.networks`` of an installed package;
        * a name of the catalogue, such as ``musicnn``;
        * ``hf:NAME``, ``torchaudio:PIPELINE`` or ``torchvision:NAME``.

    Returns
    -------
    External
        The network.

    Raises
    ------
    InputError
        If there is no such network, the user's code fails, or it returns something else.

    Examples
    --------
    >>> network = load_external("my_net.py")
    >>> list(network.stages)
    ['A1', 'belt']
    """
    text = str(source)
    path = Path(text)
    if is_code(source):
        _named[str(path.absolute()) if path.suffix == ".py" else text] = None
    if path.suffix == ".py":
        return from_file(path)
    scheme, colon, _ = text.partition(":")
    if colon:
        from neuromusic.models.pretrained.hubs import HUBS, hub_network

        return hub_network(text) if scheme in HUBS else from_function(text)
    return from_name(text)


def is_external(source: str | Path) -> bool:
    """Return whether a source is a network file, a function or a known name, and not a directory.

    It is not loaded.
    """
    text = str(source)
    if Path(text).is_dir():
        return False
    return Path(text).suffix == ".py" or ":" in Path(text).name or text in external_names()


def is_code(source: str | Path) -> bool:
    """Return whether loading a source executes a file or a module that the source names."""
    text = str(source)
    if Path(text).is_dir():
        return False
    if Path(text).suffix == ".py" or text in _entry_points():
        return True
    from neuromusic.models.pretrained.hubs import HUBS

    scheme, colon, _ = text.partition(":")
    return bool(colon) and scheme not in HUBS


def named_by_user(recorded: str) -> str:
    """Return what is to be loaded for a network that a record or a trained network names.

    Raises InputError for a network file or a function, unless the user has named it: in this
    process, or in the environment variable NEUROMUSIC_TRUST (several with commas). It is code, and
    what names it may have come from somebody else. A file counts by its name, and the one that the
    user named is returned.
    """
    if not is_code(recorded):
        return recorded
    trusted = [*os.environ.get(TRUST, "").split(","), *_named]
    if recorded in trusted:
        return recorded
    for named in trusted:
        if Path(recorded).suffix == ".py" and Path(named).name == Path(recorded).name:
            return named
    raise InputError(
        f"{recorded}: is code that a record names, and is not executed; if you know it, repeat the "
        f"command with {TRUST}={recorded} before it"
    )


def external_names() -> list[str]:
    """Return the names of installed entry points and of the catalogue."""
    from neuromusic.models.pretrained.catalogue import catalogue

    return sorted({*_entry_points(), *catalogue})


def from_file(path: Path) -> External:
    """Return what the function ``network`` of a Python file returns; see `load_external`."""
    if not path.is_file():
        raise InputError(f"{path}: {why_no_file(path)}")
    # Under a name of its own, so that a file may be called like an installed module.
    name = f"neuromusic_network_{sha256(path)[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pickle and dataclasses look it up
    sys.path.insert(0, str(path.parent.resolve()))  # it may import its neighbours
    try:
        spec.loader.exec_module(module)
        function = getattr(module, FUNCTION, None)
        if not callable(function):
            functions = [key for key, value in vars(module).items() if callable(value)]
            raise InputError(
                f"{path}: has no function network(); define one that returns an External"
                f"{did_you_mean(FUNCTION, functions)}"
            )
        return _called(function, str(path), path)
    except InputError:
        del sys.modules[name]
        raise
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise InputError(f"{path}: {_what_failed(error, path)}") from None
    finally:
        sys.path.remove(str(path.parent.resolve()))


def from_function(source: str) -> External:
    """Return what ``package.module:function`` returns; see `load_external`."""
    module_name, _, function_name = source.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and module_name.startswith(error.name):
            raise InputError(f"{source}: there is no module {error.name!r}; {EXAMPLE}") from None
        raise InputError(f"{source}: {_what_failed(error, None)}") from None
    except Exception as error:  # the user's code may raise anything
        raise InputError(f"{source}: {_what_failed(error, None)}") from None
    function = getattr(module, function_name, None)
    if not callable(function):
        raise InputError(
            f"{source}: module {module_name} has no function {function_name!r}"
            f"{did_you_mean(function_name, vars(module))}"
        )
    return _called(function, source, Path(module.__file__) if module.__file__ else None)


def from_name(name: str) -> External:
    """Return a network of an entry point or of the catalogue; see `load_external`."""
    from neuromusic.models.pretrained.catalogue import catalogue

    points = _entry_points()
    if name in points:
        try:
            function = points[name].load()
        except Exception as error:  # the code of another package may raise anything
            raise InputError(f"{name}: {points[name].value}: {_what_failed(error, None)}") from None
        return _called(function, name, None)
    if name in catalogue:
        return catalogue[name]()
    known = external_names()
    raise InputError(
        f"{name}: is no network; {EXAMPLE}; names: {listed(known, 20)}{did_you_mean(name, known)}"
    )


def is_unsafe(error: Exception) -> bool:
    """Return whether torch refused a checkpoint because reading it could execute code.

    Its exception is known by name: importing its class would mean to import pickle.
    """
    return type(error).__name__ == "UnpicklingError"


def load_weights(path: Path | str) -> dict[str, Tensor]:
    """Return the tensors of a file of weights, on the CPU, without executing anything in it.

    Parameters
    ----------
    path : Path or str
        A file of safetensors, or one that ``torch.save`` wrote.

    Returns
    -------
    dict of str to Tensor
        For ``module.load_state_dict``. A checkpoint with a dictionary ``state_dict`` gives that.

    Raises
    ------
    InputError
        If the file cannot be read, or would execute code when it is read.

    Examples
    --------
    >>> import torch
    >>> import neuromusic as nm
    >>> torch.save(torch.nn.Linear(2, 3).state_dict(), "weights.pt")
    >>> list(nm.load_weights("weights.pt"))
    ['weight', 'bias']
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: {why_no_file(path)}")
    try:
        with reading(path):
            if path.suffix == ".safetensors":
                content: Any = safetensors.torch.load(path.read_bytes())
            else:
                content = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # torch and safetensors raise many kinds for damaged files
        if is_unsafe(error):
            reason = str(error).splitlines()
            unsafe = next(
                (line.strip() for line in reason if "GLOBAL" in line), "it is not a checkpoint"
            )
            raise InputError(
                f"{path}: is refused, because it contains more than tensors and reading it could "
                f"execute code ({unsafe}); save module.state_dict() as safetensors"
            ) from None
        raise InputError(f"{path}: is not a readable file of weights ({error})") from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(
        content, dict
    ) else {}  # fmt: skip
    if not tensors:
        raise InputError(f"{path}: contains no tensors by name; save module.state_dict()")
    return tensors


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {each.name: each for each in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _called(function: Callable[[], Any], source: str, path: Path | None) -> External:
    """Return the External that a user's function returns; raise InputError otherwise."""
    name = getattr(function, "__name__", "network")
    try:
        network = function()
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    except Exception as error:  # the user's code may raise anything
        raise InputError(f"{source}: {_what_failed(error, path)}") from None
    if not isinstance(network, External):
        raise InputError(
            f"{source}: {name}() returns {type(network).__name__}; expected a neuromusic.External"
        )
    return network


def _what_failed(error: BaseException, path: Path | None) -> str:
    """Return an error of the user's code with the line of the user's file that led to it."""
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: SyntaxError: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    if path is not None:
        own = [frame for frame in frames if Path(frame.filename).resolve() == path.resolve()]
        if own:
            return f"line {own[-1].lineno} ({own[-1].line}): {what}"
    # The frames of the import system and of this file say nothing to the user.
    theirs = [f for f in frames if f.filename != __file__ and "importlib" not in f.filename]
    return f"{theirs[-1].filename}, line {theirs[-1].lineno}: {what}" if theirs else what

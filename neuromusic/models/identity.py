"""What a network computes, as one SHA-256: its code, weights, settings, and the machine.

The activations in a cache are found by it, so it must change whenever they might. A network for
which that cannot be known, because its code is not in an installed package, has none.
"""

import ast
import functools
import hashlib
import importlib.util
import json
import platform
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from importlib import metadata
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuromusic.core.cache import FORMAT
from neuromusic.core.files import sha256
from neuromusic.core.records import PACKAGES
from neuromusic.core.system import processor
from neuromusic.models.applied import AppliedNetwork
from neuromusic.models.inference import best_device

PACKAGE = "neuromusic"
DEEPEST = 30  # level of values in values
MOST_VALUES = 300_000  # in all attributes
# Attributes of modules without effect on what they compute, or that repeat what is elsewhere.
SKIPPED = frozenset({
    "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "_flat_weight_refs",
    "_flat_weights", "_is_full_backward_hook", "_is_hf_initialized",
})  # fmt: skip
LOADERS = frozenset({"importlib", "runpy", "imp", "pkgutil"})  # of modules that no import names
EXECUTING = frozenset({"__import__", "eval", "exec", "compile"})


class UnknownError(Exception):
    """What a network computes is not known; the message says why."""


def identity_of(trained: AppliedNetwork) -> str:
    """Return the SHA-256 of all that a network's activations depend on, besides the sound.

    Parameters
    ----------
    trained : AppliedNetwork
        The network, or a copy with other weights: those in memory count, not those of its files.

    Returns
    -------
    str
        Of the code, the weights and other attributes of all modules, the settings, the versions of
        the packages, and the device: another one may round differently.

    Raises
    ------
    UnknownError
        If code may change without notice: a module of a file other than the network's own, a
        network file that imports other files, or an attribute that is not plain.
    """
    own_file = trained.directory if trained.directory.suffix == ".py" else None
    packages: set[str] = set()
    values = _Values(_names_of(own_file), packages)
    state = hashlib.sha256(values.of([FORMAT, trained.key_settings()]).encode())
    for part in values.of_module(trained.network):
        state.update(part)
    if own_file is not None:
        packages |= _imported(own_file)
        state.update(sha256(own_file).encode())
    state.update(json.dumps([sorted(map(_version, packages)), _machine(), _code()]).encode())
    return state.hexdigest()


@functools.cache
def _code() -> str:
    """Return the SHA-256 of the source of this package."""
    root = Path(__file__).parents[1]
    state = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        state.update(f"{path.relative_to(root)} {sha256(path)}\n".encode())
    return state.hexdigest()


def _machine() -> list[str]:
    """Return what else may change the last digit: packages, and the processor or GPU."""
    versions = [f"{name} {metadata.version(name)}" for name in PACKAGES]
    if best_device().type == "cuda":
        device = [torch.cuda.get_device_name(), str(torch.version.cuda)]
    else:
        device = [processor(), torch.backends.cpu.get_cpu_capability()]
    return [platform.python_version(), *versions, *device, torch.get_float32_matmul_precision()]


# --- Code -----------------------------------------------------------------------------------------


@functools.cache
def _is_installed(package: str) -> bool:
    """Return whether a module at the top is Python's, this package, or in site-packages."""
    if package in sys.stdlib_module_names or package in (PACKAGE, "builtins"):
        return True
    module = sys.modules.get(package)
    found = getattr(module, "__spec__", None) if module else importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return False
    places = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    origin = Path(found.origin)
    return any(origin.is_relative_to(place) for place in places if place) or any(
        part in ("site-packages", "dist-packages") for part in origin.parts
    )


@functools.cache
def _version(package: str) -> str:
    """Return the name and the version of an installed package; Python's count elsewhere."""
    if package in sys.stdlib_module_names or package in (PACKAGE, "builtins"):
        return package
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        raise UnknownError(f"the version of {package} is not known") from None


def _names_of(file: Path | None) -> set[str]:
    """Return the names under which the module of a network file is loaded."""
    return set() if file is None else {f"neuromusic_network_{sha256(file)[:12]}"}


def _imported(file: Path) -> set[str]:
    """Return the packages that a network file imports.

    Raises UnknownError if one of them is not installed, such as a file beside it, or the file
    executes other code.
    """
    packages = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        names = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{'.' * node.level}{node.module or ''}"]
        elif isinstance(node, ast.Name) and node.id in EXECUTING:
            raise UnknownError(f"{file} calls {node.id}")
        packages |= {name.partition(".")[0] for name in names}
    for package in packages:
        if package in LOADERS or not package or not _is_installed(package):
            raise UnknownError(f"{file} imports {package or 'its neighbours'}")
    return packages


# --- Values ---------------------------------------------------------------------------------------


class _Values:
    """Turns modules and their attributes into bytes that are the same in every process.

    ``own`` are the names of modules whose code is known otherwise; the packages of all others are
    added to ``packages``.
    """

    def __init__(self, own: set[str], packages: set[str]) -> None:
        self.own = own
        self.packages = packages
        self.n_values = 0

    def of_module(self, module: nn.Module, depth: int = 0) -> Iterator[bytes]:
        """Yield the classes, the attributes and the tensors of a module and all those below it."""
        for name, each in module.named_modules():
            if isinstance(each, torch.jit.ScriptModule):
                raise UnknownError(f"module {name or 'network'} is a TorchScript archive")
            content = {key: value for key, value in vars(each).items() if key not in SKIPPED}
            hooks = [key for key, value in content.items() if key.endswith("_hooks") and value]
            if hooks:
                raise UnknownError(f"module {name or 'network'} has hooks")
            yield f"{name} {self.of_class(type(each))} {self.of(content, depth)}\n".encode()
            own = [*each.named_parameters(recurse=False), *each.named_buffers(recurse=False)]
            for key, tensor in own:
                yield f"{key} {self.of(tensor)}\n".encode()

    def of_class(self, kind: Any) -> str:
        """Return the name of a class or function; raise UnknownError if its code is not known."""
        package = kind.__module__.partition(".")[0]
        if kind.__module__ not in self.own:
            if not _is_installed(package):
                raise UnknownError(f"{kind.__qualname__} is not in an installed package")
            self.packages.add(package)
        return f"{kind.__module__}.{kind.__qualname__}"

    def of(self, value: Any, depth: int = 0) -> str:
        """Return a value as text; raise UnknownError if it is not plain."""
        self.n_values += 1
        if depth > DEEPEST or self.n_values > MOST_VALUES:
            raise UnknownError("its attributes are nested too deeply")
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return repr(value)
        if isinstance(value, Tensor | np.ndarray):
            return _of_array(value)
        if isinstance(value, nn.Module):  # kept in an attribute, but not a child
            return hashlib.sha256(b"".join(self.of_module(value, depth + 1))).hexdigest()
        below = functools.partial(self.of, depth=depth + 1)
        if isinstance(value, Mapping):
            pairs = sorted(f"{below(key)}: {below(each)}" for key, each in value.items())
            return f"{{{', '.join(pairs)}}}"
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(below, value))}]"
        if isinstance(value, set | frozenset):
            return f"{{{', '.join(sorted(map(below, value)))}}}"
        return self._of_object(value, depth + 1)

    def _of_object(self, value: Any, depth: int) -> str:
        """Return an object as its class and its attributes, or a function without variables."""
        if isinstance(value, type):
            return self.of_class(value)
        if isinstance(value, FunctionType):
            if value.__closure__ or "<lambda>" in value.__qualname__:
                raise UnknownError(f"{value.__qualname__} is a function with variables")
            return self.of_class(value)
        name = self.of_class(type(value))
        if isinstance(value, BuiltinFunctionType):  # such as torch.relu
            return f"{name} {value.__qualname__}"
        if isinstance(value, torch.dtype | torch.device | torch.layout | np.generic | Enum | Path):
            return f"{name} {value!r}"
        if isinstance(value, partial):
            return f"{name} {self.of([value.func, value.args, value.keywords], depth)}"
        if is_dataclass(value):
            content = {each.name: getattr(value, each.name) for each in fields(value)}
        elif getattr(value, "__dict__", None) and not isinstance(value, MethodType):
            content = vars(value)
        else:
            raise UnknownError(f"the attribute {type(value).__qualname__} is not plain")
        return f"{name} {self.of(content, depth)}"


def _of_array(value: Tensor | np.ndarray) -> str:
    """Return the type, the shape and the SHA-256 of the values of a tensor or an array."""
    if isinstance(value, Tensor):
        if value.device.type == "meta" or value.layout != torch.strided:
            raise UnknownError("a tensor has no values")
        kind = str(value.dtype)
        flat = value.detach().cpu().contiguous().flatten()
        array = flat.view(torch.uint8).numpy() if flat.numel() else np.zeros(0, np.uint8)
    else:
        if value.dtype.hasobject:
            raise UnknownError("an attribute is an array of objects")
        kind = value.dtype.str
        array = np.ascontiguousarray(value)
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    return f"{kind} {tuple(value.shape)} {digest}"

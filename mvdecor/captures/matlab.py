"""MATLAB files, read with one clear error for whatever is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvdecor.errors import InputError


def read_matlab(path: Path, name: str) -> Any:
    """The variable `name` of a MATLAB 5 file, structs as objects with attributes, singleton dimensions removed.

    Raises:
        InputError: a missing or damaged file, one of MATLAB 7.3 (HDF5), or no such variable.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise InputError(f"{path}: no such file; put it there")
    try:
        content = loadmat(path, struct_as_record=False, squeeze_me=True, variable_names=[name])
    except NotImplementedError as error:
        raise InputError(f"{path}: is of MATLAB 7.3 (HDF5): save it again with -v7") from error
    except Exception as error:  # a damaged file makes SciPy raise whatever its parsing stumbles over
        raise InputError(f"{path}: cannot be read as a MATLAB file ({error}); download it again") from error
    if name not in content:
        raise InputError(f"{path}: holds no {name}; is it the right file?")
    return content[name]


def structs(value: Any) -> list[Any]:
    """The elements of a struct array, of which MATLAB writes one of length 1 as a struct."""
    return list(value.ravel()) if isinstance(value, np.ndarray) else [value]


def field(struct: Any, name: str, source: Path | str) -> Any:
    """A field of a struct. Raises InputError if it is not there."""
    if not hasattr(struct, name):
        raise InputError(f"{source}: the field {name} is missing; is it the right file?")
    return getattr(struct, name)


def numbers(
    struct: Any, name: str, shape: tuple[int, ...], source: Path | str, finite: bool = True
) -> NDArray[np.float64]:
    """A field of numbers; -1 in `shape` fits any length.

    Raises:
        InputError: it is missing, of another shape, or, if they must be finite, has values that are not.
    """
    try:
        values = np.asarray(field(struct, name, source), dtype=np.float64).reshape(shape)
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}: the field {name} is not of {'x'.join(map(str, shape))} numbers") from error
    if finite and not np.isfinite(values).all():
        raise InputError(f"{source}: the field {name} has values that are not finite")
    return values

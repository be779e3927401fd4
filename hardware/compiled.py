"""Functions compiled to machine code by Numba: the arithmetic of every joint, pair and pose at every tick.

Numba keeps machine code on disk beside the source, and takes it as long as the file of the function itself is
unchanged. So a compiled function calls only those of its own file, and reads no constants of others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable)


def compiled(function: F) -> F:
    """Compile a function when it is first called with arguments of some types.

    Floating point as in Python, but a division by zero is no error. Where no folder can be written the machine
    code is not kept, and each process compiles anew; NUMBA_CACHE_DIR names one that can.
    """
    try:
        return cast(F, numba.njit(cache=True, error_model="numpy")(function))
    except RuntimeError:
        return cast(F, numba.njit(error_model="numpy")(function))

"""Whether the compiled loops can run."""

import functools

import torch


@functools.cache
def numba_loads() -> bool:
    """Whether numba is installed and works with this NumPy and this Python."""
    try:
        import numba  # noqa: F401
    except (ImportError, SystemError):
        return False
    return True


def compiled(tensor: torch.Tensor) -> bool:
    """Whether loops over this tensor are compiled: on the CPU, where numba loads."""
    return tensor.device.type == "cpu" and numba_loads()

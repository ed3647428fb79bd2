"""Simplify trained networks into mosaics of reusable motifs, and measure how simple they are.

The public names and where they lie stand in one table, ``__init__.pyi``. Each is imported when it is first asked for:
torch takes seconds, and ``momos-compress --help`` does without it.
"""

import lazy_loader

__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = [name for name in _names if not name.startswith("_")]

"""Sources that end badly, for the processes of a study; importing it registers them."""

import fcntl
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from momos_compress.sources.open import NamedSource, register_source


def _killed() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _crashed() -> NoReturn:
    print("about to fall", file=sys.stderr)
    os._exit(7)


def _broken() -> NoReturn:
    raise RuntimeError("an error of ours")


def _slow() -> Path:
    """Digits once the file MOMOS_TEST_GO exists; until then its process is in flight, and keeps a file locked."""
    with Path(f"{os.environ['MOMOS_TEST_GO']}.{os.getpid()}.here").open("w") as here:
        fcntl.flock(here, fcntl.LOCK_EX)
        while not Path(os.environ["MOMOS_TEST_GO"]).exists():
            time.sleep(0.05)
    from momos_zoo.digits import weights_path

    return weights_path()


FAULTS = {"killed": _killed, "crashed": _crashed, "broken": _broken, "slow": _slow, "slow2": _slow, "slow3": _slow}
for name, path in FAULTS.items():
    register_source(f"fault-{name}", NamedSource(path))

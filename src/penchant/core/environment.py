"""Hardware, package versions and memory use of a run.

In: nothing. Out: the machine and the versions that a report names, and the memory used so far.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Iterable
from importlib.metadata import version

from penchant.core.messages import message


def hardware() -> str:
    """Return processor, cores and Python."""
    return message(
        "{machine}, {count} cores, Python {version}",
        machine=platform.machine(),
        count=os.cpu_count(),
        version=sys.version.split()[0],
    )


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each package."""
    return {package: version(package) for package in packages}


def peak_bytes() -> int:
    """Return the largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

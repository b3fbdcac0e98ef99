"""minirun: bundle in, isolated process out.

Start with ``minirun/README.md``: six files, in the order in which they are best read.
"""

from __future__ import annotations

from .errors import ImageError, MinirunError, ScheduleError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .api import (
        ContainerRecord,
        Containers,
        DeviceRequest,
        Home,
        LogOptions,
        MountRequest,
        NetworkOptions,
        ResourceOptions,
        RunOptions,
        default_home,
        mount_tmpfs,
        unmount,
    )

__version__ = "0.1.0"

#: What the scheduler, which sees nothing else of this package, may import.
__all__ = [
    "ContainerRecord",
    "Containers",
    "DeviceRequest",
    "Home",
    "ImageError",
    "LogOptions",
    "MinirunError",
    "MountRequest",
    "NetworkOptions",
    "ResourceOptions",
    "RunOptions",
    "ScheduleError",
    "StateError",
    "__version__",
    "default_home",
    "mount_tmpfs",
    "unmount",
]


def __getattr__(name: str) -> object:
    """Import ``api.py`` when something of it is asked for: a start of a container needs nothing."""
    if name not in __all__:
        raise AttributeError(name)
    from . import api

    return getattr(api, name)

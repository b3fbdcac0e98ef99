"""Change the limits of a container: in the kernel if it runs, and for its next start.

The new limits are completed from the old ones before anything is written, so that what contradicts
itself (swap below memory, for example) is refused by the same rule as at ``run``.

Next: ``../lifecycle.py``.
"""

from __future__ import annotations

import os

from ..container import limits
from ..container.options import ResourceOptions, check
from ..record import replace
from ..spec import Spec
from .status import is_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..container.entry import ContainerRecord
    from ..container.options import RunOptions
    from .home import Home


def update(home: Home, record: ContainerRecord, asked: RunOptions, *, restart: bool) -> None:
    """Change what differs from the defaults in ``asked``.

    Args:
        home: where it is kept.
        record: which one.
        asked: the limits that are given; the others hold their defaults.
        restart: whether the restart policy is given.

    Raises:
        MinirunError: the limits contradict each other, or the kernel refuses one.
    """
    changed = _merged(record.options, asked, restart=restart)
    place = home.place(record.id)
    spec = place.read("config.json", Spec)
    old = spec.linux.resources
    fresh = limits.resources(changed, (), _numbers(changed))
    if is_up(record) and record.state.pid and changed.resources != record.options.resources:
        place.container().update(replace(fresh, devices=None))
    devices = old.devices if old is not None else None
    linux = replace(spec.linux, resources=replace(fresh, devices=devices))
    place.write("config.json", replace(spec, linux=linux))
    home.containers.update(
        record.id,
        lambda found: replace(found, options=_merged(found.options, asked, restart=restart)),
    )


def _numbers(options: RunOptions) -> dict[str, tuple[int, int]]:
    """Return the numbers of the devices that have limits of their own."""
    found = {path: os.stat(path).st_rdev for path in limits.limited_devices(options.resources)}
    return {path: (os.major(device), os.minor(device)) for path, device in found.items()}


def _merged(options: RunOptions, asked: RunOptions, *, restart: bool) -> RunOptions:
    """Return the options with what was asked for; --cpus and --cpu-quota replace each other."""
    defaults = ResourceOptions()
    names = ResourceOptions.__fields__
    wanted = {
        name: getattr(asked.resources, name)
        for name in names
        if getattr(asked.resources, name) != getattr(defaults, name)
    }
    if "cpus_nano" in wanted:
        wanted |= {"cpu_quota_us": 0, "cpu_period_us": 0}
    elif "cpu_quota_us" in wanted or "cpu_period_us" in wanted:
        wanted["cpus_nano"] = 0
    merged = replace(options, resources=replace(options.resources, **wanted))
    if restart:
        merged = replace(merged, restart=asked.restart)
    return check(merged)

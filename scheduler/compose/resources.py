"""What a service reserves and what it may reach."""

from __future__ import annotations

from ..model import Resources
from .fields import Section, number, refuse


def resources(service: Section, deploy: Section) -> tuple[Resources, Resources]:
    """Return (requests, limits)."""
    both = deploy.section("resources") or Section({}, deploy.at("resources"))
    reserved = both.section("reservations") or Section({}, both.at("reservations"))
    limited = both.section("limits") or Section({}, both.at("limits"))
    both.close()
    cpus, memory = service.cpu_millis("cpus") or 0, service.size_bytes("mem_limit") or 0
    limits = Resources(
        limited.cpu_millis("cpus") or cpus,
        limited.size_bytes("memory") or memory,
        pids=limited.integer("pids") or service.integer("pids_limit") or 0,
    )
    # As in Kubernetes, what is limited and not reserved is reserved: no limit is a promise of less.
    requests = Resources(
        reserved.cpu_millis("cpus") or limits.cpu_millis,
        reserved.size_bytes("memory")
        or service.size_bytes("mem_reservation")
        or limits.memory_bytes,
        gpus=_gpus(reserved, "devices") + _gpus(service, "gpus"),
    )
    reserved.close()
    limited.close()
    return requests, limits


def _gpus(section: Section, key: str) -> int:
    """Count the devices that are asked for."""
    path, value = section.at(key), section.take(key)
    if value is None:
        return 0
    if not isinstance(value, list):
        refuse(path, "expected a list of devices", hint="all is not a number; count them")
    return sum(_gpu(Section(item, f"{path}[{i}]"), key) for i, item in enumerate(value))


def _gpu(device: Section, key: str) -> int:
    if device.text("driver", "nvidia") != "nvidia":
        refuse(device.at("driver"), "only nvidia is supported")
    kinds = device.items("capabilities")
    if (kinds or key == "devices") and "gpu" not in kinds:
        refuse(device.at("capabilities"), "only [gpu] is supported")
    count = device.take("count")
    if count == "all":
        refuse(device.at("count"), "all is not supported", hint="count them")
    device.close([("device_ids", "the scheduler chooses the device; ask for a count")])
    return 1 if count is None else int(number(count, device.at("count")))

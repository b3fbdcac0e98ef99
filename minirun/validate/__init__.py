"""Is this config.json one that can be run? Everything that inspection can tell, before any effect.

    validate(spec, host) ─▶ None, or SpecError: config.json: $.process.cwd: … / hint: …

Every property of the specification is either honoured by the plan or refused here by name: a limit
that is silently dropped is a container that is less closed than it looks. What depends on the file
system (whether a path exists, or is a link) is for the steps, which look when they act.

    process.py      who runs, with which words, numbers and limits
    priorities.py   who waits for whom, where somebody asks
    isolation.py    namespaces, id mappings, sysctls, clocks
    filesystem.py   root, mounts, devices, masked paths
    rootless.py     what an ordinary user cannot have
    rules.py        the handful of checks that they are made of

Pure. Next: ``../plan.py``, which may rely on all of it.
"""

from __future__ import annotations

from ..cgroups.devices import policy
from ..cgroups.resources import writes
from ..errors import SpecError
from ..seccomp import words as seccomp_words
from . import filesystem, isolation, process, rootless
from .rules import absolute, is_digits, items, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..host import Host
    from ..spec import Hooks, IntelRdt, Linux, Seccomp, Spec

VERSIONS = "1.0.0 to 1.3.0"


def validate(spec: Spec, host: Host) -> None:
    """Return when the spec can be planned on this host.

    Raises:
        SpecError: a property is malformed, contradicts another or is not supported.
        HostError: this host lacks what the spec asks for.
    """
    check_version(spec.oci_version)
    filesystem.check(spec)
    if spec.process:
        process.check(spec.process, host)
    isolation.check(spec, host)
    rootless.check(spec, host)
    if process.has_priorities(spec.process, spec.linux):
        from . import priorities

        priorities.check(spec.process, spec.linux)
    if spec.hooks:
        check_hooks(spec.hooks)
    _linux(spec.linux, host)


def check_version(text: str) -> None:
    """Check ``ociVersion``: any 1.x, because minor versions only add optional properties."""
    numbers = text.partition("-")[0].partition("+")[0].split(".")
    if len(numbers) != 3 or not all(is_digits(part) for part in numbers):
        raise SpecError("$.ociVersion", f"{text!r} is not a version", hint=VERSIONS)
    if numbers[0] != "1":
        raise SpecError("$.ociVersion", f"{text} is not supported", hint=VERSIONS)


def check_hooks(hooks: Hooks) -> None:
    """Check that every hook names a program and a time limit that can be kept."""
    names = ("prestart", "createRuntime", "createContainer", "startContainer")
    for name in (*names, "poststart", "poststop"):
        field = "".join("_" + c.lower() if c.isupper() else c for c in name)
        for path, hook in items(f"$.hooks.{name}", getattr(hooks, field)):
            absolute(f"{path}.path", hook.path)
            if hook.timeout is not None and hook.timeout <= 0:
                hint = "seconds, at least 1; leave it out for no limit"
                refuse(f"{path}.timeout", f"{hook.timeout} is not positive", hint)
            for where, entry in items(f"{path}.env", hook.env or ()):
                process.check_variable(where, entry)


def _linux(linux: Linux, host: Host) -> None:
    if linux.seccomp:
        check_seccomp(linux.seccomp)
    if linux.resources:
        policy(linux.resources.devices)
        writes(linux.resources, host)
    if ".." in linux.cgroups_path.split("/"):
        refuse("$.linux.cgroupsPath", f"{linux.cgroups_path!r} leaves its parent", "without '..'")
    if linux.mount_label:
        hint = "leave it out: minirun sets no SELinux labels"
        refuse("$.linux.mountLabel", "SELinux labels are not supported", hint)
    if linux.intel_rdt:
        check_intel_rdt(linux.intel_rdt, host)


def check_intel_rdt(rdt: IntelRdt, host: Host) -> None:
    """Refuse a class that could be anything but one directory, and a host without classes."""
    path = "$.linux.intelRdt"
    for name, asked in (("enableCMT", rdt.enable_cmt), ("enableMBM", rdt.enable_mbm)):
        if asked:
            refuse(f"{path}.{name}", "runtime-spec 1.3 has no such property", "enableMonitoring")
    if host.rootless:
        refuse(path, "the processor's classes are root's alone", "leave it out, or run as root")
    if not host.resctrl:
        hint = "mount -t resctrl resctrl /sys/fs/resctrl, where kernel and processor have it"
        refuse(path, "no resctrl file system is mounted", hint)
    taken = ("info", "mon_groups", "mon_data", ".", "..")
    if rdt.clos_id != "/" and (not {"/", "\n"}.isdisjoint(rdt.clos_id) or rdt.clos_id in taken):
        refuse(f"{path}.closID", f"{rdt.clos_id!r} is no name of a class", "a plain name, or /")
    if rdt.mem_bw_schema and not rdt.mem_bw_schema.startswith("MB:"):
        refuse(f"{path}.memBwSchema", f"{rdt.mem_bw_schema!r} does not start with MB:")
    given = (rdt.l3_cache_schema, rdt.mem_bw_schema, *rdt.schemata)
    names = ("l3CacheSchema", "memBwSchema", *(f"schemata[{n}]" for n in range(len(rdt.schemata))))
    for name, line in zip(names, given, strict=True):
        if "\n" in line and name != "l3CacheSchema":
            refuse(f"{path}.{name}", f"{line!r} is more than one line", "one line for each entry")


def check_seccomp(seccomp: Seccomp) -> None:
    """Check every word of the filter, and that somebody listens where somebody is notified."""
    seccomp_words.load_flags(seccomp)
    seccomp_words.architectures(seccomp)
    seccomp_words.rules(seccomp)
    path = "$.linux.seccomp.listenerPath"
    if seccomp.listener_path:
        absolute(path, seccomp.listener_path)
    if seccomp.listener_metadata and not seccomp.listener_path:
        refuse("$.linux.seccomp.listenerMetadata", "there is no listenerPath to send it to")

"""Tests on a machine with cgroup v2 and systemd, whatever this one has.

    scripts/vm test                    the selected tests; the reports are build/vm/report-*.xml
    scripts/vm test -- -k freeze -x    with more arguments for pytest
    scripts/vm pytest tests/kernel     pytest with exactly these arguments
    scripts/vm run 'cat /proc/cgroups' one shell command as root, in the checkout
    scripts/vm shell                   a root shell; leave it with exit
    scripts/vm build                   only make sure that the image is there
    scripts/vm skips HERE.xml          tests that neither this machine (its --junitxml) nor the
                                       last VM run has run: exit 1 if there is any

The machine is a Debian 12 (Linux 6.1, cgroup v2, systemd) under qemu, emulated, without a network.
It boots in 20 seconds and runs about ten times slower than yours. What you changed and did not
commit is inside; what git ignores is not. What a job leaves in $OUT comes back in build/vm/, or
in MINIRUN_VM_RESULTS: name one where two machines run at a time.

The image is kept in MINIRUN_VM_CACHE (~/.cache/minirun/vm) and built anew, in two minutes, when
tests/vm/guest, constraints.txt or the commands in pyproject.toml change. MINIRUN_VM_ACCEL=kvm uses
real processors.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from pathlib import Path

from tests.vm.image import TOP, image
from tests.vm.machine import RESULTS, boot
from tests.vm.skips import never_run, summary

#: Each file holds the arguments of one pytest; they run side by side, one for each processor.
LANES = sorted((TOP / "tests" / "vm").glob("lane-*.txt"))
#: What the machine must offer; a probe that fails there is a failure and not a skip.
DEMANDED = (
    "root,userns,overlay,seccomp,apparmor,net_admin,nftables,cgroup2,systemd,busybox,strace,"
    "runc,crun,docker,containerd,podman,newuidmap,pasta,slirp4netns,criu"
)


#: Exit code 5 says that a lane has none of the tests that were asked for.
_JOB = """
export CI=true MINIRUN_REQUIRE={demanded} MINIRUN_LEAK_GRACE_S=30
lane() {{
    number=$1; shift
    # Nothing takes five minutes, but here everything takes longer.
    set -- -o faulthandler_timeout=1200 -o cache_dir="/tmp/pytest-cache-$number" "$@"
    python -m pytest --junitxml "$OUT/report-$number.xml" "$@"
    code=$?
    if [ $code = 1 ]; then
        # Some tests race real processes: what fails is run once more, by itself, and must pass.
        python -m pytest --last-failed --junitxml "$OUT/report-$number-again.xml" "$@"
        code=$?
    fi
    [ $code = 5 ] && code=0
    return $code
}}
{starts}
failed=0
for process in $lanes; do wait "$process" || failed=1; done
cat "$OUT"/lane-*.log
exit $failed
"""


def pytest_job(lanes: list[list[str]]) -> str:
    """Return the script that runs each lane inside and leaves its report; the first one speaks."""
    starts = []
    for number, arguments in enumerate(lanes, 1):
        said = "" if number == 1 else f' >"$OUT/lane-{number}.log" 2>&1'
        starts.append(f'lane {number} {shlex.join(arguments)}{said} & lanes="$lanes $!"')
    return _JOB.format(demanded=DEMANDED, starts="\n".join(starts))


def _job(command: str, words: list[str]) -> str:
    """Return the shell script that a command stands for."""
    if command == "test":
        chosen = [shlex.split(lane.read_text(), comments=True) for lane in LANES]
        return pytest_job([[*lane, *words] for lane in chosen])
    if command == "pytest":
        return pytest_job([words])
    if command == "shell":
        return "stty sane; TERM=linux exec setsid -c bash -il </dev/hvc0 >/dev/hvc0 2>&1\n"
    return " ".join(words) + "\n"


def main() -> int:
    """Run one command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/vm", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("command", choices=["test", "pytest", "run", "shell", "build", "skips"])
    parser.add_argument("words", nargs=argparse.REMAINDER)
    parser.add_argument("--timeout", type=float, default=40, metavar="MINUTES")
    given = parser.parse_args()
    words = [word for word in given.words if word != "--"]
    # Asked to end, we end as after an error: the machine is switched off, its folder removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return _run(given.command, words, given.timeout * 60)
    except KeyboardInterrupt:
        print("vm: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


def _run(command: str, words: list[str], timeout_s: float) -> int:
    if command == "build":
        print(image())
        return 0
    if command == "skips":
        if len(words) != 1 or not Path(words[0]).is_file():
            sys.exit(f"vm: no report: {words}\nhint: make test ARGS='--junitxml build/test.xml'")
        return never_run(Path(words[0]), _reports())
    if command not in ("test", "pytest"):
        return boot(_job(command, words), timeout_s=timeout_s, interactive=command == "shell")
    image()  # before the clock starts: it is built once
    started, load = time.monotonic(), os.getloadavg()[0]
    code = boot(_job(command, words), timeout_s=timeout_s)
    minutes = (time.monotonic() - started) / 60
    print(f"vm: {summary(_reports())} in {minutes:.1f} min (load here before: {load:.1f})")
    return code


def _reports() -> list[Path]:
    """Return the last run's reports; what was run again comes after its first time."""
    return sorted(RESULTS.glob("report-*.xml"), key=lambda report: report.stem)


if __name__ == "__main__":
    sys.exit(main())

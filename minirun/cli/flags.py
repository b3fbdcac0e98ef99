"""The flags of ``run`` and ``create``, spelled as docker's: one row each.

Two readers share this table: ``fastline.py``, which needs no library, and click, which makes the
help page and finds out what is wrong with a line. What a value means is decided by
``container/flagtable.py``, which also refuses by name what minirun does not have.

Next: ``fastline.py``.
"""

from __future__ import annotations

from ..record import Record

SWITCH, ONE, MANY = "switch", "one", "many"


class Flag(Record):
    """One flag: its name without dashes, one letter or "", how often it may be given, its help."""

    name: str
    letter: str
    kind: str
    metavar: str
    help: str

    @property
    def key(self) -> str:
        """Return the name as ``from_flags`` takes it."""
        return _SAME.get(self.name, self.name).replace("-", "_")


#: Other spellings of the same flag.
_SAME = {"net": "network", "net-alias": "network-alias", "dns-opt": "dns-option"}

_ROWS = """
detach|d|switch||run in the background and print the container's id
interactive|i|switch||keep standard input open
tty|t|switch||give the program a terminal
rm||switch||remove the container when it ends
name||one|NAME|name of the container
publish|p|many|[IP:]PORT:PORT[/udp]|publish a port on the host; port 0 picks a free one
publish-all|P|switch||publish every port that the image exposes
volume|v|many|SOURCE:TARGET[:ro]|mount a directory of the host, or a volume
mount||many|type=…,source=…,target=…|mount a directory, a volume or a tmpfs
tmpfs||many|TARGET[:OPTIONS]|mount an empty file system in memory
env|e|many|NAME[=VALUE]|set a variable; without a value, take ours
env-file||many|FILE|read variables from a file
memory|m|one|SIZE|most memory that the container may use
memory-swap||one|SIZE|most memory and swap together; -1 is unlimited
memory-reservation||one|SIZE|memory to shrink to when the host is short of it
memory-swappiness||one|0-100|how eagerly pages are swapped out
oom-kill-disable||switch||do not kill for memory; needs --memory
oom-score-adj||one|-1000-1000|who is killed first when the host has no memory left
cpus||one|NUMBER|most processors' worth of time
cpu-shares|c|one|WEIGHT|share of time when processors are busy
cpu-period||one|MICROSECONDS|length of a scheduling period
cpu-quota||one|MICROSECONDS|time per scheduling period
cpu-rt-period||one|MICROSECONDS|length of a realtime period
cpu-rt-runtime||one|MICROSECONDS|realtime per period
cpuset-cpus||one|LIST|processors to run on, such as 0-2,7
cpuset-mems||one|LIST|memory nodes to allocate from
pids-limit||one|NUMBER|most processes and threads
blkio-weight||one|10-1000|share of block I/O
blkio-weight-device||many|PATH:WEIGHT|share of one device
device-read-bps||many|PATH:RATE|most bytes read per second
device-write-bps||many|PATH:RATE|most bytes written per second
device-read-iops||many|PATH:RATE|most reads per second
device-write-iops||many|PATH:RATE|most writes per second
shm-size||one|SIZE|size of /dev/shm
ulimit||many|NAME=SOFT[:HARD]|limit of a resource, see setrlimit(2)
user|u|one|USER[:GROUP]|who runs the program
group-add||many|GROUP|further groups
workdir|w|one|DIRECTORY|where the program starts
entrypoint||one|PROGRAM|instead of the image's
hostname|h|one|NAME|the container's name for itself
domainname||one|NAME|its NIS domain
read-only||switch||mount the root file system read-only
network||one|MODE|bridge, none, host or container:NAME
net||one|MODE|same as --network
network-alias||many|NAME|further names on the network
net-alias||many|NAME|same as --network-alias
add-host||many|NAME:ADDRESS|a line for /etc/hosts
dns||many|ADDRESS|name server
dns-search||many|DOMAIN|search domain
dns-option||many|OPTION|resolver option
dns-opt||many|OPTION|same as --dns-option
expose||many|PORT|say that the program listens there
ip||one|ADDRESS|address of the container
mac-address||one|ADDRESS|hardware address
cap-add||many|CAPABILITY|give a capability; ALL gives all
cap-drop||many|CAPABILITY|take a capability away; ALL takes all
privileged||switch||give every capability and device: no isolation from root
security-opt||many|OPTION|seccomp=FILE, no-new-privileges, …
device||many|PATH[:TARGET][:rwm]|let the container use a device
device-cgroup-rule||many|RULE|a rule of the device controller, such as 'c 42:* rmw'
sysctl||many|NAME=VALUE|a kernel setting of the container's namespaces
init||switch||run an init that reaps children and passes signals on
pid||one|MODE|host, private or container:NAME
ipc||one|MODE|host, private, none or container:NAME
uts||one|MODE|host or private
userns||one|MODE|host, private or auto (maps root to an ordinary user)
cgroupns||one|MODE|host or private
cgroup-parent||one|PATH|control group to be below
restart||one|POLICY|no, always, unless-stopped or on-failure[:MAX]
stop-signal||one|SIGNAL|what stop sends first
stop-timeout||one|SECONDS|how long stop waits before it kills
health-cmd||one|COMMAND|a check that exits with 0 when all is well
health-interval||one|DURATION|time between checks
health-timeout||one|DURATION|longest time that a check may take
health-start-period||one|DURATION|time to start in which failures do not count
health-start-interval||one|DURATION|time between checks while it starts
health-retries||one|NUMBER|failures in a row that make it unhealthy
no-healthcheck||switch||ignore the image's check
label|l|many|NAME[=VALUE]|a label
label-file||many|FILE|read labels from a file
annotation||many|NAME=VALUE|an annotation for the runtime
log-driver||one|DRIVER|json-file
log-opt||many|NAME=VALUE|max-size and max-file
attach|a|many|STREAM|show only stdin, stdout or stderr
sig-proxy||switch||pass signals on to the program (default; --sig-proxy=false turns it off)
detach-keys||one|KEYS|what detaches a terminal (ctrl-p,ctrl-q)
cidfile||one|FILE|write the container's id to a new file
platform||one|OS/ARCH|refuse an image of another platform
pull||one|POLICY|ask the registry for IMAGE when it is missing (default), always or never
quiet|q|switch||do not say what IMAGE was taken for
explain||switch||tell each step as it happens, and how long it takes
step||switch||wait for Enter after each step, for a look from a second terminal
link||many||
volumes-from||many||
volume-driver||one||
storage-opt||many||
gpus||one||
runtime||one||
isolation||one||
kernel-memory||one||
link-local-ip||many||
ip6||one||
disable-content-trust||switch||
use-api-socket||switch||
cpu-count||one||
cpu-percent||one||
io-maxbandwidth||one||
io-maxiops||one||
"""

FLAGS = tuple(Flag(*row.split("|")) for row in _ROWS.split("\n") if row)
#: Flags that concern this command line alone, not the container.
OWN = ("detach-keys", "quiet", "explain", "step", "pull")

"""Living beside docker and other firewalls: a forward policy of DROP, and forwarding itself.

Docker sets the policy of iptables' FORWARD chain to DROP, and so do many hand-written firewalls.
Our own table cannot overrule that, so our bridge is let through in the table that drops: in
docker's chain for such rules, DOCKER-USER, else in FORWARD. The rules carry a comment with the
bridge's name, by which they are found again. They are narrow: to the host's uplinks, between our
own containers, and answers; not into docker's own networks.

Only iptables' tables are known here. A base chain of somebody else's nftables table that drops
what is forwarded has to be told by its owner; see the README.

See: iptables(8), https://docs.docker.com/engine/network/packet-filtering-firewalls/.
Next: ``bridge.py``.
"""

from __future__ import annotations

import _socket
import errno
import struct

from ..errors import NetworkError, SyscallError
from .netlink import NLM_F_DUMP, Request, attributes, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .netlink import NetlinkSocket

_GETCHAIN, _GETRULE = 10 << 8 | 4, 10 << 8 | 7
_FAMILY_IP = struct.pack("=BBH", _socket.AF_INET, 0, 0)
_NFTA_CHAIN_TABLE, _NFTA_CHAIN_NAME, _NFTA_CHAIN_POLICY = 1, 3, 5
_NFTA_RULE_TABLE, _NFTA_RULE_CHAIN = 1, 2
_NF_DROP = 0


def forward_is_dropped(netfilter: NetlinkSocket) -> bool:
    """Return True when iptables' FORWARD chain drops by default. Costs one netlink request."""
    return _chain_policy(netfilter, "FORWARD") == _NF_DROP


def chain_exists(netfilter: NetlinkSocket, chain: str) -> bool:
    """Return True when iptables' filter table has such a chain."""
    return _chain_policy(netfilter, chain) is not None


def _chain_policy(netfilter: NetlinkSocket, chain: str) -> int | None:
    """Return the policy; -1 for a chain that has none; None where there is no such chain.

    iptables is a front end of nftables since Debian 10 and RHEL 8: its chains are nft chains.
    """
    body = _FAMILY_IP + text(_NFTA_CHAIN_TABLE, "filter") + text(_NFTA_CHAIN_NAME, chain)
    try:
        (reply,) = netfilter.request(Request(_GETCHAIN, 0, body, f"NFT_MSG_GETCHAIN {chain}"))
    except SyscallError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    policy = attributes(reply.body[len(_FAMILY_IP) :]).get(_NFTA_CHAIN_POLICY)
    return int.from_bytes(policy, "big") if policy else -1


def accept_rules(bridge: str, uplinks: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Return the rules' iptables arguments; pure.

    >>> accept_rules("minirun0", ["eth0"])[0]
    ('-i', 'minirun0', '-o', 'eth0')
    """
    return (
        *(("-i", bridge, "-o", uplink) for uplink in uplinks),
        ("-i", bridge, "-o", bridge),
        ("-o", bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED,DNAT"),
    )


def let_through(netfilter: NetlinkSocket, bridge: str, uplinks: Iterable[str]) -> None:
    """Insert our rules where the host's firewall is asked first; they are not added twice."""
    chain = "DOCKER-USER" if chain_exists(netfilter, "DOCKER-USER") else "FORWARD"
    if _has_our_rules(netfilter, chain, bridge):
        return
    for rule in accept_rules(bridge, uplinks):
        tagged = (*rule, "-m", "comment", "--comment", _tag(bridge), "-j", "ACCEPT")
        if _iptables("-I", chain, *tagged) is None:
            message = "the host's firewall drops forwarded packets, and iptables cannot change it"
            hint = f"let packets from and to {bridge} pass the chain FORWARD"
            raise NetworkError(message, hint=hint)


def _has_our_rules(netfilter: NetlinkSocket, chain: str, bridge: str) -> bool:
    """Look for our comment in the raw rules: running iptables would cost more than a container."""
    body = _FAMILY_IP + text(_NFTA_RULE_TABLE, "filter") + text(_NFTA_RULE_CHAIN, chain)
    rules = netfilter.request(Request(_GETRULE, NLM_F_DUMP, body, f"NFT_MSG_GETRULE {chain}"))
    return any(_tag(bridge).encode() + b"\0" in rule.body for rule in rules)


def withdraw(bridge: str) -> None:
    """Delete our rules from whichever chain they are in."""
    import shlex  # and re with it: most hosts have no legacy rules to read

    for line in (_iptables("-S") or "").splitlines():
        words = shlex.split(line)
        if words[:1] == ["-A"] and _tag(bridge) in words:
            _iptables("-D", *words[1:])


def _tag(bridge: str) -> str:
    return f"minirun:{bridge}"


def _iptables(*arguments: str) -> str | None:
    """Return what iptables printed, or None when it failed or is not installed."""
    import subprocess

    try:
        done = subprocess.run(
            ["iptables", "-w", *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None

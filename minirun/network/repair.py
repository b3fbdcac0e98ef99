"""The kernel made to agree with the ledger: after a crash, a firewall's reload, and at the end.

No start needs it, so the package does not import it.

See: ``leases.py``, the truth that everything else is made from. Next: ``files.py``, names for
addresses.
"""

from __future__ import annotations

import os

from ..host import in_user_namespace
from . import bridge, firewall
from .connect import delete_cable, withdraw
from .leases import Ledger
from .netlink import NETLINK_NETFILTER, NetlinkSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from .bridge import Names, Network
    from .leases import Lease


def remove_bridge() -> None:
    """Delete bridge, table and ledger, and restore the host; for ``system prune``.

    Raises:
        NetworkError: containers are connected to it.
    """
    ours = bridge.names()
    if in_user_namespace() or (not os.path.isdir(ours.folder) and bridge.find(ours) is None):
        return
    with Ledger(ours.folder) as book:
        for lease in book.dead():
            withdraw(book, ours, lease)
        bridge.remove(book, ours)


def reconcile(live_ids: Collection[str], state_dir: str) -> tuple[str, ...]:
    """Make the kernel agree with which containers are alive, after a crash or a firewall reload.

    Args:
        live_ids: the containers of this state root that run.
        state_dir: the state root; leases of other roots go only when their folder is gone.

    Returns:
        The containers whose leases were taken back.
    """
    if in_user_namespace():
        from . import usermode

        return usermode.reconcile(live_ids, state_dir)
    ours = bridge.names()
    if not os.path.isdir(ours.folder):
        return ()
    with Ledger(ours.folder) as book:
        released = [lease for lease in book.leases.values() if _is_over(lease, live_ids, state_dir)]
        for lease in released:
            withdraw(book, ours, lease)
        network = bridge.find(ours)
        if network:
            _sweep(book, ours, network)
    return tuple(lease.container_id for lease in released)


def _is_over(lease: Lease, live_ids: Collection[str], state_dir: str) -> bool:
    here = os.path.dirname(lease.home) == state_dir.rstrip("/")
    return (here and lease.container_id not in live_ids) or not os.path.isdir(lease.home)


def _sweep(book: Ledger, ours: Names, network: Network) -> None:
    """Remove from the kernel what no lease names, and restore what one does."""
    known = {lease.veth for lease in book.leases.values()}
    for name in bridge.ports_of(network):
        if name.startswith("mr-") and name not in known:
            delete_cable(name)
    with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
        if not firewall.table_exists(netfilter, ours.table):
            bridge.ensure(book, ours)
        firewall.rebuild(netfilter, ours.table, book.leases.values())

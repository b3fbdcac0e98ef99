"""Netlink by hand: how a program talks to the kernel about links, addresses, routes and filters.

Netlink is a datagram socket whose peer is the kernel. A request is a header, a fixed struct that
depends on the kind of request, and attributes: (length, type, value) triples padded to four bytes,
which may hold attributes themselves.

    ┌ nlmsghdr ────────────────────────┐┌ family's struct ┐┌ attribute ─────────────┐┌ … ┐
    │ length kind flags sequence port  ││ e.g. ifinfomsg  ││ length type value (pad)││   │
    └──────────────────────────────────┘└─────────────────┘└────────────────────────┘└───┘

Several requests travel in one ``sendmsg`` and each is acknowledged on its own, so that setting up
a container's interface is one system call and not five programs. ``docs/decisions`` says why this
is written out and not taken from a library.

See: netlink(7), rtnetlink(7). May not know what a container is. Next: ``links.py``.
"""

from __future__ import annotations

import _socket
import os
import struct

from ..errors import SyscallError
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLA_F_NESTED = 0x8000

# Socket options that <linux/netlink.h> has and Python's socket module has not.
_SOL_NETLINK = 270
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_FIT_BY_DEFAULT = 64
_NLM_F_CAPPED = 0x100
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_BUFFER_BYTES = 1 << 20


class Request(Record):
    """One message to the kernel.

    Args:
        kind: RTM_…, or subsystem << 8 | NFT_MSG_….
        flags: NLM_F_…; NLM_F_REQUEST is implied.
        body: the family's struct and the attributes.
        call: what it does, for error messages: ``RTM_NEWADDR 10.213.0.2/16 dev eth0``.
    """

    kind: int
    flags: int
    body: bytes
    call: str


class Reply(Record):
    """One message from the kernel, without its header."""

    kind: int
    body: bytes


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded.

    >>> attribute(3, b"lo" + bytes(1)).hex(" ")
    '07 00 03 00 6c 6f 00 00'
    """
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def text(kind: int, value: str) -> bytes:
    """Return an attribute that holds a NUL-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def u32(kind: int, value: int) -> bytes:
    """Return an attribute that holds a 32-bit number in this machine's byte order."""
    return attribute(kind, struct.pack("=I", value))


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def attributes(data: bytes) -> dict[int, bytes]:
    """Return {type: value} of a run of attributes; of equal types the last one counts.

    >>> attributes(attribute(1, b"ab") + attribute(3, b"lo"))
    {1: b'ab', 3: b'lo'}
    """
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        found[kind & ~NLA_F_NESTED] = data[_ATTRIBUTE.size : length]
        data = data[length + 3 & ~3 :]
    return found


class NetlinkSocket:
    """A netlink socket of the network namespace that this process is in when it is made.

    It keeps speaking to that namespace afterwards: entering a container's namespace, opening one
    and returning leaves a handle on the container's network. See: network_namespaces(7).

    Args:
        protocol: NETLINK_ROUTE or NETLINK_NETFILTER.
    """

    def __init__(self, protocol: int) -> None:
        self._socket = _socket.socket(
            _socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, protocol
        )
        # Extended acks turn EINVAL into a sentence; strict checking makes dumps obey their filter.
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        self._sequence = 0

    def __enter__(self) -> NetlinkSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def request(self, *requests: Request) -> list[Reply]:
        """Send the requests in one datagram, wait until each is answered, return what was asked.

        Raises:
            SyscallError: the kernel refused one. In a route batch the others are still carried
                out; a netfilter batch is one transaction, of which nothing remains. The socket is
                not to be used again, because answers may still be queued.
        """
        sent = zip(self._send(requests), requests, strict=True)
        open_sequences = {number: request for number, request in sent if request not in _MARKS}
        replies = []
        while open_sequences:
            data = self._socket.recv(_BUFFER_BYTES)
            for kind, flags, sequence, body in _messages(data):
                if kind == NLMSG_ERROR:
                    _raise_if_refused(requests, open_sequences.get(sequence), flags, body)
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    open_sequences.pop(sequence, None)
                else:
                    replies.append(Reply(kind, body))
        return replies

    def send_batch(self, requests: Sequence[Request]) -> None:
        """Like request, between the two marks that make netfilter requests one transaction.

        The marks are not waited for: they are acknowledged only since Linux 6.10.
        """
        self.request(_BATCH_BEGIN, *requests, _BATCH_END)

    def _send(self, requests: Sequence[Request]) -> list[int]:
        """Send one datagram; returns the sequence numbers of the requests."""
        first = self._sequence + 1
        self._sequence += len(requests)
        datagram = b"".join(
            _encode(request, sequence) for sequence, request in enumerate(requests, first)
        )
        if len(requests) > _FIT_BY_DEFAULT:
            self._make_room(len(datagram), len(requests))
        self._socket.send(datagram)
        return list(range(first, self._sequence + 1))

    def _make_room(self, datagram_bytes: int, acks: int) -> None:
        """Enlarge the buffers beyond their default of some 200 KiB; needs CAP_NET_ADMIN.

        The acks come faster than they can be read, and each takes up almost a kilobyte in the
        kernel's accounting: too many of them are not delivered (ENOBUFS).
        """
        self._socket.setsockopt(_socket.SOL_SOCKET, _SO_SNDBUFFORCE, 2 * datagram_bytes)
        self._socket.setsockopt(_socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1024 * acks)


def _encode(request: Request, sequence: int) -> bytes:
    flags = request.flags | NLM_F_REQUEST
    # A dump ends with NLMSG_DONE; everything else ends with the ack that is asked for here.
    if flags & NLM_F_DUMP != NLM_F_DUMP and request not in _MARKS:
        flags |= NLM_F_ACK
    length = _HEADER.size + len(request.body)
    header = _HEADER.pack(length, request.kind, flags, sequence, 0)
    return header + request.body + bytes(-length % 4)


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield (kind, flags, sequence, body) of every message in a datagram."""
    while data:
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data)
        yield kind, flags, sequence, data[_HEADER.size : length]
        data = data[length + 3 & ~3 :]


def _raise_if_refused(
    requests: Sequence[Request], request: Request | None, flags: int, body: bytes
) -> None:
    """Raise unless an NLMSG_ERROR carries the error 0, which is an ack."""
    (error,) = struct.unpack_from("=i", body)
    if error == 0:
        return
    explanation = b""
    if flags & _NLM_F_ACK_TLVS:
        # Behind the error: the refused message (its header alone when capped), then attributes.
        (echoed,) = struct.unpack_from("=I", body, 4)
        skip = 4 + (_HEADER.size if flags & _NLM_F_CAPPED else echoed + 3 & ~3)
        explanation = attributes(body[skip:]).get(_NLMSGERR_ATTR_MSG, b"")
    call = (request or requests[0]).call
    said = explanation.rstrip(b"\0").decode(errors="replace")
    raise SyscallError(call, -error, hint=f"the kernel says: {said}" if said else "")


# struct nfgenmsg of <linux/netfilter/nfnetlink.h>, whose resource id names nftables (10).
_NFTABLES = struct.pack("=BB", 0, 0) + struct.pack(">H", 10)
_BATCH_BEGIN = Request(0x10, 0, _NFTABLES, "NFNL_MSG_BATCH_BEGIN")
_BATCH_END = Request(0x11, 0, _NFTABLES, "NFNL_MSG_BATCH_END")
_MARKS = (_BATCH_BEGIN, _BATCH_END)


def write_sysctl(name: str, value: str) -> None:
    """Set a kernel parameter; ``net.*`` are those of this process's network namespace.

    Args:
        name: with slashes, because interface names may hold dots: ``net/ipv4/ip_forward``.
        value: its text.

    See: sysctl(8), proc_sys_net(5).
    """
    fd = os.open(f"/proc/sys/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)

"""The channel between the processes of a start: messages, descriptors, failures, silence."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from minirun.errors import HostError, MinirunError, StepError
from minirun.sync import Channel, Gone

Pair = tuple[Channel, Channel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = Channel.pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_messages_arrive_whole_and_in_order(pair: Pair) -> None:
    ours, theirs = pair
    for number in range(3):
        ours.send({"go": number, "text": "é\n" * 1000})
    assert [theirs.receive()[0]["go"] for _ in range(3)] == [0, 1, 2]
    theirs.send({"done": True})
    assert ours.receive() == ({"done": True}, [])


def test_ends_are_close_on_exec(pair: Pair) -> None:
    assert not any(os.get_inheritable(end.fileno()) for end in pair)


def test_descriptors_travel_in_order_and_close_on_exec(pair: Pair) -> None:
    ours, theirs = pair
    pipes = [os.pipe() for _ in range(3)]
    ours.send({"fds": 3}, [write for _, write in pipes])
    message, received = theirs.receive()
    assert message == {"fds": 3}
    assert not any(os.get_inheritable(fd) for fd in received)
    for number, fd in enumerate(received):
        os.write(fd, bytes([number]))
    assert [os.read(read, 9) for read, _ in pipes] == [b"\0", b"\1", b"\2"]
    for fd in [*received, *(end for both in pipes for end in both)]:
        os.close(fd)


def test_closed_end_is_gone_for_reader_and_writer(pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(Gone):
        ours.receive()
    with pytest.raises(Gone):
        ours.send({})


def test_unread_messages_before_the_end_are_gone_too(pair: Pair) -> None:
    """What if the other side dies with our message in its queue? The kernel says ECONNRESET."""
    ours, theirs = pair
    ours.send({"go": 1})
    theirs.close()
    with pytest.raises(Gone):
        ours.receive()


def test_message_that_is_cut_off_is_refused(pair: Pair) -> None:
    """What if a message is longer than what is read at once? Half of one must not be obeyed."""
    ours, theirs = pair
    ours.send({"text": "x" * 70000})
    with pytest.raises(MinirunError, match="cut off"):
        theirs.receive()


def test_error_is_revived_with_step_hint_and_code(pair: Pair) -> None:
    ours, theirs = pair
    ours.send_error(HostError("no overlay", hint="modprobe", exit_code=126), step="root", lane="I")
    with pytest.raises(StepError) as caught:
        theirs.receive()
    error = caught.value
    assert str(error) == "root failed: no overlay"
    assert (error.step, error.lane, error.reason) == ("root", "I", "no overlay")
    assert (error.hint, error.exit_code) == ("modprobe", 126)


def test_error_of_a_step_is_not_said_twice(pair: Pair) -> None:
    ours, theirs = pair
    ours.send_error(StepError("root", "I", "EINVAL", hint="h", exit_code=127), step="x", lane="I")
    with pytest.raises(StepError, match=r"^x failed: EINVAL$") as caught:
        theirs.receive()
    assert (caught.value.hint, caught.value.exit_code) == ("h", 127)


def test_error_that_is_not_ours_gets_125(pair: Pair) -> None:
    ours, theirs = pair
    ours.send_error(ValueError("odd"), step="root", lane="M")
    with pytest.raises(MinirunError, match="root failed: odd") as caught:
        theirs.receive()
    assert (caught.value.hint, caught.value.exit_code) == ("", 125)


def test_error_that_nobody_hears_is_dropped(pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    ours.send_error(ValueError("odd"), step="root", lane="M")

"""The seven instructions that our own parts of a filter are made of.

A filter is a classic BPF program: one accumulator, forward jumps, and ``ret``. It reads the call
from a struct seccomp_data: the number at offset 0, the architecture at 4, and from 16 on the six
arguments, 64 bits each, of which an instruction can load 32.

See: seccomp(2); bpf(4); <linux/bpf_common.h> for the codes.

Pure. Next: ``enosys.py``.
"""

from __future__ import annotations

import struct

OFFSET_NUMBER, OFFSET_ARCH, _OFFSET_ARGUMENTS = 0, 4, 16
JEQ, JGT, JGE, JSET = 0x15, 0x25, 0x35, 0x45
_LOAD, _AND, _JUMP, _RETURN = 0x20, 0x54, 0x05, 0x06


def load(offset: int) -> bytes:
    """``ld [offset]``: 32 bits of the call into the accumulator."""
    return _instruction(_LOAD, offset)


def load_argument(index: int, *, high: bool) -> bytes:
    """``ld`` one half of an argument; x86_64 and aarch64 keep the low half first."""
    return load(_OFFSET_ARGUMENTS + 8 * index + (4 if high else 0))


def mask(value: int) -> bytes:
    """``and #value``."""
    return _instruction(_AND, value)


def jump(code: int, value: int, if_true: int, if_false: int) -> bytes:
    """Compare the accumulator with a value; skip up to 255 instructions either way."""
    return _instruction(code, value, if_true, if_false)


def skip(instructions: int) -> bytes:
    """``ja``: skip any number of instructions."""
    return _instruction(_JUMP, instructions)


def give(verdict: int) -> bytes:
    """``ret #verdict``: the program ends."""
    return _instruction(_RETURN, verdict)


def only_for(offset: int, value: int, body: bytes) -> bytes:
    """Run the body where the call has this value at the offset; jump over it elsewhere."""
    return load(offset) + jump(JEQ, value, 1, 0) + skip(len(body) // 8) + body


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """Return a struct sock_filter."""
    return struct.pack("=HBBI", code, if_true, if_false, value)

"""The messages between a keeper and the user's program."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

# What the first byte of a message asks for; what the descriptors that come with it are.
START = b"s"  # a file with the command, its standard streams, a pipe for its status
FORK = b"f"  # the channel of the new keeper
KILL = b"k"  # optionally: a pipe that is closed when all are ended
RELEASE = b"r"  # nothing; end when the last process has ended by itself

# What goes through a status pipe: first the process's number, or minus the errno if it could not be started; then,
# at its end, its exit code, or minus the signal that ended it.
STATUS = struct.Struct("=i")

# Seconds between SIGTERM and SIGKILL, and again for SIGKILL to do its work.
KILL_GRACE = 1.0

# How descriptors are packed: the most that one message has, and the size of one.
_MOST_DESCRIPTORS = 5
_DESCRIPTOR = struct.Struct("=i")


def say(channel: socket.socket, message: bytes, descriptors: Sequence[int]) -> None:
    """Send a message. As ``socket.send_fds``, which takes flags and leaves them out."""
    packed = b"".join(map(_DESCRIPTOR.pack, descriptors))
    channel.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)], socket.MSG_NOSIGNAL)


def receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """A message and its descriptors, which no command inherits; an empty one is the end."""
    room = socket.CMSG_LEN(_MOST_DESCRIPTORS * _DESCRIPTOR.size)
    message, ancillary, _, _ = channel.recvmsg(1, room, socket.MSG_CMSG_CLOEXEC)
    return message, [number for _, _, data in ancillary for (number,) in _DESCRIPTOR.iter_unpack(data)]

"""Lanes: what goes first on a connection.

A lane is a first-in-first-out queue of frames. Between lanes there is strict priority and *no order*: a
frame of a higher lane overtakes all of lower ones, even one that is half sent (see `net.frames`). Within a
lane order is kept, and a frame arrives whole or not at all.
"""

from enum import IntEnum


class Lane(IntEnum):
    """Priority order, the smallest first. The number is on the wire."""

    CONSENSUS = 0
    """Votes, certificates, headers, pull requests: what finality waits for. Never dropped: a peer whose
    queue is full is disconnected, because a vote that is silently lost costs a timeout of the protocol,
    while a reconnect makes both engines resynchronise at once."""

    BLOCKS = 1
    """Block bodies and catch-up: large, needed within the view, but a vote must not wait for one."""

    CANDIDATES = 2
    """Candidates, PoVs, statements."""

    TRANSACTIONS = 3
    """Gossip of transactions and evidence."""

    BULK = 4
    """Everything that can wait: history for peers far behind."""

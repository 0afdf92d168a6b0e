"""The history of a run, as a digest and, when asked for, as lines: what makes a replay provably a replay."""

import hashlib
from typing import Final

from consensus.agreement.messages import Chain, GetChain, Message, Proposal, Vote, block_hash

DIGEST_BYTES: Final = 16


class Trace:
    """Every delivery, crash, start and final block in order. Lines are kept only if `keep`."""

    def __init__(self, *, keep: bool) -> None:
        self.lines: list[str] = []
        self._keep = keep
        self._hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)

    def note(self, time_us: int, text: str) -> None:
        """Add one event."""
        self._hasher.update(f"{time_us} {text}\n".encode())
        if self._keep:
            self.lines.append(f"{time_us / 1_000:12.3f} ms  {text}")

    def delivery(self, time_us: int, source: int, destination: int, message: Message) -> None:
        """Add the most frequent event, described in full only if lines are kept."""
        kind = type(message).__name__
        view = getattr(message, "view", 0)
        self._hasher.update(b"%d %d %d %d " % (time_us, source, destination, view) + kind.encode())
        if self._keep:
            self.lines.append(f"{time_us / 1_000:12.3f} ms  {source} > {destination} {describe(message)}")

    def digest(self) -> str:
        """A hash over all events so far, as hexadecimal digits."""
        return self._hasher.hexdigest()


def describe(message: Message) -> str:
    """A message in a few words: its type and what it is about."""
    name = type(message).__name__
    if isinstance(message, Proposal):
        body = "" if message.payload is not None else " (no body)"
        return f"{name} {message.header.view} {block_hash(message.header).hex()[:8]}{body}"
    if isinstance(message, Vote):
        return f"{name} {message.kind} of {message.signer} in {message.view} {message.block.hex()[:8]}"
    if isinstance(message, Chain | GetChain):
        return f"{name} {message.first}"
    view = getattr(message, "view", getattr(message, "cur_view", ""))
    kind = getattr(message, "ctype", getattr(message, "want", ""))
    return f"{name} {kind} {view}"

"""One call into a guest, in this process (DESIGN.md section 7)."""

from consensus.primitives.guest import GuestCall, GuestOutcome, ReadState


def execute(call: GuestCall, read: ReadState) -> GuestOutcome:
    """Run `call` to its end and say what it did; the same on every machine.

    Raises what `read` raises, and LocalFault if this machine can not run it; never for what a guest does.
    """
    raise NotImplementedError

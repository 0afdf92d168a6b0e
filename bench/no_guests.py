"""Guests for chains whose blocks call none: what a bench hands to the transition where no Wasm is to run."""

from consensus.primitives.guest import GuestCall, GuestOutcome, ReadState


class NoGuests:
    """Admits nothing and runs nothing: either is a mistake of the bench."""

    def admit(self, wasm: bytes) -> str | None:
        """Raises RuntimeError."""
        raise RuntimeError("no module is deployed here")

    def call(self, call: GuestCall, read: ReadState) -> GuestOutcome:
        """Raises RuntimeError."""
        raise RuntimeError("no guest is called here")

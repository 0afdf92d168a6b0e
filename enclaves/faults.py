"""How a guest can end its own call other than by returning. None of these is an error of this machine."""


class GuestTrap(Exception):
    """Illegal instruction, memory out of bounds, stack exhausted, or the ABI used wrongly: TRAPPED."""


class GuestOversize(Exception):
    """A cap of the ABI was passed: OVERSIZE."""


class GuestFailed(Exception):
    """The guest called `abort` with this text, having so much fuel left: FAILED."""

    def __init__(self, text: str, fuel_left: int) -> None:
        super().__init__(text)
        self.fuel_left = fuel_left


class FuelExhausted(Exception):
    """The guest could not pay for what came next: OUT_OF_FUEL."""

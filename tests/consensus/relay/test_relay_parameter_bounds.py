"""A genesis can not ask for blocks or PoVs that no message could carry."""

import pytest

from consensus.agreement.messages import MAX_BLOCK_BYTES
from consensus.candidates.receipts import MAX_POV_BYTES
from consensus.relay.parameters import Parameters


@pytest.mark.parametrize(
    ("name", "bound"), [("max_block_bytes", MAX_BLOCK_BYTES), ("max_pov_bytes", MAX_POV_BYTES)]
)
def test_sizes_are_bounded_by_the_wire(name: str, bound: int) -> None:
    assert getattr(Parameters(**{name: bound}), name) == bound
    with pytest.raises(ValueError, match=name):
        Parameters(**{name: bound + 1})


@pytest.mark.parametrize(("step", "fits"), [(0, False), (1, True), (10**9, True), (10**9 + 1, False)])
def test_a_commission_can_always_change_and_by_no_more_than_all(step: int, fits: bool) -> None:
    if fits:
        assert Parameters(commission_step_ppb=step).commission_step_ppb == step
    else:
        with pytest.raises(ValueError, match="commission_step_ppb"):
            Parameters(commission_step_ppb=step)

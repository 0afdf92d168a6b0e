"""What the chaos runs rest on, without their processes."""

import random

from bench.chaos_equivocate import dials_all
from consensus.primitives.ids import PublicKey
from net.transport import Transport

NETWORK_ID = bytes(32)


async def _receive(peer, lane, frame) -> None:
    raise AssertionError("nothing runs")


def transport(seed: bytes) -> Transport:
    """One that is not run."""
    return Transport(
        identity_seed=seed,
        network_id=NETWORK_ID,
        listen=None,
        peers={},
        authorised=lambda peer: True,
        receive=_receive,
        on_peer_up=lambda peer: None,
        on_peer_down=lambda peer, reason: None,
    )


def test_whoever_runs_twice_is_dialled_by_nobody() -> None:
    """Otherwise who dials it reaches one of the two alone, and with the greatest identity all do."""
    chosen = random.Random(1)
    for count in (4, 7, 16):
        nodes = [transport(chosen.randbytes(32)) for _ in range(count)]
        culprit = dials_all([PublicKey(each.peer_id) for each in nodes])
        twice = nodes[culprit].peer_id
        assert not any(each._we_dial(twice) for each in nodes if each.peer_id != twice)

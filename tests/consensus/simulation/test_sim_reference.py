"""The literal rules of the checkers, against the engine's own: two writers, one specification."""

from itertools import product

import pytest

from consensus.agreement.evidence import offence
from consensus.agreement.messages import Kind
from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import Validator, ValidatorSet
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, PublicKey, Stake, View
from consensus.simulation.reference import Rulebook, offence_of
from consensus.simulation.signatures import SignatureOracle

CHAIN = hash_tagged(b"TALLY/genesis/1", b"test")
BLOCKS = [Hash(bytes([number]) * 32) for number in (1, 2, 3)]


def every_vote() -> list[tuple[Kind, Hash, Hash]]:
    votes = [(Kind.SKIP, ZERO_HASH, ZERO_HASH)]
    for kind in (Kind.PROPOSE, Kind.NOTARIZE, Kind.SFALL, Kind.FINALIZE):
        votes += [(kind, block, ZERO_HASH) for block in BLOCKS]
    votes += [
        (Kind.NFALL, block, aux) for block, aux in product(BLOCKS, [ZERO_HASH, *BLOCKS]) if block != aux
    ]
    return votes


def test_both_writers_convict_the_same_pairs() -> None:
    for a, b in product(every_vote(), repeat=2):
        assert (offence_of(a, b) is None) == (offence(a, b) is None), (a, b)


def test_conviction_is_symmetric() -> None:
    for a, b in product(every_vote(), repeat=2):
        assert offence_of(a, b) == offence_of(b, a)


@pytest.mark.parametrize(
    "stakes", [(1,), (1, 1), (1, 1, 1), (1,) * 4, (1,) * 7, (2, 2, 2, 1), (3, 1, 2, 2, 1), (1,) * 10]
)
def test_both_writers_compute_the_same_thresholds(stakes: tuple[int, ...]) -> None:
    validators = ValidatorSet(
        [
            Validator(key=PublicKey(bytes([index]) * 32), stake=Stake(stake))
            for index, stake in enumerate(stakes)
        ],
        chain_id_hash=CHAIN,
        epoch=Epoch(1),
        mode=Mode.STRICT,
    )
    rules = Rulebook(validators, CHAIN, Epoch(1), SignatureOracle().verify)
    assert rules.faulty == validators.stake.faulty
    assert rules.quorum == validators.stake.quorum
    for view in range(1, 70):
        assert rules.total - rules.missing(View(view)) == validators.thresholds(View(view)).fast
        assert rules.faulty + rules.missing(View(view)) + 1 == validators.thresholds(View(view)).fallback

"""What the pool may hold is bounded, whatever is sent to it."""

import pytest

from consensus.primitives.crypto import SigningKey
from consensus.primitives.errors import InvalidTransaction
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import (
    RELAY_CHAIN,
    ZERO_HASH,
    Amount,
    Fuel,
    ModuleId,
    Nonce,
    SecretSeed,
)
from consensus.relay.blocks import encode_payload
from consensus.relay.ledger import AccountRecord
from consensus.relay.parameters import Parameters
from consensus.relay.transactions import (
    Action,
    CallEnclave,
    CheckedTransaction,
    DeployEnclave,
    TransactionBody,
    Transfer,
    check_transaction,
    sign_transaction,
)
from node.mempool import PAYLOAD_OVERHEAD_BYTES, Mempool, MempoolLimits

KEY = SigningKey(SecretSeed(bytes(range(32))))
RICH = AccountRecord(balance=10**20, nonce=0)


def checked(action: Action, max_fee: int = 10**9) -> CheckedTransaction:
    body = TransactionBody(
        chain_id_hash=ZERO_HASH, sender=KEY.public, nonce=Nonce(0), max_fee=Amount(max_fee), action=action
    )
    return check_transaction(sign_transaction(KEY, body), ZERO_HASH)


def transfer() -> Transfer:
    return Transfer(to=KEY.public, amount=Amount(1))


def test_replacing_a_small_transaction_by_a_large_one_keeps_the_bound_of_bytes() -> None:
    pool = Mempool(ZERO_HASH, Parameters(), MempoolLimits(bytes=10_000))
    small = checked(transfer())
    pool.admit(small, lambda _: RICH)
    with pytest.raises(InvalidTransaction, match="full"):
        pool.admit(checked(DeployEnclave(code=bytes(20_000)), max_fee=2 * 10**9), lambda _: RICH)
    assert small.hash in pool
    assert pool.bytes == len(small.raw)


def test_what_no_block_can_carry_is_refused() -> None:
    pool = Mempool(ZERO_HASH, Parameters(max_block_bytes=4_096))
    with pytest.raises(InvalidTransaction, match="too many for a block"):
        pool.admit(checked(DeployEnclave(code=bytes(4_096))), lambda _: RICH)
    instance = InstanceEndpoint(module=ModuleId(bytes(32)), chain=RELAY_CHAIN)
    with pytest.raises(InvalidTransaction, match="weighs"):
        pool.admit(
            checked(CallEnclave(instance=instance, input=b"", fuel_limit=Fuel(10**12))), lambda _: RICH
        )
    assert len(pool) == 0


@pytest.mark.parametrize("size", [10, 1_000, 100_000])
def test_a_payload_adds_no_more_than_was_allowed_for(size: int) -> None:
    raw = checked(DeployEnclave(code=bytes(size))).raw
    assert len(encode_payload([raw])) <= len(raw) + PAYLOAD_OVERHEAD_BYTES

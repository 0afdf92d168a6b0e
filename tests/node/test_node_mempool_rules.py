"""The mempool: whatever is offered, its bounds, orders and promises hold; what is refused changes nothing."""

import random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.primitives.crypto import SigningKey
from consensus.primitives.errors import InvalidTransaction
from consensus.primitives.ids import ZERO_HASH, Amount, Nonce, SecretSeed
from consensus.relay.ledger import AccountRecord
from consensus.relay.parameters import Parameters
from consensus.relay.transactions import (
    CheckedTransaction,
    DeployEnclave,
    TransactionBody,
    Transfer,
    check_transaction,
    sign_transaction,
)
from node.mempool import Mempool, MempoolLimits

USERS = [SigningKey(SecretSeed(bytes([index]) * 32)) for index in range(1, 6)]
RICH = AccountRecord(balance=10**15, nonce=0)
WHOLE = {"max_bytes": 10**7, "max_weight": 10**9, "max_transactions": 10**6}


def rich(nonce: int) -> AccountRecord:
    return AccountRecord(balance=RICH.balance, nonce=nonce)


def raw_of(user: int, nonce: int, fee: int = 10**6, size: int = 0, amount: int = 1) -> bytes:
    action = DeployEnclave(code=bytes(size)) if size else Transfer(to=USERS[0].public, amount=Amount(amount))
    body = TransactionBody(
        chain_id_hash=ZERO_HASH,
        sender=USERS[user].public,
        nonce=Nonce(nonce),
        max_fee=Amount(fee),
        action=action,
    )
    return sign_transaction(USERS[user], body)


def checked(user: int, nonce: int, fee: int = 10**6, size: int = 0, amount: int = 1) -> CheckedTransaction:
    return check_transaction(raw_of(user, nonce, fee, size, amount), ZERO_HASH)


def pool_of(**limits: int) -> Mempool:
    return Mempool(ZERO_HASH, Parameters(), MempoolLimits(**limits))


def refusal_of(pool: Mempool, each: CheckedTransaction) -> str | None:
    """Why it was not admitted; None if it was."""
    try:
        pool.admit(each, lambda _: RICH)
    except InvalidTransaction as refusal:
        return str(refusal)
    return None


def picked(pool: Mempool, **nonces: int) -> list[tuple[int, int]]:
    """(user, nonce) of what would go into a block without limits."""
    names = {user.public: index for index, user in enumerate(USERS)}
    first = {USERS[int(user[1:])].public: nonce for user, nonce in nonces.items()}
    chosen = pool.select(lambda accounts: [rich(first.get(each, 0)) for each in accounts], **WHOLE)
    return [(names[each.body.sender], each.body.nonce) for each in chosen]


OFFERS = st.tuples(
    st.integers(0, 4),
    st.integers(0, 7),
    st.sampled_from([10**6, 10**6 + 1, 2 * 10**6]),
    st.sampled_from([0, 0, 900]),
)


@given(offers=st.lists(OFFERS, max_size=40), blocks=st.lists(st.integers(0, 40), max_size=3))
@settings(max_examples=40, deadline=None)
def test_bounds_hold_and_refusals_change_nothing(offers, blocks) -> None:
    limits = MempoolLimits(transactions=8, bytes=3_000, per_account=6)
    pool = Mempool(ZERO_HASH, Parameters(), limits)
    mirror: dict[tuple[int, int], CheckedTransaction] = {}
    for number, offer in enumerate(offers):
        user, nonce, *_ = offer
        each = checked(*offer)
        before = (len(pool), pool.bytes, picked(pool))
        refusal = refusal_of(pool, each)
        if refusal is not None:
            assert (len(pool), pool.bytes, picked(pool)) == before
            assert refusal.strip()
            assert "\n" not in refusal
        else:
            mirror[user, nonce] = each
            assert each.hash in pool
        mirror = {at: held for at, held in mirror.items() if held.hash in pool}
        assert len(pool) == len(mirror) <= limits.transactions
        assert pool.bytes == sum(len(held.raw) for held in mirror.values()) <= limits.bytes
        if number in blocks:  # a block takes what can go
            chosen = pool.select(lambda accounts: [RICH] * len(accounts), **WHOLE)
            pool.advance(chosen, lambda account: RICH)
            assert len(pool) == len(mirror), "no nonce has passed: nothing leaves"
    for user in range(5):
        run = [nonce for who, nonce in picked(pool) if who == user]
        assert run == list(range(len(run))), "consecutive nonces, from the account's next one"
        assert (user, len(run)) not in mirror, "and as many as there are"


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_eviction_takes_ends_of_long_queues_so_that_nothing_is_stranded(seed) -> None:
    chance = random.Random(seed)
    pool = pool_of(transactions=10, bytes=10**6)
    queues = dict.fromkeys(range(5), 0)
    for _ in range(40):
        user = chance.randrange(5)
        refusal = refusal_of(pool, checked(user, queues[user]))
        assert refusal is None or "full" in refusal
        queues = {each: sum(who == each for who, _ in picked(pool)) for each in range(5)}
        assert sum(queues.values()) == len(pool), "everything in the pool can still go into a block"
    assert max(queues.values()) <= 4, "nobody keeps others out"


def test_a_large_transaction_that_finds_no_room_evicts_nobody() -> None:
    pool = pool_of(bytes=2_500)
    held = [checked(0, nonce) for nonce in range(4)] + [checked(user, 0) for user in (1, 2, 3)]
    for each in held:
        pool.admit(each, lambda _: RICH)
    with pytest.raises(InvalidTransaction, match="full"):
        pool.admit(checked(4, 0, size=2_000), lambda _: RICH)
    assert all(each.hash in pool for each in held)


def test_a_nonce_is_taken_over_for_a_tenth_more() -> None:
    pool = pool_of()
    first = checked(0, 0, fee=10**6)
    pool.admit(first, lambda _: RICH)
    with pytest.raises(InvalidTransaction, match="replacing it takes a max_fee of 1100000"):
        pool.admit(checked(0, 0, fee=1_099_999, amount=2), lambda _: RICH)
    second = checked(0, 0, fee=1_100_000)
    pool.admit(second, lambda _: RICH)
    assert first.hash not in pool
    assert second.hash in pool
    pool.admit(second, lambda _: RICH)  # again is no error
    assert len(pool) == 1


@pytest.mark.parametrize(
    ("offer", "account", "words"),
    [
        ({"nonce": 2}, AccountRecord(balance=10**9, nonce=3), "nonce 2 is used up: .* next nonce is 3"),
        ({"nonce": 10}, AccountRecord(balance=10**9, nonce=0), "too far ahead: .* next nonce is 0"),
        ({"nonce": 0, "fee": 5}, AccountRecord(balance=10**9, nonce=0), "max_fee 5 is too low"),
        ({"nonce": 0, "amount": 10**9}, AccountRecord(balance=10**6, nonce=0), "has 1000000 units"),
    ],
)
def test_a_refusal_says_what_to_mend(offer, account, words) -> None:
    pool = pool_of(per_account=10)
    with pytest.raises(InvalidTransaction, match=words) as caught:
        pool.admit(checked(0, **offer), lambda _: account)
    assert "\n" not in str(caught.value)
    assert pool.refused == 1


def test_what_a_final_block_has_passed_leaves_and_stays_known() -> None:
    pool = pool_of()
    run = [checked(0, nonce) for nonce in range(4)]
    for each in run:
        pool.admit(each, lambda _: RICH)
    pool.advance(run[:2], lambda account: rich(2))
    assert [each.hash in pool for each in run] == [False, False, True, True]
    assert picked(pool, u0=2) == [(0, 2), (0, 3)]
    assert pool.cache.get(run[0].hash) is run[0], "its signature need not be checked again"


def test_a_block_is_filled_up_to_its_limits_and_senders_take_turns() -> None:
    pool = pool_of()
    for user in range(5):
        for nonce in range(3):
            pool.admit(checked(user, nonce), lambda _: RICH)
    size, weight = len(raw_of(0, 0)), checked(0, 0).weight
    limits = {"max_bytes": 4 * (size + 8), "max_weight": 10**9, "max_transactions": 10**6}
    assert len(pool.select(lambda accounts: [RICH] * len(accounts), **limits)) == 4
    limits = {"max_bytes": 10**6, "max_weight": 5 * weight, "max_transactions": 10**6}
    assert len(pool.select(lambda accounts: [RICH] * len(accounts), **limits)) == 5
    limits = {"max_bytes": 10**6, "max_weight": 10**9, "max_transactions": 2}
    assert len(pool.select(lambda accounts: [RICH] * len(accounts), **limits)) == 2


def test_what_its_sender_can_not_pay_after_the_ones_before_it_fills_no_block() -> None:
    """Void transactions cost nothing: a drained account's queue would fill every block for ever."""
    pool = pool_of()
    fee = pool.fee_floor(checked(1, 0))
    account = AccountRecord(balance=1_000 + fee, nonce=0)
    run = [checked(1, 0, amount=1_000), *(checked(1, nonce, amount=0) for nonce in range(1, 6))]
    for each in run:
        pool.admit(each, lambda _: account)
    assert pool.select(lambda accounts: [account for _ in accounts], **WHOLE) == run[:1]
    drained = AccountRecord(balance=0, nonce=1)
    assert pool.select(lambda accounts: [drained for _ in accounts], **WHOLE) == []
    pool.advance(run[:1], lambda _: drained)
    assert len(pool) == pool.bytes == 0


def test_the_cache_of_checked_transactions_is_bounded() -> None:
    pool = pool_of(cached=3)
    run = [checked(0, nonce) for nonce in range(5)]
    for each in run:
        pool.cache.add(each)
    assert [pool.cache.get(each.hash) is not None for each in run] == [False, False, True, True, True]


def test_many_are_checked_in_a_thread_with_one_verdict_each() -> None:
    pool = pool_of()
    good = [raw_of(0, nonce) for nonce in range(70)]
    bad = bytearray(good[0])
    bad[-1] ^= 1

    async def run() -> None:
        verdicts = await pool.check([*good, bytes(bad), b"", b"\xff" * 100])
        assert [isinstance(each, InvalidTransaction) for each in verdicts] == [False] * 70 + [True] * 3
        assert await pool.check([]) == []

    trio.run(run)


def test_a_full_pool_of_many_senders_costs_no_more_for_each_than_an_empty_one(monkeypatch) -> None:
    """Work is counted, not timed: whoever is looked at beside the sender in question is one too many."""
    pool = pool_of(transactions=len(USERS) - 1)
    for user in range(len(USERS) - 1):
        pool.admit(checked(user, 0), lambda _: RICH)
    looked_at = []

    class Counted(dict):
        def __iter__(self):
            for each in super().__iter__():
                looked_at.append(each)
                yield each

    pool._by_length = {length: Counted(senders) for length, senders in pool._by_length.items()}
    assert "full" in refusal_of(pool, checked(len(USERS) - 1, 0))
    assert looked_at == []  # all have one waiting: nobody has to go for another's first
    pool.advance([checked(1, 0)], lambda _: rich(1))
    assert refusal_of(pool, checked(len(USERS) - 1, 0)) is None
    assert refusal_of(pool, checked(0, 1)) == "the mempool is full: try again later"
    assert looked_at == []


def test_many_small_ones_make_room_for_a_large_one_from_the_longest_queues_down() -> None:
    pool = pool_of(bytes=4_000)
    for user, count in ((0, 6), (1, 4), (2, 1)):
        for nonce in range(count):
            pool.admit(checked(user, nonce), lambda _: RICH)
    size = len(raw_of(0, 0))
    room = 4_000 - pool.bytes
    large = checked(3, 0, size=room + 4 * size - len(raw_of(3, 0)) - 40)
    assert len(large.raw) > room + 3 * size
    assert refusal_of(pool, large) is None
    left = {user: sum(who == user for who, _ in picked(pool)) for user in range(4)}
    assert left == {0: 3, 1: 3, 2: 1, 3: 1}

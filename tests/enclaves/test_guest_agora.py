"""The example chain: signatures, nonces, puts, and its two-way peg with its assets instance."""

import random

import pytest
from guest_tools import Agora, Instance, call_of, run, to_chain
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.primitives.crypto import SigningKey
from consensus.primitives.errors import DecodeError
from consensus.primitives.guest import ChainEndpoint, GuestKind, InstanceEndpoint, Status
from consensus.primitives.ids import SecretSeed
from enclaves.guests import agora, assets
from enclaves.guests.agora import Code, Export, ExportState, Put, Transfer

KEYS = [SigningKey(SecretSeed(bytes([index]) + bytes(31))) for index in range(4)]
ANN, BEN, CAT, DAN = (key.public for key in KEYS)
DOMAIN = agora.domain("test")
CHAIN = 7
ENCLAVE = InstanceEndpoint(module=assets.module_id(), chain=CHAIN)


@pytest.fixture
def chain() -> Agora:
    return fresh()


def fresh(module: bytes | None = None) -> Agora:
    pairs = agora.genesis_pairs(DOMAIN, {ANN: 100, BEN: 100}, module or assets.module_id())
    return Agora(CHAIN, dict(pairs))


def tx(key: int, nonce: int, action: agora.Action, domain: bytes = DOMAIN) -> bytes:
    return agora.sign_transaction(KEYS[key], domain, nonce, action)


def codes(chain: Agora, *transactions: bytes) -> tuple[Code, ...]:
    return chain.block([], list(transactions))[0].transactions


def test_transfers_in_order_within_a_block(chain: Agora) -> None:
    pay = tx(0, 0, Transfer(to=CAT, amount=60))
    spend = tx(2, 0, Transfer(to=BEN, amount=50))
    assert codes(chain, pay, spend) == (Code.OK, Code.OK)
    assert chain.account(ANN) == agora.Account(balance=40, nonce=1)
    assert chain.account(CAT) == agora.Account(balance=10, nonce=1)
    assert chain.account(BEN).balance == 150


def test_replays_and_gaps_are_refused(chain: Agora) -> None:
    pay = tx(0, 0, Transfer(to=BEN, amount=10))
    assert codes(chain, pay, pay, tx(0, 2, Transfer(to=BEN, amount=1))) == (
        Code.OK,
        Code.BAD_NONCE,
        Code.BAD_NONCE,
    )
    assert codes(chain, pay) == (Code.BAD_NONCE,)
    assert chain.account(BEN).balance == 110


def test_bad_signatures_are_refused_and_change_nothing(chain: Agora) -> None:
    good = tx(0, 0, Transfer(to=BEN, amount=10))
    before = dict(chain.state)
    forged = [good[:index] + bytes([good[index] ^ 1]) + good[index + 1 :] for index in (5, 34, 60, 80, 100)]
    other = tx(0, 0, Transfer(to=BEN, amount=10), agora.domain("other"))
    assert set(codes(chain, *forged, other)) == {Code.BAD_SIGNATURE}
    assert chain.state == before


def test_malformed_transactions_do_not_disturb_their_neighbours(chain: Agora) -> None:
    good = tx(0, 0, Transfer(to=BEN, amount=10))
    bad = [
        b"",
        b"\x01" * 104,
        good[:-1],
        good + b"\0",
        b"\x09" + good[1:],
        tx(0, 0, Put(key=b"k", value=b""))[:108],
    ]
    assert codes(chain, *bad, good) == (*[Code.MALFORMED] * len(bad), Code.OK)


def test_a_poor_sender_uses_its_nonce(chain: Agora) -> None:
    assert codes(chain, tx(0, 0, Transfer(to=BEN, amount=101))) == (Code.NO_FUNDS,)
    assert chain.account(ANN) == agora.Account(balance=100, nonce=1)


def test_put_is_per_owner_and_the_last_one_wins(chain: Agora) -> None:
    long = Put(key=b"k" * 64, value=b"v" * 1024)
    assert set(
        codes(
            chain,
            tx(0, 0, Put(key=b"name", value=b"ann")),
            tx(1, 0, Put(key=b"name", value=b"ben")),
            tx(0, 1, Put(key=b"name", value=b"Ann")),
            tx(0, 2, long),
        )
    ) == {Code.OK}
    assert chain.state[agora.value_key(ANN, b"name")] == b"Ann"
    assert chain.state[agora.value_key(BEN, b"name")] == b"ben"
    assert chain.state[agora.value_key(ANN, long.key)] == long.value


def test_a_self_transfer_creates_nothing(chain: Agora) -> None:
    assert codes(chain, tx(0, 0, Transfer(to=ANN, amount=100))) == (Code.OK,)
    assert chain.account(ANN).balance == 100


def test_the_peg_out_and_back(chain: Agora) -> None:
    instance = Instance(CHAIN)
    result, outgoing = chain.block([], [tx(0, 0, Export(holder=CAT, amount=30))])
    assert result.transactions == (Code.OK,)
    assert [each.destination for each in outgoing] == [ENCLAVE]
    record = agora.decode_export(chain.state[agora.export_key(0)])
    assert record == agora.ExportRecord(account=ANN, amount=30, state=ExportState.PENDING)

    replies = to_chain(instance.by_chain(outgoing[0].payload).outgoing, CHAIN)
    result, _ = chain.block([(ENCLAVE, each) for each in replies], [])
    assert result.messages == (Code.OK,)
    assert agora.decode_export(chain.state[agora.export_key(0)]).state is ExportState.DONE
    native = agora.native_asset(CHAIN)
    assert instance.balance(native, CAT) == instance.supply(native) == 30

    credits = to_chain(
        instance.by_user(CAT, assets.Redeem(asset=native, beneficiary=DAN, amount=12)).outgoing, CHAIN
    )
    result, _ = chain.block([(ENCLAVE, each) for each in credits], [])
    assert result.messages == (Code.OK,)
    assert chain.account(DAN).balance == 12
    assert assets.decode_amount(chain.state[agora.locked_key()]) == instance.supply(native) == 18
    assert chain.issuance() == 200


def test_a_refused_export_is_paid_back_once(chain: Agora) -> None:
    chain.block([], [tx(0, 0, Export(holder=CAT, amount=30))])
    refusal = b"\x01" + bytes(8) + bytes([assets.Code.OVERFLOW])
    result, _ = chain.block([(ENCLAVE, refusal), (ENCLAVE, refusal)], [])
    assert result.messages == (Code.OK, Code.UNKNOWN_REPLY)
    assert chain.account(ANN).balance == 100
    assert agora.decode_export(chain.state[agora.export_key(0)]).state is ExportState.REFUNDED


def test_messages_from_others_are_ignored(chain: Agora) -> None:
    chain.block([], [tx(0, 0, Export(holder=CAT, amount=30))])
    before = dict(chain.state)
    credit = b"\x02" + agora.native_asset(CHAIN) + DAN + (5).to_bytes(16, "little")
    strangers = [
        (ChainEndpoint(chain=CHAIN), credit),
        (InstanceEndpoint(module=b"\x66" * 32, chain=CHAIN), credit),
        (InstanceEndpoint(module=assets.module_id(), chain=8), credit),
    ]
    result, _ = chain.block([*strangers, (ENCLAVE, b"junk"), (ENCLAVE, b"\x02" + bytes(80))], [])
    assert result.messages == (*[Code.UNKNOWN_SOURCE] * 3, Code.MALFORMED, Code.MALFORMED)
    assert chain.state == before


def test_without_an_enclave_nothing_is_exported() -> None:
    chain = Agora(CHAIN, dict(agora.genesis_pairs(DOMAIN, {ANN: 100}, None)))
    assert codes(chain, tx(0, 0, Export(holder=CAT, amount=30))) == (Code.NO_ENCLAVE,)
    assert chain.account(ANN).balance == 100


def test_a_block_that_is_not_framed_fails_whole(chain: Agora) -> None:
    for data in (b"", b"\0\0\0\0", agora.encode_block([], []) + b"x", b"\0\0\0\0\xff\xff\xff\xff"):
        outcome = run(call_of(agora.wasm(), data, fuel=10**9, kind=GuestKind.CHAIN, chain=CHAIN), chain.state)
        assert outcome.status is Status.FAILED
    enclave = call_of(agora.wasm(), agora.encode_block([], []), fuel=10**9, chain=CHAIN)
    assert run(enclave, chain.state).status is Status.FAILED


def test_encoders_and_decoders_refuse_what_does_not_fit() -> None:
    for action in (Put(key=b"", value=b""), Put(key=b"k", value=bytes(1025)), Transfer(to=b"", amount=1)):
        with pytest.raises(ValueError, match=r"."):
            tx(0, 0, action)
    for output in (b"", b"\x01\0\0\0", b"\x01\0\0\0\xff\0\0\0\0", bytes(9)):
        with pytest.raises(DecodeError):
            agora.decode_output(output)
    assert agora.sender_and_nonce(tx(1, 9, Put(key=b"k", value=b""))) == (BEN, 9)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_units_are_conserved_across_the_peg(seed: int) -> None:
    """Accounts + locked = genesis; locked = the asset's supply once every message has arrived."""
    rng = random.Random(seed)
    chain, instance = fresh(), Instance(CHAIN)
    native = agora.native_asset(CHAIN)
    outbound: list[bytes] = []
    inbound: list[bytes] = []
    for _ in range(12):
        transactions = []
        for index in range(4):
            nonce = chain.account(KEYS[index].public).nonce + (rng.random() < 0.1)
            to, amount = rng.choice(KEYS).public, rng.randrange(80)
            action = rng.choice([Transfer(to=to, amount=amount), Export(holder=to, amount=amount)])
            transactions.append(tx(index, nonce, action))
        taken = [inbound.pop(0) for _ in range(rng.randrange(len(inbound) + 1))]
        outbound += [each.payload for each in chain.block([(ENCLAVE, m) for m in taken], transactions)[1]]
        while outbound and rng.random() < 0.7:
            inbound += to_chain(instance.by_chain(outbound.pop(0)).outgoing, CHAIN)
        redeem = assets.Redeem(asset=native, beneficiary=rng.choice(KEYS).public, amount=rng.randrange(60))
        inbound += to_chain(instance.by_user(rng.choice(KEYS).public, redeem).outgoing, CHAIN)
        assert chain.issuance() == 200
    while outbound:
        inbound += to_chain(instance.by_chain(outbound.pop(0)).outgoing, CHAIN)
    result, _ = chain.block([(ENCLAVE, message) for message in inbound], [])
    assert set(result.messages) <= {Code.OK}
    locked = assets.decode_amount(chain.state.get(agora.locked_key()))
    supply = instance.supply(native) if assets.asset_key(native) in instance.state else 0
    assert locked == supply == instance.balances_sum(native)
    assert chain.issuance() == 200

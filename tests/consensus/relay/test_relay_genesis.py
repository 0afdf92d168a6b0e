"""Genesis: one record, one hash, clear refusals."""

from dataclasses import replace

import pytest
from relay_fakes import BANK_ID, CHAIN_CODE, USERS, Network, make_genesis

from consensus.primitives.errors import UserError
from consensus.relay.genesis import (
    GenesisAccount,
    check_genesis,
    decode_genesis,
    encode_genesis,
    genesis_chain_id,
    genesis_state,
)
from consensus.relay.parameters import ChainTerms, Entry, Parameters
from consensus.relay.registry import genesis_head

GENESIS = make_genesis()


def test_a_genesis_survives_its_encoding_and_names_itself() -> None:
    assert decode_genesis(encode_genesis(GENESIS)) == GENESIS
    assert GENESIS.hash == make_genesis().hash
    assert replace(GENESIS, time_ms=1_001).hash != GENESIS.hash
    assert genesis_state(GENESIS)[0] == genesis_state(make_genesis())[0]


def test_the_first_state_holds_what_genesis_says() -> None:
    view = Network().view
    assert view.account(USERS[0].public).balance == 10**9
    assert view.parameters == GENESIS.parameters
    (chain,) = view.chains()
    assert (chain.name, chain.balance, chain.opt_in) == ("one", 10**7, (BANK_ID,))
    assert view.head(1).head == genesis_head(1, view.head(1).state_root)
    assert view.code(chain.code_hash) == CHAIN_CODE
    assert view.last_block().height == 0
    assert genesis_chain_id(GENESIS, "one") == 1
    with pytest.raises(UserError, match="no chain called"):
        genesis_chain_id(GENESIS, "two")


def with_chain(**changes: object):
    return replace(GENESIS, chains=(replace(GENESIS.chains[0], **changes),))


VALIDATOR = GENESIS.validators[0]


@pytest.mark.parametrize(
    ("genesis", "reason"),
    [
        (replace(GENESIS, network=""), "network"),
        (replace(GENESIS, fuel_schedule=3), "fuel schedule"),
        (replace(GENESIS, validators=()), "no validators"),
        (replace(GENESIS, validators=(VALIDATOR, VALIDATOR)), "appears twice"),
        (replace(GENESIS, validators=(replace(VALIDATOR, stake=0),)), "stake"),
        (replace(GENESIS, validators=(replace(VALIDATOR, consensus_key=bytes(32)),)), "Ed25519"),
        (replace(GENESIS, accounts=(*GENESIS.accounts, GENESIS.accounts[0])), "appears twice"),
        (replace(GENESIS, accounts=(GenesisAccount(key=bytes(32), balance=1 << 127),)), "2\\^127"),
        (make_genesis(stake=1 << 62), "2\\^64"),
        (replace(GENESIS, enclaves=GENESIS.enclaves * 2), "appears twice"),
        (with_chain(code=b""), "no validation code"),
        (with_chain(opt_in=(bytes(32),)), "does not deploy"),
        (with_chain(opt_in=(BANK_ID, BANK_ID)), "twice"),
        (with_chain(entries=(Entry(key=b"a", value=b""),) * 2), "one key"),
        (with_chain(terms=ChainTerms(fuel_limit=1 << 60)), "fuel_limit"),
        (with_chain(terms=ChainTerms(max_pov_bytes=1 << 30)), "max_pov_bytes"),
    ],
)
def test_a_genesis_that_could_not_run_is_refused_with_the_reason(genesis, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        check_genesis(genesis)


def test_garbage_is_not_a_genesis() -> None:
    with pytest.raises(UserError, match="not a genesis"):
        decode_genesis(encode_genesis(GENESIS)[:-1])


@pytest.mark.parametrize(
    "changes",
    [
        {"fast_mode": 2},
        {"burn_share_ppb": 10**9 + 1},
        {"window": 0},
        {"relay_parent_window": 5_000},
        {"max_module_bytes": 1 << 30},
        {"delivery_fuel_per_block": 1},
    ],
)
def test_parameters_that_contradict_are_refused(changes) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        Parameters(**changes)

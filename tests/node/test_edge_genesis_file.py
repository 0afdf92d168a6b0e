"""genesis.json: exact both ways; refused with every mistake and its place."""

import json
from pathlib import Path

import pytest

from consensus.primitives.crypto import public_key
from consensus.primitives.guest import module_id
from consensus.relay.genesis import Genesis, GenesisAccount, GenesisChain, GenesisValidator
from consensus.relay.parameters import Entry, Parameters
from enclaves.guests import agora, assets
from node.genesis_file import GenesisFileError, parse_genesis, read_genesis, render_genesis, write_genesis

FILE = Path("/somewhere/genesis.json")


def key(number):
    return public_key(bytes([number]) * 32)


GENESIS = Genesis(
    network="test",
    time_ms=1_700_000_000_000,
    parameters=Parameters(idle_interval_ms=0),
    validators=tuple(
        GenesisValidator(
            name=f"v{i}", consensus_key=key(i), identity_key=key(10 + i), account=key(20 + i), stake=100
        )
        for i in range(4)
    ),
    accounts=(GenesisAccount(key=key(30), balance=10**30),),
    enclaves=(assets.wasm(),),
    chains=(
        GenesisChain(
            name="agora",
            owner=key(30),
            code=agora.wasm(),
            entries=(Entry(key=b"d", value=bytes(32)), Entry(key=b"\x00\xff", value=b"")),
            balance=7,
            opt_in=(module_id(assets.wasm()),),
        ),
    ),
)
TEXT = render_genesis(GENESIS)


def problems_of(change):
    table = json.loads(TEXT)
    change(table)
    with pytest.raises(GenesisFileError) as caught:
        parse_genesis(json.dumps(table).encode(), FILE)
    return caught.value.problems


def test_what_is_written_is_read_back_exactly(tmp_path):
    path = tmp_path / "genesis.json"
    write_genesis(path, GENESIS)
    assert read_genesis(path) == GENESIS
    assert read_genesis(path).hash.hex() == json.loads(TEXT)["hash"]
    assert [each.name for each in tmp_path.iterdir()] == ["genesis.json"]


def test_code_may_be_a_file_beside_it(tmp_path):
    table = json.loads(TEXT)
    (tmp_path / "agora.wasm").write_bytes(agora.wasm())
    table["chains"][0]["code"] = {"path": "agora.wasm"}
    (tmp_path / "genesis.json").write_text(json.dumps(table))
    assert read_genesis(tmp_path / "genesis.json") == GENESIS


def put(*path, value):
    def change(table):
        for step in path[:-1]:
            table = table[step]
        if value is None:
            del table[path[-1]]
        else:
            table[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        (put("version", value=2), "version", "must be 1"),
        (put("network", value=None), "network", "missing"),
        (put("network", value=""), "`network`", "empty"),
        (put("colour", value=1), "colour", "unknown key"),
        (put("time_ms", value="now"), "time_ms", "whole number"),
        (put("time_ms", value=-1), "the file", "64-bit"),
        (put("time_ms", value=True), "time_ms", "whole number"),
        (put("parameters", "window", value=0), "parameters", "zero"),
        (put("parameters", "base_fee", value=5), "parameters.base_fee", "decimal digits"),
        (put("validators", value={}), "validators", "list"),
        (put("validators", value=[]), "no validators", "at least one"),
        (put("validators", 2, "stake", value=0), "validator 2", "stake"),
        (put("validators", 2, "stake", value=1 << 64), "validators[2]", "64-bit"),
        (put("validators", 1, "consensus_key", value="00"), "validators[1].consensus_key", "64 hex"),
        (put("validators", 1, "consensus_key", value="00" * 32), "validator 1", "usable"),
        (put("validators", 1, "name", value="v0"), "validator name", "twice"),
        (put("accounts", 0, "balance", value="-5"), "accounts[0].balance", "decimal digits"),
        (put("accounts", 0, "balance", value=str(1 << 128)), "accounts[0]", "128-bit"),
        (put("accounts", 0, value=3), "accounts[0]", "object"),
        (put("enclaves", 0, "base64", value="?"), "enclaves[0].base64", "not base64"),
        (put("enclaves", 0, "code_hash", value="00" * 32), "enclaves[0].code_hash", "the right code"),
        (put("enclaves", 0, value={}), "enclaves[0]", "either"),
        (put("enclaves", 0, value={"path": "no.wasm"}), "enclaves[0].path", "can not be read"),
        (put("chains", 0, "entries", 0, "key", value="6"), "chains[0].entries[0].key", "hex"),
        (put("chains", 0, "opt_in", 0, value="11" * 32), "chain 1", "does not deploy"),
        (put("hash", value="00" * 32), "hash", "altered"),
        (put("network", value="other"), "hash", "altered"),
    ],
)
def test_each_mistake_names_its_place(change, place, words):
    (problem,) = problems_of(change)
    assert problem.startswith(place)
    assert words in problem


def test_all_mistakes_are_reported_at_once():
    def change(table):
        table["time_ms"] = "x"
        table["validators"][3]["stake"] = None
        table["chains"][0]["owner"] = 5

    assert [each.partition(":")[0] for each in problems_of(change)] == [
        "time_ms",
        "validators[3].stake",
        "chains[0].owner",
    ]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{", "line 1, column 2"),
        (b"[]", "not a JSON object"),
        (b"\xff", "broken JSON"),
        (b"[" * 100_000, "broken JSON"),
        (b'{"version": 1, "version": 1}', "twice"),
    ],
)
def test_what_is_no_genesis_is_refused(raw, words):
    with pytest.raises(GenesisFileError, match=words):
        parse_genesis(raw, FILE)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(GenesisFileError, match="no such file"):
        read_genesis(tmp_path / "genesis.json")

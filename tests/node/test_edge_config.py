"""config.toml: what is refused and in which words; what `init` writes is accepted."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.primitives.crypto import public_key
from node.api import Role
from node.config import Address, ConfigError, NodeConfig, load_config, parse_address, parse_config
from node.config_writer import PeerEntry, Settings, add_peers, render_config

FILE = Path("/somewhere/config.toml")
KEY = public_key(bytes(32)).hex()


def problems_of(text):
    raw = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigError) as caught:
        parse_config(raw, FILE)
    assert str(FILE) in str(caught.value)
    return caught.value.problems


def test_a_name_is_all_that_must_be_said():
    config = parse_config(b'name = "alice"', FILE)
    assert config.role is Role.VALIDATOR
    assert config.journal.sync == "fsync"
    assert config.data_path == Path("/somewhere/data")


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("", "name", "is missing"),
        ("name = 5", "name", "text"),
        ('name = ""', "name", "at least 1"),
        ('name = "a"\nrole = "king"', "role", "validator, full, collator"),
        ('name = "a"\nrole = "collator"', "collator.chain", "needs a chain"),
        ('name = "a"\n[collator]\nchain = 1', "collator", "remove [collator]"),
        ('name = "a"\nrole = "collator"\ncollator.chain = 0', "collator.chain", "greater"),
        ('name = "a"\ncolour = 1', "colour", "unknown key"),
        ('name = "a"\n[network]\nlisten = "nowhere"', "network.listen", "host:port"),
        ('name = "a"\n[network]\nlisten = "host:99999"', "network.listen", "65535"),
        ('name = "a"\n[network]\nlisten = "::1:7700"', "network.listen", "brackets"),
        ('name = "a"\n[network]\nlisten = 7700', "network.listen", "host:port"),
        ('name = "a"\n[network]\npeers = 3', "network.peers", "[[network.peers]]"),
        ('name = "a"\n[[network.peers]]\nname = "b"', "network.peers.0.identity", "is missing"),
        ('name = "a"\n[[network.peers]]\nidentity = "zz"', "network.peers.0.identity", "64 hex"),
        (f'name = "a"\n[[network.peers]]\nidentity = "{"00" * 32}"', "network.peers.0.identity", "usable"),
        (
            f'name = "a"\nnetwork.peers = [{{identity="{KEY}"}}, {{identity="{KEY}"}}]',
            "network.peers.1",
            "twice",
        ),
        ('name = "a"\nrpc = 3', "rpc", "[rpc]"),
        ('name = "a"\nrpc.max_body_bytes = "1"', "rpc.max_body_bytes", "whole number"),
        ('name = "a"\nrpc.max_body_bytes = true', "rpc.max_body_bytes", "whole number"),
        ('name = "a"\njournal.sync = "never"', "journal.sync", "'fsync' or 'os'"),
        ('name = "a"\nconsensus.amnesia = "forget"', "consensus.amnesia", "'probe' or 'refuse'"),
        ('name = "a"\nconsensus.timers = "moon"', "consensus.timers", "'lan' or 'wan'"),
        ('name = "a"\nretention.states = -1', "retention.states", "greater"),
        ('name = "a"\npaths.data = ""', "paths.data", "path"),
        ('name = "a"\nhome = "/"', "home", "remove it"),
        ("name = [", "broken TOML", "line 1"),
        ('name = "a"\nx = = 1', "broken TOML", "line 2, column 5"),
        (b'name = "\xff"', "line 1", "UTF-8"),
    ],
)
def test_each_mistake_names_its_key_and_what_to_do(text, key, words):
    (problem,) = problems_of(text)
    assert problem.startswith(key)
    assert words in problem


def test_all_mistakes_are_reported_at_once():
    text = 'role = "king"\nname = 1\n[rpc]\nlisten = "x"\nhost = "y"\n[log]\nlevel = "loud"'
    found = problems_of(text)
    assert [each.partition(":")[0] for each in found] == [
        "name",
        "role",
        "rpc.listen",
        "rpc.host",
        "log.level",
    ]


@given(st.text(max_size=200))
def test_any_text_is_a_config_or_a_config_error(text):
    with suppress(ConfigError):  # the only error there may be
        assert isinstance(parse_config(text.encode("utf-8", "surrogatepass"), FILE), NodeConfig)


@given(st.text(max_size=60))
def test_any_address_is_parsed_or_refused(text):
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match="phalanx init"):
        load_config(tmp_path / "config.toml")


@pytest.mark.parametrize("role", list(Role))
def test_what_init_writes_is_read_back(role, tmp_path):
    settings = Settings(
        name='a "quoted" näme\\',
        role=role,
        listen=Address("::1", 1),
        advertise=Address("example.org", 2),
        rpc_listen=None,
        chain=7 if role is Role.COLLATOR else None,
        timers="wan",
    )
    file = tmp_path / "config.toml"
    file.write_text(render_config(settings))
    config = load_config(tmp_path)
    assert (config.name, config.role, config.rpc.listen) == (settings.name, role, None)
    assert (config.network.listen, config.advertised) == (Address("::1", 1), Address("example.org", 2))
    assert (config.collator.chain if config.collator else None) == settings.chain

    peers = [PeerEntry(name="bob", identity=bytes.fromhex(KEY), address=None)]
    assert (add_peers(file, peers), add_peers(file, peers)) == (1, 0)
    assert [peer.identity.hex() for peer in load_config(file).network.peers] == [KEY]

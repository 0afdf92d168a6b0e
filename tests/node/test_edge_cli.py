"""The command line's contract: one JSON document, exit codes, help with examples; init and genesis."""

import json
import os
import signal
import subprocess
import sys
import types
from importlib.metadata import EntryPoint

import click
import pytest
import structlog
import trio
from click.testing import CliRunner
from edge_fakes import FakeNode

from consensus.primitives.errors import UserError
from node import keys
from node.cli import main as cli
from node.cli import output as words
from node.config import load_config
from node.genesis_file import read_genesis
from node.validator_set import genesis_validators


def run(*arguments, env=None):
    return CliRunner().invoke(cli.main, [str(each) for each in arguments], env=env)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ("PHALANX_RPC", "PHALANX_DEVNET", "PHALANX_KEYS", keys.PASSPHRASE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def every_command(command=cli.main, path=()):
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        own = cli._OWN if command is cli.main else command.list_commands(context)
        for name in own:
            yield from every_command(command.get_command(context, name), (*path, name))


@pytest.mark.parametrize("path", [path for path, _ in every_command()], ids=" ".join)
def test_help_shows_an_example(path):
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert "Example:" in result.stdout
    assert "phalanx" in result.stdout.partition("Example:")[2]


@pytest.mark.parametrize(
    "path", [path for path, each in every_command() if not isinstance(each, click.Group)], ids=" ".join
)
def test_every_command_has_json(path):
    assert "--json" in run(*path, "--help").stdout


def make_network(tmp_path):
    for index, name in enumerate(("alice", "bob", "carol")):
        done = run("init", name, "--name", name, "--listen", f"127.0.0.1:{7001 + index}", "--json")
        assert done.exit_code == 0, done.stderr
        assert "not encrypted" in done.stderr
    done = run("init", "dora", "--name", "dora", "--role", "collator", "--chain", 1, "--listen", "off")
    assert done.exit_code == 0, done.stderr
    assert run("key", "new", "erin").exit_code == 0


def test_init_and_genesis_make_a_network_that_checks(tmp_path):
    make_network(tmp_path)
    done = run(
        *("genesis", "alice", "bob", "carol/node.json", "dora", "--network", "mynet"),
        *("--account", "erin=1_000", "--stake", "bob=700", "--json"),
    )
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    genesis = read_genesis(tmp_path / "genesis.json")
    assert document["hash"] == genesis.hash.hex()
    assert document["nodes_joined"] == 3
    assert [each.stake for each in genesis.validators] == [100, 700, 100]
    assert genesis_validators(genesis).stake.total == 900

    assert [peer.name for peer in load_config(tmp_path / "alice").network.peers] == ["bob", "carol", "dora"]
    assert [peer.name for peer in load_config(tmp_path / "dora").network.peers] == ["alice", "bob", "carol"]
    assert load_config(tmp_path / "alice").network.peers[2].address is None  # it dials us
    assert not (tmp_path / "carol" / "genesis.json").exists()  # for its operator to copy
    with (tmp_path / "carol" / "config.toml").open("a") as config:
        config.write((tmp_path / "peers.toml").read_text())
    assert len(load_config(tmp_path / "carol").network.peers) == 4

    shown = run("genesis", "--show", "genesis.json", "--json")
    assert json.loads(shown.stdout)["hash"] == document["hash"]
    for name in ("alice", "dora"):
        checked = run("run", name, "--check", "--json")
        assert checked.exit_code == 0, checked.stderr
        assert json.loads(checked.stdout)["genesis_hash"] == document["hash"]


def test_a_node_is_neither_overwritten_nor_moved_to_another_network(tmp_path):
    make_network(tmp_path)
    again = run("init", "alice", "--name", "alice")
    assert again.exit_code == 1
    assert "a node already" in again.stderr
    assert run("genesis", "alice", "--network", "one").exit_code == 0
    other = run("genesis", "alice", "--network", "two", "--json")
    assert other.exit_code == 1
    assert "another network" in json.loads(other.stdout)["error"]


def test_encrypted_keys_ask_for_their_passphrase(tmp_path):
    (tmp_path / "secret").write_text("open sesame\n")
    made = run("key", "new", "erin", "--passphrase-file", "secret", "--json")
    assert json.loads(made.stdout)["encrypted"] is True
    send = ("tx", "send", "--from", "erin", "--to", "erin", "--amount", "1", "--rpc", "127.0.0.1:1")
    refused = run(*send)
    assert refused.exit_code == 1
    assert "--passphrase-file" in refused.stderr
    assert "no node answers" in run(*send, "--passphrase-file", "secret").stderr


def test_failures_are_one_line_and_exit_code_1():
    result = run("status", "--rpc", "http://127.0.0.1:1", "--json")
    assert result.exit_code == words.FAILED
    assert "is it running?" in json.loads(result.stdout)["error"]
    assert result.stderr.startswith("phalanx: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("fly",),
        ("status", "--fast"),
        ("init",),
        ("init", "x", "--name", "x", "--listen", "nowhere"),
        ("init", "x", "--name", "x", "--role", "collator"),
        ("tx", "send", "--from", "a", "--to", "b", "--amount", "-1"),
        ("enclave", "call", "assets", "--from", "a", "--input", "zz"),
        ("query", "receipt", "12"),
        ("genesis",),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments):
    assert run(*arguments).exit_code == words.USAGE


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("tx", "send", "--from", "nobody", "--to", "x", "--amount", "1"), "phalanx key new nobody"),
        (("query", "account", "00" * 32), "not a usable Ed25519 key"),
        (("query", "state", "planet/mars"), "account/KEY"),
        (("enclave", "show", "xyz"), "64 hex digits"),
        (("chain", "show", "xyz", "--rpc", "http://127.0.0.1:1"), "is it running?"),
        (("enclave", "deploy", "no.wasm", "--from", "x"), "no.wasm"),
        (("run", "nowhere"), "phalanx init"),
        (("genesis", "--show", "none.json"), "no such file"),
        (("key", "show", "nobody"), "phalanx key new nobody"),
    ],
)
def test_bad_input_is_exit_code_1_and_says_what_to_do(arguments, sentence):
    result = run(*arguments)
    assert result.exit_code == words.FAILED, result.output
    assert sentence in result.stderr


def test_a_module_that_can_not_be_admitted_is_refused_before_it_costs_anything(tmp_path):
    (tmp_path / "bad.wasm").write_bytes(b"\x00asm\x01\x00\x00\x00")
    run("key", "new", "erin")
    result = run("enclave", "deploy", "bad.wasm", "--from", "erin")
    assert result.exit_code == 1
    assert "bad.wasm: the module" in result.stderr


def test_a_devnet_here_is_found(tmp_path):
    (tmp_path / ".devnet").mkdir()
    run("key", "new", "erin", "--keys-dir", ".devnet/keys")
    description = {"rpc": ["http://127.0.0.1:1"], "keys": {"faucet": "keys/erin.key"}, "chains": {"agora": 1}}
    (tmp_path / ".devnet" / "devnet.json").write_text(json.dumps(description))
    assert json.loads(run("key", "show", "faucet", "--json").stdout)["name"] == "erin"
    assert "127.0.0.1:1" in run("status").stderr
    (tmp_path / ".devnet" / "devnet.json").write_text("{")
    assert "start the devnet again" in run("status").stderr


def plugged(monkeypatch, value):
    found = {"extra": EntryPoint(name="extra", value=value, group=cli.ENTRY_POINT_GROUP)}
    monkeypatch.setattr(cli, "_plug_ins", lambda: found)


@click.command()
@words.json_option
@words.pass_output
def extra(output):
    """A command of another package."""
    output.result({"extra": True}, "extra")


@click.command()
def interrupted():
    raise KeyboardInterrupt


@click.command()
def grouped():
    raise BaseExceptionGroup("nursery", [BaseExceptionGroup("inner", [UserError("mend this")])])


def test_commands_of_other_packages_are_found(monkeypatch):
    plugged(monkeypatch, f"{__name__}:extra")
    assert json.loads(run("extra", "--json").stdout) == {"extra": True}
    assert "extra" in run("--help").stdout


def test_a_broken_command_breaks_itself_alone(monkeypatch):
    plugged(monkeypatch, "no.such.module:thing")
    assert run("--help").exit_code == 0
    result = run("extra", "--anything")
    assert result.exit_code == 1
    assert "can not be loaded" in result.stderr


def test_an_interrupt_is_exit_code_130(monkeypatch):
    plugged(monkeypatch, f"{__name__}:interrupted")
    assert run("extra").exit_code == words.INTERRUPTED


def test_an_error_out_of_a_nursery_is_told_like_any_other(monkeypatch):
    plugged(monkeypatch, f"{__name__}:grouped")
    result = run("extra")
    assert result.exit_code == 1
    assert result.stderr == "phalanx: mend this\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, words.INTERRUPTED)])
def test_a_node_serves_until_a_signal_and_leaves_clean(number, code, monkeypatch):
    run("init", "alice", "--name", "alice", "--listen", "off", "--rpc-listen", "127.0.0.1:0")
    run("genesis", "alice", "--network", "one")
    seen = []

    async def run_node(config, genesis, node_keys, *, services, log):
        seen.append((config.name, genesis.network, node_keys.consensus[0].header.purpose))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(services[0], FakeNode())
                await trio.sleep(0.05)
                os.kill(os.getpid(), number)
                await trio.sleep_forever()
        finally:
            seen.append("synced")

    monkeypatch.setitem(sys.modules, "node.lives", types.SimpleNamespace(run_node=run_node))
    done = run("run", "alice", "--json")
    structlog.reset_defaults()
    assert done.exit_code == code, done.stderr
    assert seen == [("alice", "one", "consensus"), "synced"]
    assert json.loads(done.stdout) == {"stopped": "clean"}
    assert "node.stopping" in done.stderr


def test_the_console_script_runs():
    done = subprocess.run(
        [sys.executable, "-m", "node.cli.main", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "tx" in done.stdout


def test_parameters_of_the_network_are_set_by_name(tmp_path):
    make_network(tmp_path)

    def build(*parameters):
        given = [part for each in parameters for part in ("--parameter", each)]
        return run("genesis", "alice", "bob", "--network", "mynet", "--out", "new.json", *given, "--json")

    assert build("epoch_blocks=50", "min_stake=1_0", "idle_interval_ms=0").exit_code == 0
    parameters = read_genesis(tmp_path / "new.json").parameters
    assert (parameters.epoch_blocks, parameters.min_stake, parameters.idle_interval_ms) == (50, 10, 0)
    for wrong, reason in (
        ("epochs=5", "epoch_blocks, "),
        ("epoch_blocks=1", "epoch_blocks is at least 2"),
        ("trusting_ms=99999999999999", "trusting_ms must be below unbonding_ms"),
        ("window=300", "8-bit"),
        ("min_stake=101", "below min_stake"),
    ):
        done = build(wrong)
        assert done.exit_code == 1
        assert reason in done.stderr
    assert build("epoch_blocks").exit_code == 2

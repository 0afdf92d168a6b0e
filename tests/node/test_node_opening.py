"""What a node finds when it starts, and the sentences with which it refuses to."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
import trio

sys.path.insert(0, str(Path(__file__).parent))

from node_world import RecordingLog

from consensus.agreement.journal_records import (
    AmnesiaRecord,
    BarRecord,
    FloorRecord,
    encode_record,
)
from consensus.primitives.errors import LocalFault, UserError
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Height, View
from consensus.relay.genesis import Genesis
from node.config import Address, NodeConfig, load_config
from node.config_writer import Settings
from node.journal import open_journal
from node.keys import NodeKeys, new_seed, open_node_keys, write_key
from node.lost_keys import lost_keys
from node.node import Node
from node.opening import bind_to_network, open_signing_journal
from node.setup import build_genesis, init_node, journal_path, read_descriptor

AMNESIA = AmnesiaRecord(epoch=Epoch(1), nonce=ZERO_HASH)
BAR = BarRecord(epoch=Epoch(1), view=View(7))
FLOOR = FloorRecord(epoch=Epoch(1), view=View(3), height=Height(2), block=ZERO_HASH)


@pytest.fixture
def home(tmp_path) -> Path:
    settings = Settings(name="alice", listen=Address("127.0.0.1", 0), rpc_listen=None)
    init_node(tmp_path / "alice", settings, passphrase=None)
    return tmp_path / "alice"


def parts(home: Path) -> tuple[NodeConfig, NodeKeys, Genesis]:
    """Config, keys, and a genesis of this one validator."""
    genesis = build_genesis(network="alone", time_ms=1_000, validators=[(read_descriptor(home), 100)])
    return load_config(home), open_node_keys(home / "keys", None, validator=True), genesis


def policy(config: NodeConfig, amnesia: str) -> NodeConfig:
    return config.model_copy(update={"consensus": config.consensus.model_copy(update={"amnesia": amnesia})})


def write(home: Path, *records) -> None:
    """Add one group to the journal."""
    journal, _ = open_journal(journal_path(load_config(home)))
    journal.commit_blocking([encode_record(each) for each in records])
    journal.close()


def restored(config: NodeConfig):
    log = RecordingLog()
    keys = open_node_keys(config.keys_path, None, validator=True)
    journal, records = open_signing_journal(config, keys, log)  # type: ignore[arg-type]
    journal.close()
    return records, log


def test_the_journal_of_init_is_a_first_start(home) -> None:
    records, log = restored(load_config(home))
    assert records == ()
    assert log.events == []


def test_records_are_given_back(home) -> None:
    write(home, FLOOR)
    write(home, BAR)
    assert restored(load_config(home))[0] == (FLOOR, BAR)


def test_a_lost_journal_is_refused_in_words_that_bring_no_backup_back(home) -> None:
    config = policy(load_config(home), "refuse")
    journal_path(config).unlink()
    for _ in range(2):  # at every start, not only at that which found it missing
        with pytest.raises(UserError) as caught:
            restored(config)
        text = str(caught.value)
        assert "must not sign" in text
        assert "only the very newest journal" in text.lower()
        assert "never a backup" in text
        assert 'consensus.amnesia = "next_epoch"' in text


def test_a_lost_journal_is_amnesia_until_the_bar_is_known(home) -> None:
    """Whatever crash comes between: never does it look like a first start."""
    config = policy(load_config(home), "probe")
    journal_path(config).unlink()
    for _ in range(2):  # crashes before the first record
        records, log = restored(config)
        assert records is None
        assert log.count("journal.lost") == 1
    write(home, AMNESIA)
    records, log = restored(config)  # a crash in the middle of the probe
    assert records == (AMNESIA,)
    assert log.count("journal.lost") == 1
    with pytest.raises(UserError, match="must not sign"):
        restored(policy(config, "refuse"))
    write(home, BAR)
    records, log = restored(policy(config, "refuse"))
    assert records == (AMNESIA, BAR)
    assert log.events == []


def test_a_torn_first_record_after_a_loss_is_still_amnesia(home) -> None:
    config = policy(load_config(home), "probe")
    path = journal_path(config)
    path.unlink()
    restored(config)
    write(home, AMNESIA)
    path.write_bytes(path.read_bytes()[:-100])
    records, log = restored(config)
    assert records is None
    assert log.count("journal.torn_tail_dropped") == 1


def test_a_damaged_journal_is_a_lost_one(home) -> None:
    config = policy(load_config(home), "refuse")
    write(home, FLOOR)
    path = journal_path(config)
    path.write_bytes(b"\0" * 20 + path.read_bytes()[20:])
    with pytest.raises(UserError, match=r"damaged .* kept as journal\.damaged-1"):
        restored(config)
    assert path.with_name("journal.damaged-1").exists()


def test_a_journal_of_another_version_is_left_alone(home) -> None:
    config = load_config(home)
    journal, _ = open_journal(journal_path(config))
    journal.commit_blocking([b"\x91\x63 from the future"])
    journal.close()
    before = journal_path(config).read_bytes()
    with pytest.raises(LocalFault, match="run the version that wrote it"):
        restored(config)
    assert journal_path(config).read_bytes() == before


def test_a_loss_names_the_keys_that_were_there_and_none_that_was_made_since(home) -> None:
    config = load_config(home)
    assert lost_keys(config.data_path) is None
    first = open_node_keys(config.keys_path, None, validator=True).consensus[0].header.public
    journal_path(config).unlink()
    restored(config)
    assert lost_keys(config.data_path) == {first}
    second = write_key(
        config.keys_path / "consensus-2.key",
        seed=new_seed(),
        name="alice",
        purpose="consensus",
        passphrase=None,
    ).public
    for _ in range(2):  # restarts with the fresh key, before anything is in the journal
        records, _ = restored(config)
        assert records is None
        assert lost_keys(config.data_path) == {first}
    write(home, AMNESIA)
    journal_path(config).unlink()  # the second loss: both may have signed
    restored(config)
    assert lost_keys(config.data_path) == {first, second}


def test_a_loss_that_can_not_be_written_down_lets_nothing_be_signed(home) -> None:
    config = load_config(home)
    journal_path(config).unlink()
    (config.data_path / "lost-keys").write_text("not hexadecimal\n")
    with pytest.raises(LocalFault, match="which keys must not sign"):
        restored(config)


def made_node(home: Path, config: NodeConfig, keys: NodeKeys, genesis: Genesis) -> Node:
    """The node as it would start; closed again."""
    with Node.open(config, genesis, keys, structlog.get_logger("test")) as node:
        return node


def test_the_set_says_which_key_signs_and_who_is_no_member_follows(home, tmp_path) -> None:
    config, keys, genesis = parts(home)
    write_key(
        config.keys_path / "consensus-2.key",
        seed=new_seed(),
        name="alice",
        purpose="consensus",
        passphrase=None,
    )
    both = open_node_keys(config.keys_path, None, validator=True)
    assert len(both.consensus) == 2
    term = made_node(home, config, both, genesis).epochs.current
    assert term.own == 0
    assert term.key is not None
    assert term.key.header.public == genesis.validators[0].consensus_key
    settings = Settings(name="bob", listen=Address("127.0.0.1", 0), rpc_listen=None)
    init_node(tmp_path / "bob", settings, passphrase=None)
    bob_config, bob_keys, _ = parts(tmp_path / "bob")
    stranger = made_node(tmp_path / "bob", bob_config, bob_keys, genesis).epochs.current
    assert (stranger.own, stranger.key) == (None, None)
    mixed = replace(keys, identity=bob_keys.identity)
    with pytest.raises(UserError, match=r"another identity key for alice: use the identity\.key"):
        made_node(home, config, mixed, genesis)


def test_a_directory_serves_one_process_and_one_network(home) -> None:
    config, keys, genesis = parts(home)
    log = structlog.get_logger("test")
    with Node.open(config, genesis, keys, log), pytest.raises(UserError, match="in use by process"):
        Node.open(config, genesis, keys, log).__enter__()
    with (
        pytest.raises(UserError, match="belongs to network"),
        Node.open(config, replace(genesis, network="another"), keys, log),
    ):
        pass
    with Node.open(config, genesis, keys, log):  # what was refused has let go of everything
        pass


def test_a_directory_without_its_store_still_knows_its_network(tmp_path) -> None:
    """Its journal says what was signed on one network, and is of no use on another."""
    mine, other = Hash(b"m" * 32), Hash(b"o" * 32)
    bind_to_network(tmp_path, mine)
    bind_to_network(tmp_path, mine)
    with pytest.raises(UserError, match="belongs to network 6d6d6d6d6d6d6d6d"):
        bind_to_network(tmp_path, other)


def test_a_kill_while_a_directory_is_made_leaves_it_to_be_made_again(tmp_path, monkeypatch) -> None:
    mine = Hash(b"m" * 32)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            bind_to_network(tmp_path, mine)
    bind_to_network(tmp_path, Hash(b"o" * 32))  # nothing was promised to anybody yet
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left")))
        (tmp_path / "full").mkdir()
        with pytest.raises(LocalFault, match="No space left"):
            bind_to_network(tmp_path / "full", mine)


def test_a_lone_validator_runs_stops_and_flushes(home) -> None:
    """Cancelled at any moment, it makes durable what is final; a failing disk ends it at once."""
    config, keys, genesis = parts(home)
    log = RecordingLog()

    async def run() -> None:
        with Node.open(config, genesis, keys, log) as node, trio.fail_after(20):  # type: ignore[arg-type]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.run, ())
                while node.final_chain.executed_height < 3:  # noqa: ASYNC110
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
            assert node.final_chain.persisted_height >= 3
            assert node.final_chain.persisted_height == node.final_chain.executed_height

    trio.run(run)
    assert log.count("node.stopped") == 1


@pytest.mark.parametrize("broken", ["journal", "store"])
def test_a_disk_that_fails_ends_the_node_at_once(home, broken) -> None:
    config, keys, genesis = parts(home)
    log = RecordingLog()

    def refuse(*_: object) -> None:
        raise LocalFault("it can not be written (the disk is full)")

    async def run() -> None:
        with Node.open(config, genesis, keys, log) as node, trio.fail_after(20):  # type: ignore[arg-type]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.run, ())
                while node.final_chain.executed_height < 1:  # noqa: ASYNC110
                    await trio.sleep(0.01)
                if broken == "journal":
                    node.driver._journal.commit_blocking = refuse  # type: ignore[union-attr, method-assign]
                else:
                    node._store.persist_blocking = refuse  # type: ignore[method-assign]

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(run)
    faults, others = caught.value.split(LocalFault)
    assert faults is not None
    assert others is None
    assert log.count("node.stopped") == 0


def test_a_store_that_fails_at_the_end_is_told(home) -> None:
    config, keys, genesis = parts(home)
    log = RecordingLog()

    def refuse(*_: object) -> None:
        raise LocalFault("the store can not be written (the disk is full)")

    async def run() -> None:
        with Node.open(config, genesis, keys, log) as node, trio.fail_after(20):  # type: ignore[arg-type]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.run, ())
                while not node.final_chain._pending:
                    await trio.lowlevel.checkpoint()
                node._store.persist_blocking = refuse  # type: ignore[method-assign]
                nursery.cancel_scope.cancel()

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(run)
    faults, _ = caught.value.split(LocalFault)
    assert faults is not None
    assert log.count("node.stopped") == 0

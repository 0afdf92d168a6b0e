"""`phalanx light` and `phalanx evidence` against a network of real processes, over several epochs.

What was exported is verified after every node has stopped.
"""

from pathlib import Path

import pytest
from network_world import document, genesis_of, phalanx, running

from bench.directory import NetworkDirectory, lay_out, new_plan_name
from bench.plan import Plan
from consensus.agreement.messages import block_hash
from consensus.light.client import Checkpoint, LightParameters, verify_light_proof
from consensus.light.proofs import LightProof, decode_light_proof
from consensus.primitives.codec import decode, encode
from consensus.primitives.errors import DecodeError, PeerFault
from consensus.primitives.ids import Height
from node.cli.trust import now_ms
from node.client import ask
from node.setup import GENESIS_FILE
from node.validator_set import genesis_start

pytestmark = pytest.mark.slow
EPOCH_BLOCKS = 50
EPOCHS = 3


class Exported:
    """What was asked while the network ran."""

    def __init__(self, root: Path, network: NetworkDirectory) -> None:
        self.root = root
        self.network = network
        self.genesis = str(network.root / GENESIS_FILE)
        self.proofs: dict[str, tuple[Path, list[str]]] = {}  # file, and the question's words
        self.documents: dict[str, dict] = {}
        self.refusals: dict[str, str] = {}

    def phalanx(self, *arguments: str, code: int = 0) -> dict:
        done = phalanx(*arguments, "--json", network=self.network, HOME=str(self.root))
        return document(done, code)

    def prove(self, name: str, *question: str, trust: tuple[str, ...] = ()) -> dict:
        file = self.root / f"{name}.proof"
        self.proofs[name] = (file, list(question))
        return self.phalanx("light", "prove", *question, "--out", str(file), *trust)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A network that has crossed EPOCHS - 1 boundaries, asked everything, and stopped."""
    root = tmp_path_factory.mktemp("light")
    plan = Plan(
        network=new_plan_name(),
        validators=4,
        idle_interval_ms=100,
        bench_accounts=2,
        epoch_blocks=EPOCH_BLOCKS,
    )
    directory = lay_out(root / "net", plan)
    asked = Exported(root, directory)
    with running(directory, height=EPOCH_BLOCKS * (EPOCHS - 1) + 2):
        question_everything(asked, [each.rpc for each in directory.validators])
    return asked


def question_everything(asked: Exported, urls: list[str]) -> None:
    documents = asked.documents
    documents["sync"] = asked.phalanx("light", "sync", "--witness", urls[1], "--witness", urls[2])
    documents["again"] = asked.phalanx("light", "sync", "--rpc", urls[1])
    sent = ("tx", "send", "--from", "alice", "--to", "bob", "--amount", "5", "--wait")
    transaction = asked.phalanx(*sent)["hash"]
    documents["account"] = asked.prove("account", "account/bob")
    documents["nobody"] = asked.prove("nobody", "chain/77")
    documents["chain"] = asked.prove("chain", "text:d", "--chain", "agora")
    documents["enclave"] = asked.prove("enclave", "text:none", "--enclave", "assets")
    documents["receipt"] = asked.prove("receipt", "--receipt", transaction)
    kept = documents["again"]["state"]
    documents["kept"] = asked.prove("kept", "supply", trust=("--state", kept))
    block = ask(urls[0], lambda client: client.block(height=Height(EPOCH_BLOCKS + 3)))
    checked = f"{block.height}:{block.hash.hex()}"
    documents["checked"] = asked.prove("checked", "supply", trust=("--trusted", checked))
    asked.documents["block"] = {"checked": checked, "kept": kept}
    for name, height in (("low", 5), ("high", EPOCH_BLOCKS - 2)):
        file = str(asked.root / f"{name}.dossier")
        documents[name] = asked.phalanx("evidence", "dossier", str(height), "--out", file)
        asked.proofs[f"{name}.dossier"] = (Path(file), [])
    documents["evidence"] = {"list": asked.phalanx("query", "evidence")}


def test_sync_follows_over_the_boundaries_and_goes_on_from_its_file(exported) -> None:
    first, again = exported.documents["sync"], exported.documents["again"]
    assert first["hops"] >= EPOCHS - 1
    assert first["witnesses"] == 2
    assert again["height"] >= first["height"]
    assert again["hops"] < first["hops"]
    assert Path(again["state"]).is_relative_to(exported.root)


@pytest.mark.parametrize("name", ["account", "nobody", "chain", "enclave", "receipt"])
def test_what_was_exported_is_verified_offline_and_no_bit_of_it_may_flip(exported, name) -> None:
    file, question = exported.proofs[name]
    made = exported.documents[name]
    for words in (question, []):
        shown = exported.phalanx("light", "verify", str(file), *words, "--genesis", exported.genesis)
        assert shown == made | {"verified": True}
        assert shown["hops"] == shown["epoch"] - 1 >= EPOCHS - 1
    assert (shown["value"] is None) == (name in ("nobody", "enclave"))
    data = file.read_bytes()
    for damaged in flips(data):
        with pytest.raises(DecodeError):
            decode_light_proof(damaged)
    bad = exported.root / "bad.proof"
    bad.write_bytes(data[:100] + bytes([data[100] ^ 4]) + data[101:])
    refused = exported.phalanx("light", "verify", str(bad), "--genesis", exported.genesis, code=1)
    assert "damaged" in refused["error"]


def flips(data):
    """One bit of every byte."""
    for position in range(len(data)):
        yield data[:position] + bytes([data[position] ^ 1 << position % 8]) + data[position + 1 :]


def test_the_rules_alone_refuse_a_flipped_bit_in_any_byte(exported) -> None:
    """Without the file's checksum, which a liar would mend."""
    genesis = genesis_of(exported.network)
    terms = genesis.parameters
    parameters = LightParameters(
        chain=genesis.hash, trusting_ms=terms.trusting_ms, unbonding_ms=terms.unbonding_ms
    )
    checkpoint = Checkpoint(height=Height(0), hash=block_hash(genesis_start(genesis).header))
    data = exported.proofs["account"][0].read_bytes()
    question = decode_light_proof(data).proven.answer.question
    for damaged in flips(data[:-32]):
        with pytest.raises((DecodeError, PeerFault)):
            verify_light_proof(
                decode(LightProof, damaged, limit=len(damaged)), question, checkpoint, parameters, now_ms()
            )


def test_a_proof_answers_its_question_and_starts_where_trust_is(exported) -> None:
    file, _ = exported.proofs["account"]
    verify = ("light", "verify", str(file))
    other = exported.phalanx(*verify, "account/alice", "--genesis", exported.genesis, code=1)
    assert "another question" in other["error"]
    checked = exported.documents["block"]["checked"]
    moved = exported.phalanx(*verify, "--trusted", checked, code=1)
    assert "another block than the trusted one" in moved["error"]
    network = genesis_of(exported.network).hash.hex()
    from_block = ("light", "verify", str(exported.proofs["checked"][0]), "supply")
    shown = exported.phalanx(*from_block, "--network", network, "--trusted", checked)
    assert shown == exported.documents["checked"]
    assert shown["hops"] == shown["epoch"] - 2  # the block is of epoch 2
    forged = checked[:-1] + ("0" if checked[-1] != "0" else "1")
    assert "another block" in exported.phalanx(*from_block, "--trusted", forged, code=1)["error"]
    from_file = ("light", "verify", str(exported.proofs["kept"][0]), "supply")
    kept = exported.documents["block"]["kept"]
    assert exported.phalanx(*from_file, "--state", kept) == exported.documents["kept"]
    elsewhere = exported.phalanx(*verify, "--network", "22" * 32, "--trusted", checked, code=1)
    assert "another network" in elsewhere["error"]


def test_dossiers_of_one_history_blame_nobody(exported) -> None:
    low, high = (str(exported.proofs[f"{name}.dossier"][0]) for name in ("low", "high"))
    assert exported.documents["high"]["certificates"] >= EPOCH_BLOCKS - 2
    refused = exported.phalanx("evidence", "blame", low, high, code=1)
    assert "no fork to blame" in refused["error"]
    assert exported.documents["evidence"]["list"] == []


def test_a_sealed_record_has_one_encoding(exported) -> None:
    for file, _ in exported.proofs.values():
        if file.suffix == ".proof":
            assert file.read_bytes()[:-32] == encode(decode_light_proof(file.read_bytes()))

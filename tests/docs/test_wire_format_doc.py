"""docs/wire-format.md is what the code does: records, numbers, tags and bytes are recomputed here."""

import dataclasses
import enum
import importlib
import re
import types
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest

from consensus.agreement.evidence import Offence
from consensus.agreement.messages import (
    MAX_MESSAGE_BYTES,
    SIGN_BYTES_LENGTH,
    CertificateType,
    Kind,
    Want,
    block_hash,
    encode_message,
    genesis_header,
    sign_bytes,
)
from consensus.agreement.messages import GetBlock as GetBlockMessage
from consensus.agreement.statements import (
    STATEMENT_BYTES_LENGTH,
    Role,
    Verdict,
    statement_sign_bytes,
)
from consensus.agreement.thresholds import Mode
from consensus.candidates.receipts import MAX_OFFER_BYTES
from consensus.primitives.codec import _IDENTIFIERS as IDENTIFIERS
from consensus.primitives.codec import ExactLength, MaxLength, UnsignedBits, encode
from consensus.primitives.codec import _plan_of as plan_of
from consensus.primitives.crypto import SigningKey, hash_tagged
from consensus.primitives.guest import Policy
from consensus.primitives.ids import ZERO_HASH, Amount, Epoch, Hash, Milliseconds, Nonce, SecretSeed
from consensus.primitives.tree import EMPTY_ROOT, MemoryStore, Recorder, get, tree_key, update, witness_from
from consensus.relay.governance.records import Pace, ProposalStage
from consensus.relay.governance.transactions import Choice
from consensus.relay.notices.records import NoticeKind
from consensus.relay.offences.records import CaseState
from consensus.relay.offences.table import OffenceKind
from consensus.relay.receipts import Code
from consensus.relay.registry import ChainStanding
from consensus.relay.stake.records import PoolKind, Standing
from consensus.relay.transactions import (
    MAX_TRANSACTION_BYTES,
    TransactionBody,
    Transfer,
    sign_transaction,
    transaction_hash,
)
from net.frames import Outbox
from net.handshake import HELLO_BYTES, SECOND_BYTES, THIRD_BYTES, VERDICT_BYTES, VERDICTS, Handshake
from net.identity import Identity, PeerId
from net.lanes import Lane
from net.limits import DEFAULT_LANES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "wire-format.md").read_text()
MODULES = (
    "consensus.agreement.messages",
    "consensus.agreement.validators",
    "consensus.agreement.evidence",
    "consensus.agreement.statements",
    "consensus.agreement.journal_records",
    "consensus.agreement.blame",
    "consensus.light.leaves",
    "consensus.light.proofs",
    "consensus.light.client",
    "consensus.light.slashing_proof",
    "consensus.candidates.receipts",
    "consensus.messaging.lanes",
    "consensus.primitives.guest",
    "consensus.primitives.tree.proofs",
    "consensus.relay.transactions",
    "consensus.relay.parameters",
    "consensus.relay.blocks",
    "consensus.relay.receipts",
    "consensus.relay.genesis",
    "consensus.relay.ledger",
    "consensus.relay.registry",
    "consensus.relay.elections.records",
    "consensus.relay.epochs",
    "consensus.relay.governance.records",
    "consensus.relay.governance.tally",
    "consensus.relay.governance.transactions",
    "consensus.relay.notices.records",
    "consensus.relay.offences.meter",
    "consensus.relay.offences.records",
    "consensus.relay.offences.transactions",
    "consensus.relay.rewards.records",
    "consensus.relay.rewards.transactions",
    "consensus.relay.rewards.votes",
    "consensus.relay.security.rails",
    "consensus.relay.security.records",
    "consensus.relay.security.terms",
    "consensus.relay.security.transactions",
    "consensus.relay.stake.records",
    "consensus.relay.stake.transactions",
    "consensus.relay.ring",
    "consensus.relay.views",
    "node.router",
    "node.state_sync.messages",
)
TAG = re.compile(r"(?:TALLY|PHALANX|phalanx)/[a-z/-]+/\d+")


def type_name(hint: Any) -> str:
    """How the document writes a field's type."""
    if hint in IDENTIFIERS:
        return scalar_name(IDENTIFIERS[hint])
    if get_origin(hint) is Annotated:
        base, *marks = get_args(hint)
        mark = marks[0]
        if isinstance(mark, MaxLength):
            if get_origin(base) is tuple:
                return f"[{type_name(get_args(base)[0])}]≤{mark.length}"
            return f"{base.__name__}≤{mark.length}"
        return scalar_name(mark)
    if get_origin(hint) in (Union, types.UnionType):
        members = [each for each in get_args(hint) if each is not type(None)]
        names = "/".join(type_name(each) for each in members)
        return names + ("?" if type(None) in get_args(hint) else "")
    return str(hint.__name__)


def scalar_name(mark: UnsignedBits | ExactLength) -> str:
    return f"u{mark.bits}" if isinstance(mark, UnsignedBits) else f"b{mark.length}"


def record_row(kind: Any) -> str:
    """The table row of a record: its name, its prefix, its fields in order."""
    hints = get_type_hints(kind, include_extras=True)
    prefix = [str(getattr(kind, name)) for name in ("WIRE_VERSION", "WIRE_TAG") if hasattr(kind, name)]
    fields = [f"{each.name} {type_name(hints[each.name])}" for each in dataclasses.fields(kind)]
    return f"| `{kind.__name__}` | `{', '.join(prefix + fields)}` |"


def records() -> dict[str, Any]:
    """Every wire record that the modules define."""
    found = {}
    for name in MODULES:
        module = importlib.import_module(name)
        for kind in vars(module).values():
            if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == name:
                try:
                    plan_of(kind)
                except TypeError:  # not a wire type: a local record with a field of no width
                    continue
                found[kind.__name__] = kind
    return found


def enum_row(kind: type[enum.IntEnum]) -> str:
    return f"| `{kind.__name__}` | {', '.join(f'{each.value} {each.name}' for each in kind)} |"


def lane_row(lane: Lane) -> str:
    return f"| {lane.value} | `{lane.name}` | {DEFAULT_LANES[lane].frame_bytes} |"


def source_tags() -> set[str]:
    """Domain tags in the code that runs in a network."""
    tags = set()
    for room in ("consensus", "net", "node"):
        for path in (ROOT / room).rglob("*.py"):
            if "simulation" not in path.parts:
                for quoted in re.findall(r'b"([^"]*)"', path.read_text()):
                    tags.update(TAG.findall(quoted))
    return tags


def examples() -> dict[str, bytes]:
    """The worked examples of the document, from the code."""
    chain = Hash(bytes([0x11]) * 32)
    block = Hash(bytes([0x22]) * 32)
    key = SigningKey(SecretSeed(bytes(range(32))))
    body = TransactionBody(
        chain_id_hash=chain,
        sender=key.public,
        nonce=Nonce(7),
        max_fee=Amount(1_000),
        action=Transfer(to=key.public, amount=Amount(5)),
    )
    raw = sign_transaction(key, body)
    first, second = tree_key(b"guest", b"a"), tree_key(b"guest", b"b")
    tree = update(MemoryStore(), EMPTY_ROOT, {first: b"1", second: b"2"})
    recorder = Recorder(MemoryStore(tree.added))
    assert get(recorder, tree.root, first) == b"1"
    header = genesis_header(
        chain_id_hash=chain, epoch=Epoch(1), time_ms=Milliseconds(1_000), validators_hash=ZERO_HASH
    )
    outbox = Outbox(DEFAULT_LANES)
    outbox.put(Lane.BLOCKS, b"block")
    outbox.put(Lane.CONSENSUS, b"vote")
    outbox.put_ping(1)
    dialler = Handshake(identity=Identity(bytes(32)), network_id=chain, expected=PeerId(bytes(32)))
    return {
        "hello": dialler.start()[:HELLO_BYTES],
        "record plaintext": outbox.take(),
        "message": encode_message(GetBlockMessage(epoch=Epoch(1), block=block)),
        "vote": sign_bytes(chain, Kind.NOTARIZE, 1, 300, block, ZERO_HASH),
        "statement": statement_sign_bytes(chain, Epoch(1), Role.ATTEST, block, chain, Verdict.VALID),
        "hash": hash_tagged(b"TALLY/payload/1"),
        "header": encode(header),
        "block hash": block_hash(header),
        "transaction": raw,
        "transaction hash": transaction_hash(raw),
        "tree key": first,
        "tree root": tree.root,
        "witness": witness_from(tree.root, recorder),
    }


def documented_examples() -> dict[str, str]:
    blocks = re.findall(r"^Example, \*([a-z ]+)\*.*?\n+```\n(.*?)```", TEXT, re.MULTILINE | re.DOTALL)
    return {name: "".join(body.split()) for name, body in blocks}


@pytest.mark.parametrize("kind", records().values(), ids=lambda kind: kind.__name__)
def test_each_record_is_documented_as_it_is_encoded(kind: Any) -> None:
    assert record_row(kind) in TEXT


def test_no_record_is_documented_that_does_not_exist() -> None:
    rows = re.findall(r"^\| `([A-Z]\w+)` \| `", TEXT, re.MULTILINE)
    assert sorted(rows) == sorted(records())


def test_every_tagged_class_of_the_consensus_is_a_documented_record() -> None:
    known = set(records())
    for path in (ROOT / "consensus").rglob("*.py"):
        for name in re.findall(r"^class (\w+)[^\n]*\n(?:(?!^class ).*\n)*?    WIRE_", path.read_text(), re.M):
            assert name in known, f"{path.name}: {name}"


@pytest.mark.parametrize(
    "kind",
    [
        Kind,
        CertificateType,
        Want,
        Mode,
        Role,
        Verdict,
        Code,
        Standing,
        PoolKind,
        Offence,
        OffenceKind,
        CaseState,
        Choice,
        Pace,
        ProposalStage,
        Policy,
        ChainStanding,
        NoticeKind,
    ],
)
def test_numbers_of_an_enumeration_are_documented(kind: type[enum.IntEnum]) -> None:
    assert enum_row(kind) in TEXT


@pytest.mark.parametrize("lane", list(Lane))
def test_lanes_are_documented(lane: Lane) -> None:
    assert lane_row(lane) in TEXT


def test_the_largest_messages_fit_their_lanes() -> None:
    assert DEFAULT_LANES[Lane.CANDIDATES].frame_bytes >= MAX_OFFER_BYTES
    assert DEFAULT_LANES[Lane.TRANSACTIONS].frame_bytes >= MAX_TRANSACTION_BYTES + 16
    assert DEFAULT_LANES[Lane.BLOCKS].frame_bytes >= MAX_MESSAGE_BYTES


def test_verdicts_of_the_handshake_are_documented() -> None:
    for reason, code in VERDICTS.items():
        assert f"{code} {reason}" in TEXT


def test_domain_tags_are_the_same_in_document_and_code() -> None:
    assert set(TAG.findall(TEXT)) == source_tags()


def test_widths_are_the_codes() -> None:
    for width in (HELLO_BYTES, SECOND_BYTES, THIRD_BYTES, VERDICT_BYTES):
        assert f"| {width} |" in TEXT
    assert (SIGN_BYTES_LENGTH, STATEMENT_BYTES_LENGTH) == (126, 124)


@pytest.mark.parametrize(("name", "value"), examples().items(), ids=lambda each: str(each)[:20])
def test_worked_examples_are_what_the_code_makes(name: str, value: bytes) -> None:
    assert documented_examples()[name] == value.hex()


def test_no_example_is_unchecked() -> None:
    assert set(documented_examples()) == set(examples())

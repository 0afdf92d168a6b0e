"""Slashing proofs: each kind convicts under its root alone, and no bit of one can be another."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from slashing_world import (
    CHAIN,
    EPOCH,
    KEYS,
    PAIRS,
    ROOT,
    SET,
    A,
    B,
    against,
    led_by,
    proofs,
    statements,
    votes,
)

from consensus.agreement.evidence import Offence, evidence_from
from consensus.agreement.messages import Kind
from consensus.agreement.statements import Verdict
from consensus.light.slashing_proof import (
    FAULT_BYTES,
    Fault,
    SlashingProof,
    SlashingRefused,
    decode_slashing_proof,
    encode_slashing_proof,
    fault_bytes,
    fault_hash,
    verify_slashing_proof,
)
from consensus.primitives.errors import DecodeError
from consensus.primitives.ids import ZERO_HASH, Hash, ValidatorIndex, View
from consensus.relay.offences.table import OffenceKind

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "slashing_proofs.json").read_text())
PROOFS = proofs()


@pytest.mark.parametrize("name", PROOFS)
def test_each_kind_convicts_its_signer_under_the_root_alone(name: str) -> None:
    finding = verify_slashing_proof(ROOT, decode_slashing_proof(encode_slashing_proof(PROOFS[name])))
    assert finding.offence is Fault[name]
    assert (finding.key, finding.stake, finding.total) == (KEYS[3].public, 10, 100)
    assert (finding.chain, finding.epoch, finding.validator) == (CHAIN, EPOCH, 3)


@pytest.mark.parametrize("name", ["DOUBLE_PROPOSAL", "DOUBLE_NOTARIZE", "FALSE_ACCUSATION"])
def test_every_flipped_bit_is_refused(name: str) -> None:
    """Of these: the other kinds have the same records. Of the statements' a shorter test below."""
    data = encode_slashing_proof(PROOFS[name])
    for place in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises((DecodeError, SlashingRefused)):
            verify_slashing_proof(ROOT, decode_slashing_proof(bytes(flipped)))


@pytest.mark.parametrize("name", PROOFS)
def test_every_changed_byte_is_refused(name: str) -> None:
    data = encode_slashing_proof(PROOFS[name])
    for place in range(len(data)):
        changed = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
        with pytest.raises((DecodeError, SlashingRefused)):
            verify_slashing_proof(ROOT, decode_slashing_proof(changed))
    for cut in (data[:-1], data + b"\0", b""):
        with pytest.raises(DecodeError):
            decode_slashing_proof(cut)


def refusal(proof: SlashingProof, root: bytes = ROOT) -> str:
    with pytest.raises(SlashingRefused) as caught:
        verify_slashing_proof(Hash(root), proof)
    return str(caught.value)


def test_a_refusal_says_why() -> None:
    pair = PAIRS[Offence.DOUBLE_NOTARIZE]
    assert "another validator set" in refusal(votes(pair), A)
    assert "none of index 4" in refusal(replace(votes(pair), signer=ValidatorIndex(4)))
    assert "convict nobody" in refusal(replace(votes(pair), signer=ValidatorIndex(2)))
    assert "no view 0" in refusal(votes(pair, view=0))
    assert "no more than 2/3" in refusal(against(Verdict.VALID, judges=(0, 2)))  # 60 of 100
    assert "increasing order" in refusal(against(Verdict.VALID, judges=(1, 0)))
    assert "increasing order" in refusal(against(Verdict.VALID, judges=(0, 0, 1)))
    verdict = against(Verdict.VALID)
    assert "no verdict" in refusal(replace(verdict, fault=replace(verdict.fault, verdict=9)))
    assert "contrary" in refusal(replace(verdict, signer=ValidatorIndex(2)))
    assert "did not sign that the candidate is valid" in refusal(
        replace(statements(), signer=ValidatorIndex(1))
    )


def test_a_double_proposal_is_one_of_the_views_leader_alone() -> None:
    pair = PAIRS[Offence.DOUBLE_PROPOSAL]
    assert SET.leader(led_by(0)) == 0
    assert "lead" in refusal(votes(pair, signer=3, view=led_by(0)))
    assert verify_slashing_proof(ROOT, votes(pair, signer=0)).validator == 0


def test_what_an_honest_validator_signs_convicts_nobody() -> None:
    """A vote and the finalisation of the same block; one vote twice."""
    pair = ((Kind.NOTARIZE, A, ZERO_HASH), (Kind.FINALIZE, A, ZERO_HASH))
    with pytest.raises(ValueError, match="honest"):
        votes(pair)
    honest = votes(PAIRS[Offence.DOUBLE_NOTARIZE])
    twice = replace(honest, fault=replace(honest.fault, second=honest.fault.first))
    assert "convict nobody" in refusal(twice)


def test_the_root_may_name_what_is_no_set() -> None:
    """Whoever trusts a wrong root gets a refusal, not a crash."""
    from consensus.agreement.validators import root_of

    proof = votes(PAIRS[Offence.DOUBLE_NOTARIZE])
    for changes in ({"mode": 9}, {"window": 0}, {"validators": ()}):
        record = replace(proof.validators, **changes)
        assert "no validator set" in refusal(replace(proof, validators=record), root_of(record))


def test_numbers_are_those_of_the_relay_chains_table() -> None:
    assert {each.name: each.value for each in Fault} == {
        each.name: each.value for each in OffenceKind if each is not OffenceKind.DOWNTIME
    }


def test_the_fault_has_fixed_widths() -> None:
    proof = votes(PAIRS[Offence.NOTARIZE_AND_SKIP])
    fault = proof.fault
    piece = evidence_from(
        epoch=EPOCH, view=View(fault.view), signer=ValidatorIndex(3), a=fault.first, b=fault.second
    )
    data = fault_bytes(piece, KEYS[3].public, CHAIN)
    assert len(data) == FAULT_BYTES
    assert data[:32] == KEYS[3].public
    assert data[32:96] == fault.first.sig
    assert fault_hash(data) != fault_hash(data[:-1] + b"\1")


# --- published for other implementations


@pytest.mark.parametrize("vector", VECTORS["convicting"], ids=lambda each: each["offence"])
def test_the_published_vectors_convict(vector: dict) -> None:
    proof = decode_slashing_proof(bytes.fromhex(vector["proof"]))
    finding = verify_slashing_proof(Hash(bytes.fromhex(vector["set_root"])), proof)
    assert finding.offence.name == vector["offence"]
    assert finding.key.hex() == vector["key"]
    assert (finding.stake, finding.total, finding.epoch) == (
        vector["stake"],
        vector["total"],
        vector["epoch"],
    )
    assert encode_slashing_proof(PROOFS[vector["offence"]]).hex() == vector["proof"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda each: each["why"])
def test_the_published_vectors_refuse(vector: dict) -> None:
    with pytest.raises((DecodeError, SlashingRefused)):
        verify_slashing_proof(
            Hash(bytes.fromhex(vector["set_root"])), decode_slashing_proof(bytes.fromhex(vector["proof"]))
        )


def test_the_vectors_hold_every_kind() -> None:
    assert {each["offence"] for each in VECTORS["convicting"]} == {each.name for each in Fault}
    assert len(VECTORS["refused"]) >= 5
    assert B not in (ROOT, ZERO_HASH)

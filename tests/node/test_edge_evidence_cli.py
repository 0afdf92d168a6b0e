"""`phalanx evidence blame` on files: real keys, a real fork, and files that show none."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from consensus.agreement.blame import Dossier, encode_dossier
from consensus.agreement.certificates import pack_group
from consensus.agreement.evidence import Evidence, Offence, verify_evidence
from consensus.agreement.messages import (
    Certificate,
    CertificateType,
    Kind,
    block_hash,
    genesis_header,
    payload_root,
    sign_bytes,
)
from consensus.agreement.validators import Validator, ValidatorSet
from consensus.primitives import crypto
from consensus.primitives.codec import decode
from consensus.primitives.crypto import SigningKey, hash_tagged
from consensus.primitives.ids import ZERO_HASH, SecretSeed
from node.cli.main import main

CHAIN = hash_tagged(b"test/chain", b"evidence")
KEYS = [SigningKey(SecretSeed(hash_tagged(b"test/key", bytes([i])))) for i in range(4)]
SET = ValidatorSet([Validator(key=key.public, stake=10) for key in KEYS], chain_id_hash=CHAIN, epoch=1)
GENESIS = genesis_header(chain_id_hash=CHAIN, epoch=1, time_ms=1_000, validators_hash=SET.validators_hash)


def certificate(ctype, kind, view, block, signers):
    message = sign_bytes(CHAIN, kind, 1, view, block, ZERO_HASH)
    group = pack_group(kind, block, ZERO_HASH, {i: KEYS[i].sign(message) for i in signers}, 4)
    return Certificate(
        ctype=int(ctype), epoch=1, view=view, block=block, groups=(group,), fault=None, leader_sigs=()
    )


def dossier(view, content, signers, support=()):
    """A first block of the epoch, final in `view`."""
    header = replace(
        GENESIS,
        height=1,
        view=view,
        parent_hash=block_hash(GENESIS),
        proposer=SET.leader(view),
        payload_root=payload_root(content),
    )
    final = certificate(CertificateType.FINAL, Kind.FINALIZE, view, block_hash(header), signers)
    return Dossier(
        chain=CHAIN,
        epoch=1,
        validators=SET.record,
        headers=(header,),
        certificate=final,
        support=tuple(support),
    )


SKIPPED = certificate(CertificateType.SKIP, Kind.SKIP, 1, ZERO_HASH, (0, 2, 3))


def run(*arguments, code=0):
    done = CliRunner().invoke(main, ["evidence", "blame", *map(str, arguments), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def write(tmp_path, **dossiers):
    paths = []
    for name, each in dossiers.items():
        paths.append(tmp_path / f"{name}.dossier")
        paths[-1].write_bytes(encode_dossier(each))
    return paths


@pytest.mark.parametrize("swap", [False, True])
def test_the_guilty_are_named_with_evidence_that_stands_alone(tmp_path, swap) -> None:
    files = write(tmp_path, a=dossier(1, b"a", (0, 1, 2)), b=dossier(2, b"b", (0, 2, 3), support=[SKIPPED]))
    shown = run(*(files[::-1] if swap else files), "--out", tmp_path / "found")
    assert (shown["epoch"], shown["view"], shown["certificates"]) == (1, 1, ["FINAL", "SKIP"])
    assert (shown["stake"], shown["tolerated"], shown["total"]) == (20, 13, 40)
    assert [each["validator"] for each in shown["guilty"]] == [0, 2]
    for each in shown["guilty"]:
        data = bytes.fromhex(each["evidence"])
        assert (tmp_path / "found" / f"{each['validator']}.evidence").read_bytes() == data
        found = verify_evidence(decode(Evidence, data, limit=1_000), SET, CHAIN, crypto.verify)
        assert found is Offence.FINALIZE_AND_FALLBACK
        assert each["offence"] == "finalize_and_fallback"
        assert each["key"] == KEYS[each["validator"]].public.hex()


def test_a_fork_whose_proof_is_incomplete_says_what_is_missing(tmp_path) -> None:
    files = write(tmp_path, a=dossier(1, b"a", (0, 1, 2)), b=dossier(2, b"b", (0, 2, 3)))
    assert "the SkipCert of view 1" in run(*files, code=1)["error"]
    assert "whoever has none is to blame" in run(*files, code=1)["error"]


def test_files_that_show_nothing_are_refused(tmp_path) -> None:
    good, other = dossier(1, b"a", (0, 1, 2)), dossier(1, b"b", (0, 2, 3))
    few = replace(other, certificate=dossier(1, b"b", (0, 2)).certificate)
    one, two, weak = write(tmp_path, one=good, two=other, weak=few)
    assert run(one, two)["certificates"] == ["FINAL", "FINAL"]
    assert "no fork" in run(one, one, code=1)["error"]
    assert "too little stake" in run(one, weak, code=1)["error"]
    assert "can not be read" in run(one, tmp_path / "none", code=1)["error"]
    two.write_bytes(two.read_bytes()[:-1])
    assert "damaged, or no dossier" in run(one, two, code=1)["error"]

"""`phalanx bench certificates`: what checking signatures costs as the validator set grows.

A certificate of n validators holds a quorum of Ed25519 signatures. It is timed as a stranger meets it (a
light client, a node that catches up: every signature is checked) and as a validator meets it that has
counted the votes already (every signature is remembered). How many checks a block costs each validator is
counted in a run of the real engine on wide-area delays; one check is timed here.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from bench.mesh import Mesh
from bench.regions import place
from bench.statistics import columns, percentile
from consensus.agreement.certificates import SignatureChecker, pack_group, verify_certificate
from consensus.agreement.messages import (
    Certificate,
    CertificateType,
    Kind,
    LeaderSignature,
    encode_message,
    sign_bytes,
)
from consensus.agreement.validators import Validator, ValidatorSet
from consensus.primitives import crypto
from consensus.primitives.crypto import SigningKey, hash_tagged
from consensus.primitives.ids import ZERO_HASH, Epoch, SecretSeed, Stake, View

CHAIN: Final = hash_tagged(b"TALLY/genesis/1", b"bench")
EPOCH: Final = Epoch(1)
VIEW: Final = View(7)
BLOCK: Final = hash_tagged(b"PHALANX/bench/block")
ROUNDS: Final = 15
BLOCKS: Final = 5
WARM_UP_BLOCKS: Final = 2


def run(sizes: tuple[int, ...]) -> dict[str, Any]:
    """A row for each size, in the order given."""
    return {"rows": [_measure(size) for size in sizes]}


def report_table(report: dict[str, Any]) -> str:
    """The report for people: a line for each size."""
    return columns(
        ("n", "signatures", "bytes", "stranger ms", "check us", "remembered ms", "received", "checked", "ms"),
        [tuple(row.values()) for row in report["rows"]],
    )


def _measure(count: int) -> dict[str, Any]:
    keys = [
        SigningKey(SecretSeed(hash_tagged(b"PHALANX/bench/seed", b"%d" % index))) for index in range(count)
    ]
    validators = ValidatorSet(
        [Validator(key=key.public, stake=Stake(1)) for key in keys], chain_id_hash=CHAIN, epoch=EPOCH
    )
    certificate = _notarization(keys, validators)

    def checker() -> SignatureChecker:
        return SignatureChecker(chain_id_hash=CHAIN, epoch=EPOCH, keys=validators.keys, verify=crypto.verify)

    warm = checker()
    cold_ms = _p50_ms(lambda: verify_certificate(certificate, validators, checker()))
    verify_certificate(certificate, validators, warm)
    warm_ms = _p50_ms(lambda: verify_certificate(certificate, validators, warm))
    signatures = len(certificate.groups[0].sigs) + len(certificate.leader_sigs)
    mesh = Mesh(place(count)).run(warm_up=WARM_UP_BLOCKS, blocks=BLOCKS)
    share = BLOCKS * count
    checked = mesh.signatures_checked / share
    return {
        "validators": count,
        "signatures": signatures,
        "bytes": len(encode_message(certificate)),
        "stranger_ms": cold_ms,
        "one_check_us": round(cold_ms * 1_000 / signatures, 1),
        "remembered_ms": warm_ms,
        "received_per_block": round(mesh.signatures_received / share, 1),
        "checked_per_block": round(checked, 1),
        "check_ms_per_block": round(checked * cold_ms / signatures, 2),
    }


def _notarization(keys: list[SigningKey], validators: ValidatorSet) -> Certificate:
    def sign(index: int, kind: Kind) -> Any:
        return keys[index].sign(sign_bytes(CHAIN, kind, EPOCH, VIEW, BLOCK, ZERO_HASH))

    voters = range(validators.stake.quorum)
    votes = {index: sign(index, Kind.NOTARIZE) for index in voters}
    leader = sign(validators.leader(VIEW), Kind.PROPOSE)
    return Certificate(
        ctype=int(CertificateType.NOTARIZATION),
        epoch=EPOCH,
        view=VIEW,
        block=BLOCK,
        groups=(pack_group(Kind.NOTARIZE, BLOCK, ZERO_HASH, votes, len(validators)),),
        fault=None,
        leader_sigs=(LeaderSignature(block=BLOCK, sig=leader),),
    )


def _p50_ms(work: Callable[[], None]) -> float:
    spent: list[int] = []
    for _ in range(ROUNDS):
        began = time.process_time_ns()  # of this process alone: others may be at work on the machine
        work()
        spent.append(time.process_time_ns() - began)
    return round(percentile(spent, 0.5) / 1e6, 3)

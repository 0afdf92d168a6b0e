"""The oracle: nobody signs with a key that it was not given."""

from consensus.primitives.ids import PublicKey, Signature
from consensus.simulation.signatures import SignatureOracle

ALICE, BOB = PublicKey(b"a" * 32), PublicKey(b"b" * 32)


def test_only_what_was_signed_verifies() -> None:
    oracle = SignatureOracle()
    sig = oracle.signer(ALICE)(b"yes")
    assert len(sig) == 64
    assert oracle.verify(ALICE, b"yes", sig)
    assert not oracle.verify(ALICE, b"no", sig)
    assert not oracle.verify(BOB, b"yes", sig)
    assert not oracle.verify(ALICE, b"yes", Signature(bytes(64)))


def test_a_token_computed_elsewhere_proves_nothing_here() -> None:
    stolen = SignatureOracle().signer(ALICE)(b"yes")
    assert not SignatureOracle().verify(ALICE, b"yes", stolen)


def test_signing_is_deterministic() -> None:
    first, second = SignatureOracle(), SignatureOracle()
    assert first.signer(ALICE)(b"yes") == first.signer(ALICE)(b"yes") == second.signer(ALICE)(b"yes")
    assert first.signer(ALICE)(b"yes") != first.signer(BOB)(b"yes")
    assert first.has_signed(ALICE, b"yes")
    assert not second.has_signed(BOB, b"yes")

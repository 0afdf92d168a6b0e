"""A chain over several epochs whose sets change, made by hand: headers, certificates, hops, proofs.

Views restart in each epoch and skip now and then; boundaries are final directly or through tails. Signatures
are keyed hashes unless real keys are asked for.
"""

from dataclasses import replace

from consensus.agreement.certificates import pack_group, pack_leader_sigs
from consensus.agreement.messages import (
    FLAG_BOUNDARY,
    FLAG_TAIL,
    Certificate,
    CertificateType,
    FinalityProof,
    Kind,
    block_hash,
    genesis_header,
    payload_root,
    sign_bytes,
)
from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import Validator, ValidatorSet
from consensus.light.client import Checkpoint, LightParameters
from consensus.light.proofs import EpochHop, FinalHead, Start
from consensus.primitives import crypto
from consensus.primitives.crypto import SigningKey, hash_tagged
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Height, Milliseconds, SecretSeed, View

CHAIN = hash_tagged(b"test/chain", b"light")
GENESIS_MS = 1_700_000_000_000
BLOCK_MS = 1_000
EPOCH_BLOCKS = 4
DAY_MS = 86_400_000


class FakeKey:
    """Signs by a keyed hash: quick, and nobody else in a test makes them."""

    def __init__(self, seed):
        self.public = seed

    def sign(self, message):
        return hash_tagged(b"test/sig", self.public, message) * 2


def fake_verify(public, message, sig):
    return hash_tagged(b"test/sig", public, message) * 2 == sig


def key_of(index, real):
    seed = hash_tagged(b"test/key", index.to_bytes(2, "big"))
    return SigningKey(SecretSeed(seed)) if real else FakeKey(seed)


class LightChain:
    """`stakes[e]` are the stakes of epoch e + 1, by validator number; 0: not in the set."""

    def __init__(self, stakes, *, mode=Mode.STRICT, real=False, state_root=ZERO_HASH, fork=b""):
        self.stakes, self.mode, self.fork = stakes, mode, fork
        self.keys = [key_of(index, real) for index in range(max(map(len, stakes)))]
        self.members = [[i for i, stake in enumerate(row) if stake] for row in stakes]
        self.sets = []
        self.headers = {}  # by height
        self.tails = {}  # by epoch, above its boundary
        self.state_root = state_root
        self._build()
        verify = crypto.verify if real else fake_verify
        self.parameters = LightParameters(
            chain=CHAIN,
            trusting_ms=Milliseconds(14 * DAY_MS),
            unbonding_ms=Milliseconds(21 * DAY_MS),
            verify=verify,
        )

    # --- making

    def _set(self, epoch, seed):
        row = self.stakes[epoch - 1]
        return ValidatorSet(
            [Validator(key=self.keys[i].public, stake=row[i]) for i in self.members[epoch - 1]],
            chain_id_hash=CHAIN,
            epoch=Epoch(epoch),
            mode=self.mode,
            leader_seed=seed,
        )

    def _build(self):
        self.sets.append(self._set(1, ZERO_HASH))
        self.headers[0] = parent = genesis_header(
            chain_id_hash=CHAIN,
            epoch=Epoch(1),
            time_ms=GENESIS_MS,
            validators_hash=self.sets[0].validators_hash,
        )
        for epoch in range(1, len(self.stakes) + 1):
            parent_view = 0
            for step in range(1, EPOCH_BLOCKS + 1):
                last = step == EPOCH_BLOCKS
                if last and epoch < len(self.stakes):
                    self.sets.append(self._set(epoch + 1, block_hash(parent)))
                ends = last and epoch < len(self.stakes)
                view = parent_view + 1 + (step + epoch) % 2
                parent = self.block(parent, epoch, view, parent_view, FLAG_BOUNDARY if ends else 0)
                self.headers[parent.height] = parent
                parent_view = view
            above = parent
            self.tails[epoch] = []
            for _ in range(2):
                above = self.block(above, epoch, above.view + 1, above.view, FLAG_TAIL)
                self.tails[epoch].append(above)

    def block(self, parent, epoch, view, parent_view, flags=0):
        validators = self.sets[epoch - 1]
        following = self.sets[epoch].validators_hash if flags == FLAG_BOUNDARY else ZERO_HASH
        return replace(
            self.headers[0],
            epoch=Epoch(epoch),
            view=View(view),
            height=Height(parent.height + 1),
            parent_hash=block_hash(parent),
            parent_view=View(parent_view),
            proposer=validators.leader(View(view)),
            time_ms=parent.time_ms + BLOCK_MS,
            payload_root=payload_root(self.fork),
            state_root=self.state_root,
            validators_hash=validators.validators_hash,
            next_validators_hash=following,
            flags=flags,
        )

    # --- certificates

    def sign(self, epoch, index, kind, view, block, aux=ZERO_HASH):
        key = self.keys[self.members[epoch - 1][index]]
        return key.sign(sign_bytes(CHAIN, kind, epoch, view, block, aux))

    def group(self, epoch, kind, view, block, signers, aux=ZERO_HASH):
        sigs = {i: self.sign(epoch, i, kind, view, block, aux) for i in signers}
        return pack_group(kind, block, aux, sigs, len(self.sets[epoch - 1]))

    def certificate(self, header, ctype=CertificateType.FINAL, signers=None):
        """A certificate of one group for a header's block, by a quorum or by `signers`."""
        epoch, view, block = header.epoch, header.view, block_hash(header)
        validators = self.sets[epoch - 1]
        if signers is None:
            signers = self.quorum(epoch)
        kind = Kind.FINALIZE if ctype == CertificateType.FINAL else Kind.NOTARIZE
        groups = (self.group(epoch, kind, view, block, signers),)
        sig = self.sign(epoch, validators.leader(view), Kind.PROPOSE, view, block)
        return Certificate(
            ctype=int(ctype),
            epoch=epoch,
            view=view,
            block=block,
            groups=groups,
            fault=None,
            leader_sigs=pack_leader_sigs({block: sig}, groups),
        )

    def quorum(self, epoch):
        """The fewest validators, from the first on, that are a quorum."""
        validators = self.sets[epoch - 1]
        signers = []
        while validators.weight(signers) < validators.stake.quorum:
            signers.append(len(signers))
        return signers

    def everybody(self, epoch):
        return list(range(len(self.sets[epoch - 1])))

    # --- proofs

    def head(self, height, *, fast=False, through=0):
        """The proof of the block at `height`, by a certificate `through` blocks above it."""
        header = self.headers[height]
        line = [header]
        for _ in range(through):
            top = line[-1]
            if top.flags & (FLAG_BOUNDARY | FLAG_TAIL):
                line.append(self.tails[header.epoch][len([h for h in line if h.flags & FLAG_TAIL])])
            else:
                line.append(self.headers[top.height + 1])
        top = line[-1]
        ctype = CertificateType.FAST_FINAL if fast else CertificateType.FINAL
        signers = self.everybody(header.epoch) if fast else None
        certificate = self.certificate(top, ctype, signers)
        return FinalHead(header=header, finality=FinalityProof(path=tuple(line[1:]), certificate=certificate))

    def hop(self, epoch, **options):
        return EpochHop(
            boundary=self.head(epoch * EPOCH_BLOCKS, **options), validators=self.sets[epoch].record
        )

    def hops(self, first, last, **options):
        return tuple(self.hop(epoch, **options) for epoch in range(first, last))

    def start(self, height):
        header = self.headers[height]
        return Start(header=header, validators=self.sets[header.epoch - 1].record)

    def checkpoint(self, height):
        return Checkpoint(height=Height(height), hash=Hash(block_hash(self.headers[height])))

    @property
    def now_ms(self):
        return Milliseconds(self.headers[max(self.headers)].time_ms + 5_000)

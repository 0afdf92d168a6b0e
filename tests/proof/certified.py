"""Which certificates of a view can be made from what honest validators signed, with the Byzantine one's help.

Everything honest that was signed may have reached the Byzantine validator, and it may sign anything for
anybody: so the certificates that can exist are those that `verify_certificate` accepts when every group holds
all honest signers that there are, and the Byzantine one. A rule that asks for a justification is tried with
every selection of the groups that need one.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations

from consensus.agreement.certificates import SignatureChecker, verify_certificate
from consensus.agreement.messages import CertificateType, Group, Kind
from consensus.primitives.errors import PeerFault
from tests.proof.scope import EPOCH, SKIP_MARK, Scope, Signed, verify

Votes = Mapping[int, Iterable[Signed]]  # of honest validators, in one view

FINALITY = (CertificateType.FAST_FINAL, CertificateType.FINAL)
BLOCK_TYPES = (CertificateType.NOTARIZATION, CertificateType.FALLBACK, *FINALITY)


class Certified:
    """All certificates of one scope, as facts."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.check = SignatureChecker(
            chain_id_hash=scope.chain_id_hash, epoch=EPOCH, keys=scope.validators.keys, verify=verify
        )

    def facts(self, view: int, votes: Votes) -> int:
        """The mask of what can be certified in `view`."""
        scope = self.scope
        signers: dict[Signed, set[int]] = {}
        for signer, signed in votes.items():
            for each in signed:
                signers.setdefault(each, set()).add(signer)
        mask = 0
        for block in scope.in_view[view]:
            for ctype in BLOCK_TYPES:
                if any(self._valid(ctype, view, block, g) for g in self._block_groups(ctype, block, signers)):
                    mask |= scope.fact("certificate", int(ctype), view, block)
        if any(
            self._valid(CertificateType.SKIP, view, SKIP_MARK, groups)
            for groups in self._skip_groups(view, signers)
        ):
            mask |= scope.fact("certificate", int(CertificateType.SKIP), view, SKIP_MARK)
        return mask

    def contradiction(self, view: int, mask: int) -> str | None:
        """What section 19.1 forbids beside a certificate of finality in one view."""
        scope = self.scope

        def exists(ctype: CertificateType, block: int) -> bool:
            return bool(mask & scope.fact("certificate", int(ctype), view, block))

        for block in self.final_blocks(view, mask):
            name = scope.blocks[block].name
            if exists(CertificateType.SKIP, SKIP_MARK):
                return f"{name} is final in view {view} beside a SkipCert"
            for other in scope.in_view[view]:
                for ctype in BLOCK_TYPES:
                    if other != block and exists(ctype, other):
                        beside = f"{ctype.name} of {scope.blocks[other].name}"
                        return f"{name} is final in view {view} beside {beside}"
        both = [b for b in scope.in_view[view] if exists(CertificateType.NOTARIZATION, b)]
        return None if len(both) < 2 else f"two blocks are notarised in view {view}"

    def final_blocks(self, view: int, mask: int) -> list[int]:
        """The blocks of `view` for which a certificate of finality exists."""
        return [
            block
            for block in self.scope.in_view[view]
            for ctype in FINALITY
            if mask & self.scope.fact("certificate", int(ctype), view, block)
        ]

    def fork(self, mask: int) -> str | None:
        """Two final blocks of any views that are not on one chain."""
        scope = self.scope
        final = sorted({b for view in scope.in_view for b in self.final_blocks(view, mask)})
        for low, high in combinations(final, 2):
            if not scope.extends(high, low):
                return f"{scope.blocks[low].name} and {scope.blocks[high].name} are both final"
        return None

    def _valid(self, ctype: CertificateType, view: int, block: int, groups: list[Group]) -> bool:
        try:
            certificate = self.scope.certificate(ctype, view, block, groups)
            verify_certificate(certificate, self.scope.validators, self.check)
        except PeerFault:
            return False
        return True

    def _group(self, signed: Signed, signers: Mapping[Signed, set[int]]) -> Group:
        return self.scope.group({*signers.get(signed, ()), self.scope.byzantine}, signed)

    def _block_groups(
        self, ctype: CertificateType, block: int, signers: Mapping[Signed, set[int]]
    ) -> list[list[Group]]:
        view = self.scope.blocks[block].header.view
        if ctype is CertificateType.FINAL:
            return [[self._group(Signed(view, Kind.FINALIZE, block), signers)]]
        support = self._group(Signed(view, Kind.NOTARIZE, block), signers)
        if ctype is not CertificateType.FALLBACK:
            return [[support]]
        plain = self._group(Signed(view, Kind.NFALL, block), signers)
        declared = [s for s in signers if s.kind == Kind.NFALL and s.block == block and s.aux]
        groups = [self.scope.group(signers[each], each) for each in sorted(declared)]
        return [[support, plain, *some] for some in _subsets(groups)]

    def _skip_groups(self, view: int, signers: Mapping[Signed, set[int]]) -> list[list[Group]]:
        """SKIP of all, and for every selection of SFALL groups all NOTARIZE groups as conflict."""
        skips = self._group(Signed(view, Kind.SKIP, SKIP_MARK), signers)
        fallen = sorted(each for each in signers if each.kind == Kind.SFALL)
        conflict = [
            self._group(Signed(view, Kind.NOTARIZE, block), signers) for block in self.scope.in_view[view]
        ]
        groups = [self._group(each, signers) for each in fallen]
        return [[skips, *some, *(conflict if some else ())] for some in _subsets(groups)]


def _subsets(groups: list[Group]) -> list[list[Group]]:
    return [list(some) for size in range(len(groups) + 1) for some in combinations(groups, size)]

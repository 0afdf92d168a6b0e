"""Watching what validators sign: every pair of E1 to E7 is found wherever the two signatures meet.

CONSENSUS.md section 17. Whatever comes in is looked through before any rule drops it as moot, known, late or
invalid: votes, certificates and their groups, justifications, proofs of a chain, notices of a fault, what a
journal held. A signature is verified only once it would convict, so watching costs honest traffic no checks;
what turns out to be forged is forgotten, and cleared of nothing. Watching decides no vote and no finality.

Kept: views from BEHIND below the final one up to those that are tracked; of one signer in one view
MAX_STATEMENTS. For each signer and view the first pair that met, and the first grave one if that was none
(`evidence.GRAVE`): a mild fault hides no other.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from consensus.agreement.certificates import SignatureChecker
from consensus.agreement.evidence import GRAVE, Evidence, SignedStatement, evidence_from, offence
from consensus.agreement.messages import (
    AmnesiaProbe,
    Certificate,
    GetBlock,
    GetCertificate,
    GetChain,
    Justification,
    Kind,
    Message,
    NotFound,
    Status,
    Vote,
)
from consensus.agreement.signed import Key, Signed, in_justification, signed_in
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.errors import PeerFault
from consensus.primitives.ids import Epoch, Signature, ValidatorIndex, View

BEHIND: Final = (
    16  # views at and below the final one whose late messages are still held against their signers
)
MAX_CERTIFICATES: Final = 8  # of one view that are remembered whole, to pass over their copies
MAX_STATEMENTS: Final = 12  # of one signer in one view: an honest one makes at most 6


GRAVE_KINDS: Final = frozenset((Kind.PROPOSE, Kind.NOTARIZE, Kind.FINALIZE))  # that grave pairs are made of

NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})
SILENT: Final = frozenset((Status, GetCertificate, GetBlock, GetChain, NotFound, AmnesiaProbe))
"""Messages that carry no signature of a vote."""


class Watch:
    """What validators of one epoch have signed in recent views, as far as this node has seen it."""

    __slots__ = ("_accused", "_check", "_epoch", "_grave", "_known", "_owned", "_seen", "_validators")

    def __init__(self, validators: ValidatorSet, epoch: Epoch, check: SignatureChecker) -> None:
        self._validators = validators
        self._epoch = epoch
        self._check = check
        self._seen: dict[View, dict[int, dict[Key, Signature]]] = {}
        self._owned: set[View] = set()  # views of `_seen` that no copy shares
        self._accused: dict[View, frozenset[int]] = {}
        self._grave: dict[View, frozenset[int]] = {}  # of these, who is accused of the worst already
        self._known: dict[View, frozenset[Certificate]] = {}  # looked through already

    def copy(self) -> "Watch":
        """An independent copy."""
        twin = Watch(self._validators, self._epoch, self._check)
        twin._seen, twin._known = dict(self._seen), dict(self._known)
        twin._accused, twin._grave = dict(self._accused), dict(self._grave)
        self._owned = set()  # both share every view from now on, until one of them adds to it
        return twin

    def message(self, message: Message, final: View, highest: View) -> list[Evidence]:
        """Look through a message; views BEHIND `final` and above `highest` are passed over."""
        if type(message) in SILENT:
            return []
        if isinstance(message, Vote) and (message.view <= final - BEHIND or message.view > highest):
            return []
        if not isinstance(message, Certificate):
            return self._look(signed_in(message, self._epoch, self._validators), final, highest)
        known = self._known.get(message.view, frozenset())
        if message in known:  # the same comes from every peer, and to compare it is ten times as quick
            return []
        found = self._look(signed_in(message, self._epoch, self._validators), final, highest)
        if message.view in self._seen and len(known) < MAX_CERTIFICATES:
            self._known[message.view] = known | {message}
        return found

    def justification(self, view: View, reason: Justification, final: View, highest: View) -> list[Evidence]:
        """Look through a justification."""
        return self._look(in_justification(view, reason, self._validators), final, highest)

    def _look(self, signed: Iterator[Signed], final: View, highest: View) -> list[Evidence]:
        found: list[Evidence] = []
        lowest = final - BEHIND
        try:
            for view, signer, key, sig in signed:
                if lowest < view <= highest:
                    self._one(found, view, signer, key, sig)
        except PeerFault:
            pass  # the rest of the message is worth nothing; whoever handles it says so to its sender
        if len(self._seen) > highest - lowest:
            self._forget(lowest)
        return found

    def _one(self, found: list[Evidence], view: View, signer: int, key: Key, sig: Signature) -> None:
        """Hold one signature against the others of its signer. Raises PeerFault if it is a forged one."""
        held = self._seen.get(view, NOTHING).get(signer, NOTHING)
        if held.get(key) == sig or signer in self._grave.get(view, ()):
            return
        held = self._own(view).setdefault(signer, {})
        if key in held:  # one of the two is forged, or both are good and either will do
            self._verify(view, signer, key, sig)
            held[key] = sig
            return
        against = self._against(view, signer, key, held)
        if not against and len(held) < MAX_STATEMENTS:
            held[key] = sig
            return
        self._verify(view, signer, key, sig)
        for other in against or sorted(held):
            if not self._is_signed(view, signer, other, held[other]):
                del held[other]
            elif against:
                found.append(self._evidence(view, signer, (other, held[other]), (key, sig)))
                self._accuse(view, signer, grave=offence(other, key) in GRAVE)
                break
        if len(held) >= MAX_STATEMENTS and key[0] in GRAVE_KINDS:
            self._make_room(held)
        if len(held) < MAX_STATEMENTS:
            held[key] = sig

    @staticmethod
    def _make_room(held: dict[Key, Signature]) -> None:
        """Forget what can never be half of a grave pair: a validator that signs much must not hide one in it.
        There are at most three of the other kinds without such a pair among them."""
        for other in sorted(held):
            if other[0] not in GRAVE_KINDS:
                del held[other]
                return

    def _against(self, view: View, signer: int, key: Key, held: Mapping[Key, Signature]) -> list[Key]:
        """What of `held` convicts its signer together with `key` of more than it is accused of, the grave
        ones first."""
        accused = signer in self._accused.get(view, ())
        found = {other: offence(other, key) for other in held}
        return sorted(
            (other for other, row in found.items() if row in GRAVE or (row is not None and not accused)),
            key=lambda other: (found[other] not in GRAVE, other),
        )

    def _accuse(self, view: View, signer: int, *, grave: bool) -> None:
        self._accused[view] = self._accused.get(view, frozenset()) | {signer}
        if grave:
            self._grave[view] = self._grave.get(view, frozenset()) | {signer}

    def _own(self, view: View) -> dict[int, dict[Key, Signature]]:
        """What is held of a view, to be added to."""
        signers = self._seen.get(view, {})
        if view not in self._owned:
            signers = self._seen[view] = {signer: dict(held) for signer, held in signers.items()}
            self._owned.add(view)
        return signers

    def _verify(self, view: View, signer: int, key: Key, sig: Signature) -> None:
        if not self._is_signed(view, signer, key, sig):
            raise PeerFault("a signature that its signer did not make")

    def _is_signed(self, view: View, signer: int, key: Key, sig: Signature) -> bool:
        kind, block, aux = key
        return self._check(signer, kind, view, block, aux, sig)

    def _evidence(
        self, view: View, signer: int, a: tuple[Key, Signature], b: tuple[Key, Signature]
    ) -> Evidence:
        first, second = (
            SignedStatement(kind=kind, block=block, aux=aux, sig=sig) for (kind, block, aux), sig in (a, b)
        )
        return evidence_from(epoch=self._epoch, view=view, signer=ValidatorIndex(signer), a=first, b=second)

    def _forget(self, lowest: int) -> None:
        for table in (self._seen, self._accused, self._grave, self._known):
            for view in [view for view in table if view <= lowest]:
                del table[view]
        self._owned = {view for view in self._owned if view > lowest}


class RetiredWatch:
    """The watch of an epoch that is over at this node: whoever still signs in it answers for that."""

    __slots__ = ("_final", "_highest", "_watch")

    def __init__(self, watch: Watch, final: View, highest: View) -> None:
        self._watch = watch
        self._final = final
        self._highest = highest

    def copy(self) -> "RetiredWatch":
        """An independent copy."""
        return RetiredWatch(self._watch.copy(), self._final, self._highest)

    def message(self, message: Message) -> list[Evidence]:
        """Look through a message."""
        return self._watch.message(message, self._final, self._highest)

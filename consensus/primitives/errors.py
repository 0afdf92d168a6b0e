"""Errors sorted by who is at fault (STYLE.md, principle 13).

Whoever catches one of these knows what to do without reading its text: a peer is dropped, a local fault
stops the node, an invalid block is not voted for, a user is told what to mend. Anything else that is
raised is a bug of ours and crashes the task that met it.
"""


class PhalanxError(Exception):
    """Base of every declared error. Its text is one sentence that a person can act on."""


class DecodeError(PhalanxError):
    """Bytes that are not the one canonical encoding of the expected type; the caller decides whose fault."""


class PeerFault(PhalanxError):
    """A peer sent something that no honest, correct node sends."""


class LocalFault(PhalanxError):
    """This machine failed (disk full, worker lost, corrupt file). It abstains and never accuses anybody."""


class InvalidBlock(PhalanxError):
    """A relay block or candidate breaks a rule that every honest node evaluates identically."""


class InvalidTransaction(PhalanxError):
    """A transaction that can not be admitted or applied; it changes nothing."""


class UserError(PhalanxError):
    """The person at the command line or in the config file can mend this; the text says how."""

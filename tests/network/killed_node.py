"""A node that writes down what it is sent, and dies by SIGKILL at an exactly chosen point.

    killed_node.py RECORD POINT COUNT run DIRECTORY

POINT is where (`before-write`, `after-write`, `before-sync`, `after-sync`: of the journal; `before-send`,
`after-send`: of anything on any socket; `never`), COUNT how many times it is passed before that. RECORD gets
every consensus message that peers send here, each as its length and its bytes: what reached the wire,
whatever its sender remembers of it. Nothing of this is in the node: the calls are wrapped from outside.
"""

import os
import signal
import socket
import sys

RECORD, POINT, COUNT = sys.argv[1], sys.argv[2], int(sys.argv[3])
del sys.argv[1:4]

passed = 0


def at(point):
    """The process is here; it goes no further if it was to die here."""
    global passed  # noqa: PLW0603
    if point == POINT:
        passed += 1
        if passed > COUNT:
            os.kill(os.getpid(), signal.SIGKILL)


def between(before, call, after):
    def watched(*arguments, **keywords):
        at(before)
        result = call(*arguments, **keywords)
        at(after)
        return result

    return watched


socket.socket.send = between("before-send", socket.socket.send, "after-send")  # before trio looks at it
os.fdatasync = between("before-sync", os.fdatasync, "after-sync")

from node import journal, router  # noqa: E402
from node.cli.main import main  # noqa: E402

journal._write_all = between("before-write", journal._write_all, "after-write")
descriptor = os.open(RECORD, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
decode = router.decode_message


def recording(frame):
    os.write(descriptor, len(frame).to_bytes(4, "big") + frame)
    return decode(frame)


router.decode_message = recording

if __name__ == "__main__":
    main()

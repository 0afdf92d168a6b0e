"""A node of a later release: one that knows version 2 of the protocol too, which so far changes nothing."""

from node import version
from node.cli.main import main

if __name__ == "__main__":
    version.PROTOCOL_VERSIONS |= {2}
    main()

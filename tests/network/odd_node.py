"""A node that serves states oddly, and is honest in all else: `lying` flips a bit of every piece, `slow`
takes its time. Both serve small pieces, so that a small state takes many."""

import sys
import time

from node.cli.main import main
from node.state_sync import server

PIECE_BYTES = 8 * 1024
PAUSE_S = 0.15

make_piece = server.make_piece


def lying(nodes, root, first, budget):
    piece = bytearray(make_piece(nodes, root, first, PIECE_BYTES))
    piece[len(piece) // 2] ^= 1
    return bytes(piece)


def slow(nodes, root, first, budget):
    time.sleep(PAUSE_S)
    return make_piece(nodes, root, first, PIECE_BYTES)


if __name__ == "__main__":
    server.make_piece = {"lying": lying, "slow": slow}[sys.argv.pop(1)]
    main()

"""Sends noise: bytes that decode to nothing, messages mangled in flight, replays, absurd numbers."""

import dataclasses
from typing import Any

from consensus.agreement.messages import (
    GetBlock,
    GetCertificate,
    GetChain,
    Message,
    NotFound,
    Proposal,
    Seen,
    Status,
    decode_message,
    encode_message,
)
from consensus.primitives.errors import DecodeError
from consensus.primitives.ids import ZERO_HASH, Hash, Height, View
from consensus.simulation.byzantine.base import Behaviour, Seat

HUGE = (1 << 64) - 1


class Garbage(Behaviour):
    """Beside its own messages sends mangled ones; what does not decode is dropped at the receiver's edge."""

    seatless = True

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._heard: list[Message] = []
        self.undecodable = 0

    def incoming(self, source: int, message: Message) -> bool:
        """Keep what was heard, for replays."""
        self._heard.append(message)
        del self._heard[:-64]
        return True

    def outgoing(self, destination: int, message: Message) -> None:
        """Send the message, some noise, and now and then nothing but noise."""
        random = self.seat.random
        if random.randrange(8):
            self.seat.send(destination, message)
        for _ in range(random.choice((0, 0, 1, 2))):
            noise = self._noise(message)
            if noise is not None:
                self.seat.send(destination, noise)

    def _noise(self, message: Message) -> Message | None:
        random = self.seat.random
        kind = random.randrange(5)
        if kind == 0:
            return self._flipped(message)
        if kind == 1 and self._heard:
            return random.choice(self._heard)
        if kind == 2:
            return self._absurd()
        if self._heard:
            return self._mangled(random.choice(self._heard))
        return self._mangled(message)

    def _flipped(self, message: Message) -> Message | None:
        """One bit of the encoding inverted: refused by the codec, unless it hit free content."""
        data = bytearray(encode_message(message))
        position = self.seat.random.randrange(8 * len(data))
        data[position // 8] ^= 1 << position % 8
        try:
            return decode_message(bytes(data))
        except DecodeError:
            self.undecodable += 1
            return None

    def _mangled(self, message: Message) -> Message:
        """One field replaced by another value of its type."""
        random = self.seat.random
        target: Any = message.header if isinstance(message, Proposal) and random.randrange(2) else message
        name = random.choice([field.name for field in dataclasses.fields(target)])
        value = getattr(target, name)
        new: Any
        if isinstance(value, int):
            limit = 255 if name in ("kind", "ctype", "want", "flags") else 65_535
            new = random.choice((0, 1, (value + 1) & limit, limit))
        elif isinstance(value, bytes):
            new = random.choice((bytes(len(value)), random.randbytes(len(value))))
        elif isinstance(value, tuple):
            new = random.choice(((), value[:-1], value + value[:1]))
        else:
            new = value
        changed = dataclasses.replace(target, **{name: new})
        mangled: Message = changed if target is message else dataclasses.replace(message, header=changed)
        try:
            return decode_message(encode_message(mangled))
        except (DecodeError, ValueError):  # out of its range: such a message can not be on any wire
            self.undecodable += 1
            return message

    def _absurd(self) -> Message:
        random, epoch = self.seat.random, self.seat.epoch
        junk = Hash(random.randbytes(32))
        high = View(random.choice((0, 1, 1 << 32, HUGE)))
        return random.choice(
            (
                GetBlock(epoch=epoch, block=junk),
                GetCertificate(epoch=epoch, view=high, want=random.randrange(256), block=junk),
                GetChain(first=Height(random.choice((0, 1, HUGE))), last=Height(random.choice((0, 1, HUGE)))),
                NotFound(view=high, key=random.choice((junk, ZERO_HASH))),
                Status(
                    epoch=epoch,
                    cur_view=high,
                    final_view=View(random.choice((0, high))),
                    final_height=Height(random.choice((0, HUGE))),
                    final_hash=junk,
                    seen=(Seen(view=high, bitmap=random.randbytes(random.choice((0, 1, 32)))),),
                ),
            )
        )

"""Every function that takes bytes from outside and says what it raises: it raises that, and nothing else.

Found, not listed: whatever public function has bytes for its first parameter and "Raises" in its docstring.
One that needs more arguments than bytes must be named in `MORE`, or the first test says so.
"""

import contextlib
import inspect
import re
import typing
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from wire_types import hostile, junk, mangled, modules, values_of

from consensus.primitives import errors
from consensus.primitives.codec import encode
from consensus.primitives.ids import ZERO_HASH
from consensus.relay.blocks import BlockLimits
from enclaves import guests

LIMIT = 1 << 20
NOTHING = frozenset()


def no_transaction(name):
    return None


MORE = {  # (positional arguments after the bytes); None: not a decoder of what comes from outside
    "consensus.agreement.certificates.members": (10,),
    "consensus.candidates.receipts.decode_pov": (LIMIT,),
    "consensus.light.proofs.unseal": "tag first",
    "consensus.primitives.tree.ranges.read_piece": (ZERO_HASH, ZERO_HASH, b"\xff" * 32, LIMIT),
    "consensus.primitives.tree.witness.load_witness": (ZERO_HASH, LIMIT),
    "consensus.relay.blocks.check_payload": (BlockLimits, no_transaction),
    "consensus.relay.transactions.check_transaction": (ZERO_HASH,),
    "node.config.parse_config": (Path("node.toml"),),
    "node.genesis_file.parse_genesis": (Path("genesis.json"),),
    "enclaves.layout.scan": None,  # `admit` calls it, and says what it raises
}

fuzzing = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=set(Phase) - {Phase.explain},
)


def full_name(function):
    return f"{function.__module__}.{function.__name__}"


@cache
def decoders():
    """(function, the arguments after its bytes, what it may raise), by name."""
    found = {}
    for module in modules():
        for name, function in vars(module).items():
            if not inspect.isfunction(function) or function.__module__ != module.__name__:
                continue
            parameters = list(inspect.signature(function).parameters.values())
            declared = re.findall(r"Raises\s+(\w+)|, or (?:of )?(\w+)", function.__doc__ or "")
            kinds = [getattr(errors, word, None) or getattr(module, word, None) for word in sum(declared, ())]
            kinds = [each for each in kinds if inspect.isclass(each) and issubclass(each, Exception)]
            if name.startswith("_") or not parameters or "Raises" not in (function.__doc__ or ""):
                continue
            if typing.get_type_hints(function).get(parameters[0].name) is bytes:
                found[full_name(function)] = (function, tuple(kinds))
    return found


def samples(function):
    """Encodings of what a decoder returns, where that is a wire type."""
    returned = typing.get_type_hints(function, include_extras=True).get("return")
    try:
        return values_of(returned).map(encode)
    except (TypeError, AttributeError):
        return st.binary(max_size=300)


def test_every_decoder_can_be_called():
    """A new one that needs more than bytes is to be added to MORE."""
    for name, (function, kinds) in decoders().items():
        assert kinds, f"{name} does not say which of our errors it raises"
        parameters = list(inspect.signature(function).parameters.values())[1:]
        needed = [each for each in parameters if each.default is inspect.Parameter.empty]
        assert name in MORE or not needed, f"say in MORE how the fuzzer is to call {name}"
    assert set(MORE) <= set(decoders()), "MORE names what is not there any more"
    assert len(decoders()) >= 15


def arguments_of(name, data):
    more = MORE.get(name, ())
    if more == "tag first":
        return (b"tag", data)
    return (data, *(LIMITS if each is BlockLimits else each for each in more))


LIMITS = BlockLimits(
    chain_id_hash=ZERO_HASH,
    max_bytes=LIMIT,
    max_weight=LIMIT,
    max_transactions=100,
    max_candidates=10,
    max_evidence=10,
)


def feed(name, data):
    function, kinds = decoders()[name]
    with contextlib.suppress(*kinds):
        function(*arguments_of(name, data))


CALLED = sorted(name for name in decoders() if MORE.get(name, NOTHING) is not None)


@pytest.mark.parametrize("name", CALLED)
def test_a_decoder_raises_what_it_declares_and_nothing_else(name):
    for data in hostile():
        feed(name, data)
    valid = samples(decoders()[name][0])

    @fuzzing
    @given(st.data())
    def check(data):
        encoded = data.draw(valid)
        feed(name, encoded)
        feed(name, data.draw(mangled(encoded)))
        feed(name, data.draw(junk))
        feed(name, data.draw(st.binary(max_size=200)))

    check()


@settings(max_examples=120, deadline=None, phases=set(Phase) - {Phase.explain})
@given(st.data())
def test_a_mangled_module_is_admitted_or_refused(data):
    """Real modules, bit by bit: the one decoder that stands before the Wasm engine."""
    module = data.draw(st.sampled_from(WASM))
    feed("enclaves.module.admit", data.draw(mangled(module)))


WASM = [path.read_bytes() for path in sorted(Path(guests.__file__).parent.glob("*.wasm"))]


@settings(max_examples=60, deadline=None, phases=set(Phase) - {Phase.explain})
@given(
    st.text(max_size=80),
    st.sampled_from(['{"a": ', "[" * 5_000, "[[", "a = ", "\x00", '{"validators": [1', "9" * 5_000]),
)
def test_files_of_people_are_refused_in_words(text, start):
    for name in ("node.config.parse_config", "node.genesis_file.parse_genesis"):
        feed(name, (start + text).encode("utf-8", "surrogatepass"))
        feed(name, start.encode() + b"\xff\xfe")

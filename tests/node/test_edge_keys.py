"""Keystore files: what opens them, and what is said when they do not open."""

import errno
import json
import os

import pytest

from consensus.primitives.crypto import public_key
from node.keys import Cost, KeyFileError, list_keys, passphrase_from, read_header, read_key, write_key

SEED = bytes(range(32))
QUICK = Cost(1, 8192)


@pytest.fixture
def encrypted(tmp_path):
    path = tmp_path / "keys" / "alice.key"
    write_key(path, seed=SEED, name="alice", purpose="account", passphrase=b"secret", cost=QUICK)
    return path


def alter(path, **changes):
    content = json.loads(path.read_text())
    for place, value in changes.items():
        table = content["cipher"] if place in content.get("cipher", {}) else content
        if value is None:
            del table[place]
        else:
            table[place] = value
    path.write_text(json.dumps(content))


def test_the_right_passphrase_opens_and_the_seed_is_not_in_the_file(encrypted):
    key = read_key(encrypted, b"secret", purpose="account")
    assert key.seed == SEED
    assert key.signing_key.public == public_key(SEED)
    assert SEED.hex() not in encrypted.read_text()
    assert SEED.hex() not in repr(key)
    assert encrypted.stat().st_mode & 0o777 == 0o600


def test_a_plaintext_key_opens_without(tmp_path):
    path = tmp_path / "bob.key"
    header = write_key(path, seed=SEED, name="bob", purpose="identity", passphrase=None)
    assert not header.encrypted
    assert read_key(path, None).seed == SEED


@pytest.mark.parametrize(
    ("passphrase", "words"), [(b"wrong", "wrong passphrase"), (b"", "wrong passphrase"), (None, "encrypted")]
)
def test_a_wrong_or_missing_passphrase_is_said(encrypted, passphrase, words):
    with pytest.raises(KeyFileError, match=words):
        read_key(encrypted, passphrase)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "mallory"}, "altered"),
        ({"public": public_key(bytes(32)).hex()}, "altered"),
        ({"purpose": "consensus"}, "altered"),
        ({"purpose": "world domination"}, "damaged"),
        ({"version": 9}, "version 9"),
        ({"sealed": "00" * 48}, "altered"),
        ({"sealed": "00"}, "`sealed` must be 96 hex digits"),
        ({"salt": None}, "`salt`"),
        ({"public": "zz"}, "`public`"),
        ({"cipher": None}, "damaged"),
        ({"seed": "00" * 32}, "damaged"),
        ({"kdf": "md5"}, "upgrade"),
        ({"passes": 10**9}, "sane range"),
        ({"memory_bytes": 1 << 60}, "sane range"),
        ({"passes": True}, "whole numbers"),
    ],
)
def test_an_altered_file_is_refused(encrypted, changes, words):
    alter(encrypted, **changes)
    with pytest.raises(KeyFileError, match=words):
        read_key(encrypted, b"secret")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"{", b" " * 20_000])
def test_what_is_no_keystore_file_is_refused(encrypted, content):
    encrypted.write_bytes(content)
    with pytest.raises(KeyFileError, match="not a keystore file"):
        read_key(encrypted, b"secret")


def test_a_plaintext_seed_must_fit_its_public_key(tmp_path):
    path = tmp_path / "bob.key"
    write_key(path, seed=SEED, name="bob", purpose="account", passphrase=None)
    alter(path, seed="01" * 32)
    with pytest.raises(KeyFileError, match="does not match"):
        read_key(path, None)


def test_a_file_open_to_others_is_refused_with_the_command(encrypted):
    encrypted.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        read_key(encrypted, b"secret")
    assert read_header(encrypted).name == "alice"  # the public half may be shown


def test_another_purpose_is_refused(encrypted):
    with pytest.raises(KeyFileError, match="a key for consensus belongs here"):
        read_key(encrypted, b"secret", purpose="consensus")


def test_a_key_is_never_overwritten(encrypted):
    before = encrypted.read_bytes()
    with pytest.raises(KeyFileError, match="a key already"):
        write_key(encrypted, seed=bytes(32), name="alice", purpose="account", passphrase=None)
    assert encrypted.read_bytes() == before


def test_missing_files_are_said(tmp_path):
    with pytest.raises(KeyFileError, match="no such key"):
        read_key(tmp_path / "none.key", None)
    assert list_keys(tmp_path / "nowhere") == []


def test_the_passphrase_comes_from_the_file_or_the_environment(tmp_path):
    file = tmp_path / "pass"
    file.write_text("secret\n")
    assert passphrase_from(file, {}) == b"secret"
    assert passphrase_from(None, {"PHALANX_PASSPHRASE": "other"}) == b"other"
    assert passphrase_from(None, {}) is None
    file.write_text("\n")
    with pytest.raises(KeyFileError, match="first line is empty"):
        passphrase_from(file, {})
    with pytest.raises(KeyFileError, match="can not be read"):
        passphrase_from(tmp_path / "none", {})


def test_a_key_that_the_disk_refused_is_not_there_and_can_be_made_again(tmp_path, monkeypatch):
    path = tmp_path / "bob.key"

    def refuse(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(KeyFileError, match="can not be written"):
            write_key(path, seed=SEED, name="bob", purpose="identity", passphrase=None)
    assert list(tmp_path.iterdir()) == []
    write_key(path, seed=SEED, name="bob", purpose="identity", passphrase=None)
    assert read_key(path, None).seed == SEED

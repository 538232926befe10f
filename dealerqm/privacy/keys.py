"""The project's key and the pseudonyms made with it.

Pseudonyms are keyed (HMAC-SHA-256): without the key, which lies outside the project folder,
nobody can list all phone numbers and compare.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import sys
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from dealerqm.errors import PrivacyError, unknown

MIN_KEY_BYTES = 32
KEY_VARIABLE = "DEALERQM_KEY_FILE"
DEMO_FILE = "demo.json"
_HOW = (
    "Make one with `dealerqm key FILE` outside the project folder, keep a copy in a safe place, "
    f"and name it by --key or by the environment variable {KEY_VARIABLE}"
)
PREFIXES = {"customer": "c_", "staff": "s_", "household": "h_", "phone": "p_", "vin": "v_"}
_TOKEN_DIGITS = 16


@dataclass(frozen=True)
class Key:
    """The secret of a project; its bytes are never shown.

    Attributes
    ----------
    demo : bool
        Whether it is the published key of the sample, which protects nothing.
    """

    _secret: bytes = field(repr=False)
    demo: bool = False

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that tell keys apart and give nothing away."""
        return self.sign(b"dealerqm fingerprint")[:_TOKEN_DIGITS]

    def sign(self, message: bytes) -> str:
        """Return the HMAC-SHA-256 of a message as 64 hexadecimal digits."""
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()


def load_key(path: Path | None, *, project: Path) -> Key:
    """Read the project's key.

    Parameters
    ----------
    path : Path or None
        Key file; None means the environment variable ``DEALERQM_KEY_FILE``, then ``dealerqm/key``
        in the user's configuration folder.
    project : Path
        Project folder; the key must lie outside it.

    Returns
    -------
    Key
        The key.

    Raises
    ------
    PrivacyError
        If there is no key, it lies inside the project, or it is shorter than 32 bytes.
    """
    named = path or (Path(os.environ[KEY_VARIABLE]) if os.environ.get(KEY_VARIABLE) else None)
    place = (named or _config_folder() / "key").expanduser()
    if not place.is_file():
        raise PrivacyError(
            f"key: found no file {place.name}; without a key nothing is imported. {_HOW}."
        )
    _outside(place, project)
    try:
        content = place.read_bytes().strip()
    except OSError as error:
        raise PrivacyError(f"key: cannot read {place.name}: {error.strerror}.") from None
    return Key(_secret_of(content, place.name))


def new_key(path: Path) -> Key:
    """Make a random key of 32 bytes and write it to a file only its owner can read.

    Parameters
    ----------
    path : Path
        File to make; an existing one is never overwritten.

    Returns
    -------
    Key
        The key.

    Raises
    ------
    PrivacyError
        If the file exists or cannot be written.
    """
    text = secrets.token_hex(MIN_KEY_BYTES)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise PrivacyError(
            f"key: {path.name} exists and is kept, since a lost key cannot be made again; "
            "name another file."
        ) from None
    except OSError as error:
        raise PrivacyError(f"key: cannot write {path.name}: {error.strerror}.") from None
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text + "\n")
    return Key(bytes.fromhex(text))


def demo_key(samples: Path) -> Key:
    """Return the published key of the sample, if the raw files are exactly the sample's.

    Parameters
    ----------
    samples : Path
        Folder with ``demo.json`` (see `demo_document`) and the raw exports it lists.

    Returns
    -------
    Key
        A key with ``demo`` True.

    Raises
    ------
    PrivacyError
        If ``demo.json`` is missing, its seal is wrong, or a raw file is missing, additional or
        changed: real exports must not be protected by a published key.
    """
    place = samples / DEMO_FILE
    try:
        document = json.loads(place.read_text(encoding="utf-8"))
        key = Key(bytes.fromhex(document["key"]), demo=True)
        listed, seal = dict(document["files"]), str(document["seal"])
    except (OSError, ValueError, KeyError, TypeError):
        raise PrivacyError(
            f"{DEMO_FILE}: is missing or unreadable, so there is no demonstration key. {_HOW}."
        ) from None
    if not hmac.compare_digest(seal, _seal(key, listed)):
        raise PrivacyError(f"{DEMO_FILE}: its seal does not fit its list of files. {_HOW}.")
    found = _hashes(samples)
    wrong = sorted(name for name in {*found, *listed} if found.get(name) != listed.get(name))
    if wrong:
        raise PrivacyError(
            f"{DEMO_FILE}: {len(wrong)} raw files are not the sample's, first {wrong[0]}; "
            f"the demonstration key protects nothing and is for the sample only. {_HOW}."
        )
    return key


def demo_document(secret: bytes, samples: Path) -> dict[str, object]:
    """Return what ``demo.json`` holds for the raw files below a samples folder.

    Parameters
    ----------
    secret : bytes
        The key to publish, 32 bytes or more.
    samples : Path
        Folder that holds ``raw``.

    Returns
    -------
    dict
        ``key`` (hexadecimal), ``files`` (path below ``samples`` to SHA-256) and ``seal``, an HMAC
        over the list, so that the list cannot be edited without noticing.
    """
    files = _hashes(samples)
    return {"key": secret.hex(), "files": files, "seal": _seal(Key(secret, demo=True), files)}


def _seal(key: Key, files: dict[str, str]) -> str:
    return key.sign(json.dumps(files, sort_keys=True, separators=(",", ":")).encode())


def _hashes(samples: Path) -> dict[str, str]:
    files = sorted(path for path in (samples / "raw").rglob("*") if path.is_file())
    return {
        path.relative_to(samples).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def _config_folder() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("APPDATA", "~")
    elif sys.platform == "darwin":
        base = "~/Library/Application Support"
    else:
        base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "dealerqm"


def _outside(place: Path, project: Path) -> None:
    if place.resolve().is_relative_to(project.resolve()):
        raise PrivacyError(
            f"key: {place.name} lies inside the project folder, where it would travel with the "
            "data; move it outside."
        )


def _secret_of(content: bytes, name: str) -> bytes:
    try:
        secret = bytes.fromhex(content.decode("ascii"))
    except ValueError:
        secret = content
    if len(secret) < MIN_KEY_BYTES or len(set(secret)) == 1:
        raise PrivacyError(
            f"key: {name} holds {len(secret)} bytes, expected {MIN_KEY_BYTES} random ones. {_HOW}."
        )
    return secret


def pseudonyms(key: Key, person: str, values: pd.Series) -> pd.Series:
    """Return the pseudonym of each value; missing stays missing.

    Parameters
    ----------
    key : Key
        The project's key.
    person : str
        Space of the values: ``customer, staff, household, phone`` or ``vin``; equal values in
        different spaces get unrelated pseudonyms.
    values : Series of str
        Any length, with missing values.

    Returns
    -------
    Series of str
        Same index; a prefix of the space and 16 hexadecimal digits.

    Raises
    ------
    PrivacyError
        If the space is unknown.

    Examples
    --------
    >>> key = Key(bytes(range(32)))
    >>> list(pseudonyms(key, "staff", pd.Series(["E1", "Ｅ1 ", None])))
    ['s_c052525d7d4e2682', 's_c052525d7d4e2682', nan]
    """
    if person not in PREFIXES:
        raise PrivacyError(unknown("person space", person, PREFIXES))
    codes, words = pd.factorize(values)
    tokens = [_token(key, person, str(word)) for word in words]
    table = np.array([*tokens, None], dtype=object)
    return pd.Series(table[codes], index=values.index, dtype="str", name=values.name)


def _token(key: Key, person: str, word: str) -> str:
    text = unicodedata.normalize("NFKC", word).strip()
    if person == "phone":
        text = re.sub(r"\D", "", text).removeprefix("86")
    if person == "vin":
        text = re.sub(r"[\W_]", "", text).upper()
    return PREFIXES[person] + key.sign(f"{person}\0{text}".encode())[:_TOKEN_DIGITS]

"""Addresses: recognise them, and remove secrets before they are shown."""

import re
from urllib.parse import unquote, urlsplit

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)(?=://|::)")  # two characters at least: C:// is a drive
_USER = re.compile(
    r"(?<=://)(?:[^/?#\s]*@|[^/@:\s]+:(?!\d+/)[^@?#\s]*@)"
)  # a secret key can hold slashes, a port cannot
_SECRET = re.compile(
    r"(?i)([?&;](?:x-amz-[^=&;#]*|x-goog-[^=&;#]*|[^=&;#]*(?:sig|signature|token|secret|passw(?:or)?d|pwd|pass|jwt|credential|auth)"
    r"|[^=&;#]*(?:api|access|account|private|shared)[-_]?key(?:[-_]?id)?|awsaccesskeyid|googleaccessid|key|policy"
    r"|key-pair-id|expires|sv|se|st|sp|sr|skoid|sktid|skt|ske|sks|skv)=)[^&;#\s]*"
)


def scheme(path: str) -> str | None:
    """The scheme of an address in small letters; ``None`` for the path of a file."""
    match = _SCHEME.match(path)
    return match[1].lower() if match and "://" in path else None


def shown(text: str) -> str:
    """An address, or a text with addresses in it, without user, password and signature.

    Of the query those values are starred whose names say that they are secret or belong to a signature, when it
    expires for one; so the same object has the same name under its next signature.
    """
    return _SECRET.sub(r"\1***", _USER.sub("", text))


def addressed(url: str) -> str:
    """The part of an address that says what it is of: ``zip://a.jpg`` of ``zip://a.jpg::s3://bucket/x.zip``."""
    first, _, rest = url.partition("::")
    return first if "://" in first or not rest else addressed(rest)


def last_name(url: str) -> str:
    """Return the file's name at the end of an address, or its host; "photo" for an invalid address."""
    try:
        parts = urlsplit(url)
    except ValueError:  # reading it will say so
        return "photo"
    return unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.hostname or "photo"


def host_of(url: str) -> str:
    """What tells one server or store from another; may hold a password."""
    return "/".join(url.rpartition("::")[2].split("/")[:3])

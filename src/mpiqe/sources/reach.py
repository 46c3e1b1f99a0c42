"""Rules for the addresses that may be followed, by who named them; see ``docs/security.md``.

A user's own words, that is a PATH of the command line, standard input and a list on this machine, may lead to any host.
What stands in data, that is a table's cell or a server's redirect, leads to public addresses and to hosts that the user
has named. Either is followed only if its scheme is a plain one or one that the user has allowed.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from mpiqe.errors import ConfigError
from mpiqe.sources.urls import scheme

PLAIN = ("http", "https", "s3", "gs", "az", "abfs")
_LOCAL = frozenset({"file", "local"})  # what fsspec calls files of this machine
_NAME = re.compile(r"[a-z][a-z0-9+.-]+")
_HOST = re.compile(r"\.?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")  # a network's own; older versions of Python call it public
_ASSIGNED = ipaddress.ip_network("192.0.0.0/24")  # to protocols; older versions of Python call most of it public

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Reach:
    """Schemes and hosts that a job may reach beyond public servers and the default schemes."""

    schemes: tuple[str, ...] = ()
    """Further schemes of addresses (``--allow-scheme``)."""
    hosts: tuple[str, ...] = ()
    """Hosts that data may lead to whatever their addresses are (``--allow-host``): names, ``.suffixes``, networks."""
    named: tuple[str, ...] = ()
    """The hosts of addresses on the command line."""

    @classmethod
    def of(cls, paths: Iterable[str], *, schemes: Iterable[str] = (), hosts: Iterable[str] = ()) -> "Reach":
        """With what the user has allowed and the hosts that ``paths`` name; raises ``ConfigError``."""
        allowed = tuple(sorted({name.lower().removesuffix("://") for name in schemes}))
        for name in allowed:
            if not _NAME.fullmatch(name):
                raise ConfigError(f"--allow-scheme takes what stands before ://, such as sftp, not {name!r}")
        places = tuple(sorted({host.strip("[]").lower().removesuffix(".") for host in hosts}))
        for host in places:
            if _network(host) is None and not _HOST.fullmatch(host):
                raise ConfigError(
                    f"--allow-host takes a host (nas.example), all below one (.example), an address or a network "
                    f"(10.0.0.0/8), not {host!r}"
                )
        named = {host_name(path) for path in paths if scheme(path) in ("http", "https")}
        return cls(allowed, places, tuple(sorted(named - {""})))

    def refusal(self, url: str, *, chains: bool = False, files: bool = True) -> str | None:
        """Why an address is not followed; ``None`` if it is.

        ``chains`` if it may lead through others (``zip://a.png::s3://bucket/b.zip``), ``files`` if to local files.
        """
        if "::" in url and not chains:
            return "an address that leads through others (::) is followed only where it is a PATH of the command line"
        for name in _schemes(url):
            if name in _LOCAL and not files:
                return "a table that is not on this machine names no files of this machine"
            if name not in PLAIN and name not in self.schemes:
                return (
                    f"{name}:// is none of the addresses that are followed ({', '.join(PLAIN)}); "
                    f"--allow-scheme {name} adds it, if you trust whoever wrote this"
                )
        return None

    def names(self, host: str) -> bool:
        """Whether the user has named a host, on the command line or as an allowed one."""
        return host in self.named or self._allows_name(host)

    def allows(self, host: str, address: str) -> bool:
        """Whether data may lead to an address that a host has."""
        return (
            is_public(address)
            or self._allows_name(host)
            or any(network is not None and _parsed(address) in network for network in map(_network, self.hosts))
        )

    def _allows_name(self, host: str) -> bool:
        return any(host == one or (one.startswith(".") and host.endswith(one)) for one in self.hosts)


def host_name(url: str) -> str:
    """The host of an http address as it is looked up, in small letters; "" where there is none."""
    try:
        return plain_host(urlsplit(url).hostname or "")
    except ValueError:
        return ""


def plain_host(host: str) -> str:
    """A host's name as it is looked up, in small letters; raises ``ValueError``."""
    host = host if host.isascii() else host.encode("idna").decode()
    return host.lower().removesuffix(".")


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet: not loopback, link-local, private, reserved or multicast.

    One of IPv6 that stands for one of IPv4 (mapped, 6to4, NAT64) is judged by that one.
    """
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour
        if parsed in _NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if parsed.is_site_local or parsed.teredo is not None or parsed in _LOCAL_NAT64:
            return False
        if int(parsed) >> 32 == 0:  # IPv4-compatible
            return False
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved or parsed in _ASSIGNED)


def _parsed(address: str) -> Address:
    return ipaddress.ip_address(address.partition("%")[0])


def _network(text: str) -> "ipaddress.IPv4Network | ipaddress.IPv6Network | None":
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _schemes(url: str) -> list[str]:
    """Those of an address and of all that it leads through, as fsspec will read it."""
    names = []
    for link in url.split("::"):
        name, separator, _ = link.partition("://")
        if not separator and not re.fullmatch(r"[a-z][a-z0-9]*", link):
            name = "data" if link.startswith("data:") else "file"
        names.append(name.lower())
    return names

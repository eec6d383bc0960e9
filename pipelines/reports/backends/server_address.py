"""The address of a server: whether it is one, and whether it is this machine."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from socket import inet_aton
from urllib.parse import urlsplit

from pipelines.core.errors import BackendError


def host_of(url: str) -> str:
    """Return the name or number of the machine in a URL.

    Raises
    ------
    BackendError
        The text is not the URL of a server.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return parts.hostname
    except ValueError:
        pass
    raise BackendError(
        "backend openai: --base-url is not the URL of a server", hint="for example http://127.0.0.1:8000/v1"
    )


def is_this_machine(host: str) -> bool:
    """Return whether a server runs on this machine; a proxy would then send the reports to another one."""
    try:
        address: IPv4Address | IPv6Address = ip_address(host)
    except ValueError:
        try:
            address = IPv4Address(inet_aton(host))  # short forms such as 127.1 and 0
        except (OSError, ValueError):
            return host.removesuffix(".") == "localhost"
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified

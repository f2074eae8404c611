"""Where a backend's host is, and which addresses a router asks for nobody.

What is checked is the address that nginx then connects to, so a name that leads elsewhere a moment later leads nobody
there. Private addresses are taken: servers of one's own are there.
"""

import ipaddress
import socket

__all__ = ["is_refused", "resolved"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NOBODYS = (
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "2001::/32",
    "64:ff9b:1::/48",
    "fe80::/10",
    "ff00::/8",
)
"""A pod's own, its link's, those of many, none, and those that lead to an address of IPv4 nobody knows where."""
_METADATA = ("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::254/128", "fd20:ce::254/128")
"""Where clouds tell a node its credentials, beside 169.254.169.254."""
REFUSED = tuple(map(ipaddress.ip_network, (*_NOBODYS, *_METADATA)))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_refused(address: str) -> bool:
    """Whether it is asked for nobody; so is what cannot be read."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    return any(one in network for one in (found, *_within(found)) for network in REFUSED)


def _within(address: _Address) -> list[_Address]:
    """The IPv4 addresses that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    last = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
    return [one for one in (address.ipv4_mapped, address.sixtofour, last) if one is not None]


def resolved(host: str, port: int) -> list[str]:
    """Return a host's addresses, those of IPv4 where it has any; raise OSError where it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    told = sorted({(family != socket.AF_INET, str(address[0])) for family, _, _, _, address in found})
    return [address for is_sixth, address in told if is_sixth == told[0][0]]

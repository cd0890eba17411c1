"""Durations and addresses as an operator writes them."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(ms|s|m|h|d|w)", re.ASCII)


def parse_duration(value: object) -> float:
    """Seconds from "300s", "5m", "1h", "1.5 s", "20ms", "30d", "2w", or a number of seconds. Raises ValueError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("not a duration")
    return float(match[1]) * _UNITS[match[2]]


def format_duration(seconds: float) -> str:
    """The shortest form that parse_duration() reads back: 300.0 gives "5m"."""
    if seconds == 0:
        return "0s"
    for unit in ("w", "d", "h", "m", "s"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds * 1000:.3f}".rstrip("0").rstrip(".") + "ms"


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """An address or prefix; a single address is a prefix of full length.

    Raises ValueError that says what would be right, for names and for host bits behind the prefix as well.
    """
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        right = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f'"{text}" is not an IP address or prefix; names are not resolved, give "192.0.2.1" or "192.0.2.0/24"'
        ) from None
    raise ValueError(f'"{text}" has bits behind its prefix length; give "{right}" or "{text.split("/")[0]}"')


def parse_range(text: str) -> tuple[int, int, int]:
    """(IP version, first, last) of a prefix or of "first-last". Raises ValueError that says what would be right."""
    first_text, dash, last_text = text.partition("-")
    if not dash:
        network = parse_network(text)
        return network.version, int(network.network_address), int(network.broadcast_address)
    first, last = parse_address(first_text.strip()), parse_address(last_text.strip())
    if first.version != last.version or int(first) > int(last):
        raise ValueError(f'"{text}" does not go from a lower to a higher address of one kind')
    return first.version, int(first), int(last)


def parse_address(text: str) -> IPv4Address | IPv6Address:
    """A single address. Raises ValueError that says what would be right."""
    try:
        return ip_address(text)
    except ValueError:
        message = f'"{text}" is not an IP address; names are not resolved, give one such as "192.0.2.1"'
        raise ValueError(message) from None


def parse_endpoint(text: str) -> tuple[str, int]:
    """(address, port) of "127.0.0.1:8080" or "[::1]:8080". Raises ValueError that says what would be right."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65_535 or (":" in host and not bracketed):
        raise ValueError(f'"{text}" is not an address and port; give one such as "127.0.0.1:8080" or "[::1]:8080"')
    return str(parse_address(host[1:-1] if bracketed else host)), int(port)

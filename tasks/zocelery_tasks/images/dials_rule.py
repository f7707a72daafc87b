"""Where versions of DIALS differ in what they answer."""

from enum import StrEnum


class DialsRule(StrEnum):
    """Which DIALS to agree with."""

    V3_12 = "3.12"
    """Up to 3.23: the saturation value itself is not trusted."""
    V3_24 = "3.24"
    """From 3.24: the saturation value is the last trusted one."""

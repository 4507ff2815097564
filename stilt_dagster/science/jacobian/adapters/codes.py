"""Which inversion codes a matrix is written for."""

from enum import StrEnum


class Code(StrEnum):
    """An inversion code."""

    FIPS = "fips"
    IMI = "imi"
    OPENGHG = "openghg"
    PYSTILT = "pystilt"

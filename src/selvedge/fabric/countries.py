"""Countries by ISO 3166-1 alpha-2 code, and the groups a zone may be written with.

The code list is ISO 3166-1 as of 2026 (public domain facts). A group's membership changes with
treaties: the date beside each group says when the list was checked. Nothing here is legal advice.
This module refuses to know what a rule does with a country.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_ISO_3166_1: Final = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ
    BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM
    DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS
    GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN
    KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ
    MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM
    PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV
    SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI
    VN VU WF WS YE YT ZA ZM ZW
"""
COUNTRIES: Final[frozenset[str]] = frozenset(_ISO_3166_1.split())
UNKNOWN_COUNTRY: Final = "unknown"
"""Of a site that nobody can place: it is in no group, no zone and no transfer."""

_EU: Final = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"

GROUPS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        # Checked 2026-11: Timor-Leste acceded to ASEAN in October 2025.
        "ASEAN": frozenset(["BN", "ID", "KH", "LA", "MM", "MY", "PH", "SG", "TH", "TL", "VN"]),
        "EU": frozenset(_EU.split()),
        "EEA": frozenset(f"{_EU} IS LI NO".split()),
        "EFTA": frozenset(["CH", "IS", "LI", "NO"]),
        "GCC": frozenset(["AE", "BH", "KW", "OM", "QA", "SA"]),
        "MERCOSUR": frozenset(["AR", "BO", "BR", "PY", "UY"]),
    }
)


def is_country(code: str) -> bool:
    """Whether ``code`` is an assigned ISO 3166-1 alpha-2 code, in upper case."""
    return code in COUNTRIES

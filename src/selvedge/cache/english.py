"""English as the gates know it: which words bind a question and which say nothing.

The gates trust a closed world. A word that is in no list here must be in both texts, or have a
synonym in the other; so a list grows only by what is known to change no answer, and whoever adds a
word thinks of the question that it turns round. Phrases are folded first (`PHRASES`), from the
longest: the right side stands for the left, and nothing for what says nothing.
"""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEGATIONS: Final = _words(
    "not no never without none nobody nothing neither nor nowhere non lack lacks lacking minus"
)
"""Each turns round the word after it."""

ARTICLES: Final = _words(
    "a an the of in at on as is are am be been being do does it its there here"
)
SILENT: Final = ARTICLES | _words(
    "was were did has have had having doing this that these those so very really just please "
    "actually also too then well ok okay kindly basically simply even quite rather pretty "
    "exactly right-away somehow anyway oh ah um hmm hi hello hey thanks thank cheers sir madam "
    "dear guys regards which who-rel own such able i me my mine myself we us our ours ourselves "
    "you your yours yourself for by with to into onto about via through using within from "
    "can could may might must should shall will would ought"
)
"""Never compared as words; persons, modal verbs and places in the sentence are compared apart."""

WEAK: Final = SILENT | _words(
    "get want need like know help try possible way think tell let make use currently still yet now "
    "already see seem look go come happen say believe sure wonder understand explain info "
    "information detail question issue something anything everything thing somehow one some any if "
    "and or but because since when while what how where why give take keep put much more-of "
    "step process instruction find out-of out-find about-to assist assistance advise advice "
    "recently lately guide problem trouble attempt wish supposed appear regard concern "
    "certain specific particular exact apparently unfortunately figure idea reason time able "
    "proper procedure perform carry-out proceed order-to around kind sort bit lot ask wait soon"
)
"""May stand in one text alone, unless a rival of theirs stands in the other (`RIVALS`)."""

SOFT: Final = WEAK | _words(
    "new order account app option item apply provide available access interest interested create "
    "cause message done else accept require support allow amount request receive start mean check "
    "stuff service someone somebody anyone anybody person correctly properly successfully real "
    "actual fully completely additional extra charge fail payment transaction money cash old "
    "arrive complete send fix show appear display status statement though inform expect hear "
    "difficulty forth notice obtain locate recent inform another anywhere immediately"
)
"""May stand in one text alone too, if the other then has nothing left, and it stands by itself:
"in the app" tells little, "app password" is another password."""

MODIFIERS: Final = _words("new extra additional actual recent another")
"""Soft words that may stand beside any other."""

RIVALS: Final[tuple[tuple[frozenset[str], frozenset[str]], ...]] = tuple(
    (_words(a), _words(b))
    for a, b in (
        ("and", "or"),
        ("some", "any"),
        ("come", "go"),
        ("take", "give put keep"),
        ("get", "give put"),
        ("if", "because since"),
        ("still", "already yet"),
        ("question", "issue problem"),
        ("reason", "way process"),
        ("time", "way reason"),
        ("use", "make"),
        ("ask", "tell explain"),
        ("want", "have-own"),
        ("soon", "already now"),
        ("much", "one some"),
    )
)
"""Weak words that turn a question round when one stands against the other."""

QUANTIFIERS: Final = {
    "all": "all",
    "every": "all",
    "each": "all",
    "everyone": "all",
    "everybody": "all",
    "both": "both",
    "either": "either",
    "only": "only",
    "solely": "only",
    "except": "except",
    "excluding": "except",
    "unless": "unless",
    "most": "most",
    "least": "least",
    "more": "more",
    "less": "less",
    "fewer": "less",
    "few": "few",
    "many": "many",
    "several": "several",
    "half": "half",
    "whole": "whole",
    "entire": "whole",
    "other": "other",
    "another": "other",
    "same": "same",
}
"""Words of amount: never silent, and one for another only where they map alike."""

CAN: Final = _words("can could may might able allowed possible permitted")
MUST: Final = _words("must required mandatory obligatory compulsory obliged")
OUGHT: Final = _words("should shall ought recommended advisable")
WILL: Final = _words("will")

TO: Final = _words("to into onto toward towards")
FROM: Final = _words("from")
BY: Final = _words("by with via using through")
FOR: Final = _words("for")
LEADS: Final = {
    **dict.fromkeys(TO, "to"),
    **dict.fromkeys(FROM, "from"),
    **dict.fromkeys(BY, "by"),
    **dict.fromkeys(FOR, "for"),
    **dict.fromkeys(("before", "until", "till"), "before"),
    **dict.fromkeys(("after", "since"), "after"),
    **dict.fromkeys(("in", "on", "at"), "in"),
    "about": "about",
    "against": "against",
    "over": "over",
    "under": "under",
    "above": "over",
    "below": "under",
    "than": "than",
    "instead": "instead",
    "between": "between",
}
"""Prepositions, and what they say of the word after them."""
LEAD_RIVALS: Final = frozenset(
    frozenset(pair.split())
    for pair in [
        "to from",
        "from for",
        "to by",
        "for by",
        "before after",
        "over under",
        "for against",
        "about from",
        "about by",
        "in before",
        "in after",
        "to before",
        "to after",
        "by before",
        "by after",
        "than instead",
        "about to",
        "from against",
        "instead by",
        "instead for",
        "instead to",
        "instead from",
    ]
)

CONTRACTED: Final = {
    "cant": "can not",
    "cannot": "can not",
    "can't": "can not",
    "won't": "will not",
    "wont": "will not",
    "shan't": "shall not",
    "ain't": "is not",
    "dont": "do not",
    "doesnt": "does not",
    "didnt": "did not",
    "isnt": "is not",
    "arent": "are not",
    "wasnt": "was not",
    "werent": "were not",
    "hasnt": "has not",
    "havent": "have not",
    "hadnt": "had not",
    "couldnt": "could not",
    "wouldnt": "would not",
    "shouldnt": "should not",
    "im": "i am",
    "ive": "i have",
    "whats": "what is",
    "wheres": "where is",
    "hows": "how is",
    "thats": "that is",
    "theres": "there is",
    "let's": "let us",
    "y'all": "you",
    "gonna": "going to",
    "wanna": "want to",
    "gotta": "have to",
    "u": "you",
    "ur": "your",
    "pls": "please",
    "plz": "please",
    "thx": "thanks",
    "ty": "thanks",
    "hv": "have",
    "acct": "account",
    "asap": "",
    "btw": "",
    "fyi": "",
    "wifi": "wi fi",
}
"""Words taken apart, and what people write without the apostrophe."""

SUFFIXES: Final = (("n't", "not"), ("'m", "am"), ("'re", "are"), ("'ve", "have"), ("'ll", "will"))
UNITS: Final = {
    "$": "usd",
    "dollar": "usd",
    "buck": "usd",
    "€": "eur",
    "euro": "eur",
    "£": "gbp",
    "¥": "yen",
    "jpy": "yen",
    "₹": "inr",
    "rupee": "inr",
    "%": "percent",
    "pct": "percent",
    "kg": "kilogram",
    "kilo": "kilogram",
    "g": "gram",
    "km": "kilometer",
    "kilometre": "kilometer",
    "cm": "centimeter",
    "mm": "millimeter",
    "metre": "meter",
    "lb": "lb",
    "lbs": "lb",
    "oz": "ounce",
    "hr": "hour",
    "hrs": "hour",
    "h": "hour",
    "mins": "minute",
    "min": "minute",
    "sec": "second-unit",
    "secs": "second-unit",
    "yr": "year",
    "yrs": "year",
    "wk": "week",
    "ft": "foot",
    "mi": "mile",
    "litre": "liter",
    "gb": "gigabyte",
    "mb": "megabyte",
    "tb": "terabyte",
    "kb": "kilobyte",
}
"""One name for a unit; what is not here keeps its own, and so differs from every other."""

NUMBERS: Final = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ]
    )
} | {
    word: 10 * value
    for value, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2
    )
}
SCALES: Final = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
ORDINALS: Final = {"1st": "first", "2nd": "second", "3rd": "third"} | {
    f"{value}th": f"{word}"
    for value, word in enumerate(
        ["fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"],
        4,
    )
}
MONTHS: Final = {
    "jan": "january",
    "feb": "february",
    "mar": "march",
    "apr": "april",
    "jun": "june",
    "jul": "july",
    "aug": "august",
    "sep": "september",
    "sept": "september",
    "oct": "october",
    "nov": "november",
    "dec": "december",
    "mon": "monday",
    "tue": "tuesday",
    "tues": "tuesday",
    "wed": "wednesday",
    "thu": "thursday",
    "thur": "thursday",
    "thurs": "thursday",
    "fri": "friday",
}

CLOSED: Final = (
    SOFT
    | NEGATIONS
    | CAN
    | MUST
    | OUGHT
    | frozenset(LEADS)
    | frozenset(QUANTIFIERS)
    | frozenset(NUMBERS)
    | frozenset(SCALES)
    | frozenset(ORDINALS.values())
    | frozenset(MONTHS.values())
    | _words(
        "who whom whose he she they him her them his hers their theirs himself herself themselves "
        "vs etc versus cannot unlike among amid onto upon toward towards per plus against unless "
        "although though whether whatever whenever wherever whoever nor yes eh till"
    )
)
"""Words of English that the table of plain words has not."""

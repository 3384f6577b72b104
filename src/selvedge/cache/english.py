"""English as the gates know it: which words bind a question and which say nothing.

The gates trust a closed world. A word that is in no list here must be in both texts, or have a
synonym in the other; so a list grows only by what is known to change no answer, and whoever adds a
word thinks of the question that it turns round. Phrases are folded first (`phrases.txt`), from the
longest: the right side stands for the left, and nothing for what says nothing.
"""

from __future__ import annotations

from typing import Final


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


NEGATIONS: Final = words(
    "not no never without none nobody nothing neither nor nowhere non lack lacks lacking minus"
)
"""Each turns round the word after it."""

ARTICLES: Final = words("a an the of in at on as is are am be been being do does it its")
"""Those and the other words after which a preposition still waits for its noun."""
SILENT: Final = ARTICLES | words(
    "was were did has have had having so very really just please actually also too then well ok "
    "okay kindly basically simply quite rather pretty exactly somehow anyway oh ah um hmm hi "
    "hello hey thanks thank cheers sir madam dear guys regards which own such able i me my mine "
    "myself we us our ours ourselves you your yours yourself for by with to into onto about via "
    "through using within from can could may might must should shall will would ought"
)
"""Never compared as words; persons, modal verbs and places in the sentence are compared apart."""

WEAK: Final = SILENT | words(
    "this that these those here there get want need like know help try possible way think tell let "
    "make use currently still yet now already see seem look go come happen say believe sure wonder "
    "understand explain info information detail question issue something anything everything thing "
    "one some any if and or but because while when what how where why give take keep put much step "
    "process instruction find about-to assist assistance advise advice recently lately guide "
    "problem trouble attempt wish supposed appear regard concern certain specific particular exact "
    "apparently unfortunately figure reason idea proper procedure perform proceed around kind "
    "sort bit lot ask wait soon"
)
"""May stand in one text alone, unless a rival stands in the other (`RIVALS`, `ALIKE`)."""

ALIKE: Final[tuple[frozenset[str], ...]] = tuple(
    map(
        words,
        (
            "get have want need find look like wish",
            "know understand wonder explain tell see guide figure think believe",
            "problem issue trouble concern difficulty",
            "question issue problem",
            "try attempt",
            "step process procedure way instruction",
            "detail info information",
            "currently still now yet",
            "recently lately",
            "help assist assistance advise advice",
            "seem appear look",
            "go happen",
            "come happen",
            "certain specific particular exact",
            "kind sort",
            "something anything thing one",
        ),
    )
)
"""Weak words that may stand for each other; any two others turn a question round."""

SOFT: Final = WEAK | words(
    "new order account app option item apply provide available access interest interested create "
    "done accept require allow amount request receive start mean check stuff service someone "
    "somebody anyone anybody person correctly properly successfully actual fully additional extra "
    "arrive complete send though inform expect hear difficulty forth notice obtain locate recent "
    "anywhere immediately"
)
"""May stand in one text alone too, if the other then has nothing left, and it stands by itself:
"in the app" tells little, "app password" is another password."""

MODIFIERS: Final = words("new extra additional actual recent")
"""Soft words that may stand beside any other."""

RIVALS: Final[tuple[tuple[frozenset[str], frozenset[str]], ...]] = tuple(
    (words(a), words(b))
    for a, b in (
        ("and", "or"),
        ("some", "any"),
        ("come", "go"),
        ("if", "because"),
        ("still", "already yet"),
        ("soon", "already now recently lately"),
        ("here", "there"),
        ("this these", "that those"),
        ("bit", "lot much"),
        ("now", "recently lately"),
    )
)
"""Weak words that turn a question round when one stands against the other, whatever else stands."""

LOOSE: Final = words(
    "this that these those here there some any one if and or but because while when what how where "
    "why still yet now already currently much"
)
"""Weak words that are no rivals of others but those that are listed."""

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

CAN: Final = words("can could may might able allowed possible permitted")
MUST: Final = words("must required mandatory obligatory compulsory obliged")
OUGHT: Final = words("should shall ought recommended advisable")
WILL: Final = words("will")

TO: Final = words("to into onto toward towards")
FROM: Final = words("from")
BY: Final = words("by with via using through")
FOR: Final = words("for")
OBJECT_AFTER: Final = words(
    "to from for by with about of at on against call send give pay tell ask show help contact "
    "trust see meet follow owe"
)
"""Words after which "you" is who it is done to."""
LEADS: Final = {
    **dict.fromkeys(TO, "to"),
    **dict.fromkeys(FROM, "from"),
    **dict.fromkeys(BY, "by"),
    **dict.fromkeys(FOR, "for"),
    **dict.fromkeys(("before", "until", "till"), "before"),
    **dict.fromkeys(("after", "since"), "after"),
    **dict.fromkeys(("in", "on", "at"), "in"),
    "as": "as",
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
    for pair in (
        *("to from", "from for", "to by", "for by", "before after", "over under", "for against"),
        *("about from", "about by", "about for", "in before", "in after", "to before", "to after"),
        *("by before", "by after", "than instead", "about to", "from against", "instead by"),
        *("instead for", "instead to", "instead from", "as by", "as for", "as to", "as from"),
    )
)
NAME_LEAD_RIVALS: Final = LEAD_RIVALS | {frozenset(("in", "to")), frozenset(("in", "from"))}
"""Before a name: "in Paris" is not "to Paris", but "in my account" may be "to my account"."""

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
    | words(
        "who whom whose he she they him her them his hers their theirs himself herself themselves "
        "vs etc versus cannot unlike among amid onto upon toward towards per plus against unless "
        "although though whether whatever whenever wherever whoever nor yes eh till"
    )
)
"""Words of English that the table of plain words has not."""

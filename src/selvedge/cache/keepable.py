"""Which answers may be kept for others who ask the same: not the personal, not those of today.

"My" alone makes nothing personal. "How do I change my password?" is what a help desk is asked all
day: its answer is everybody's, and the cache lives on it. Personal is what only this asker has: a
question for a value of theirs ("what is my balance"), a number of an order or a card, an address, a
name, a word about what was said before; and an answer that tells such a value ("your order shipped
on Monday"), whatever the question was. An e-mail address or a telephone number is personal in a
question; in an answer it may be the help desk's own, and is personal only if the question had it.

Time-bound is what another day answers otherwise: today, tomorrow, this week, the weather, a price
on a market, what time it is. "Now", "currently", "latest" bind only where the question is about the
world: "my card does not work now" is about a card. Of chance, and never kept, is what is asked to
be random or secret: a password made for one is not for the next.

It reads English well. Of German, French, Spanish, Italian, Portuguese and Dutch it knows the words
for today, now, tomorrow and the weather; of other languages numbers and addresses alone. There, an
answer that should not be kept may be, in its own scope, until its time to live is over: a class
whose users ask such things in those languages should leave the semantic cache off. What was
answered incompletely (anything but `stop` and `tool_calls`) is never kept.
"""

from __future__ import annotations

import re
from typing import Final

COMPLETE: Final = ("stop", "tool_calls")
READ_CHARS_MAX: Final = 8_000
"""Of a text, from its beginning, and half as much from its end."""

_I: Final = re.IGNORECASE
_EMAIL: Final = re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+")
_PHONE: Final = re.compile(
    r"(?<![\w.,/=-])(?:\+\d{1,3}[ .-]?)?(?:\(\d{1,4}\)[ .-]?)?"
    r"\d{2,4}(?:[ .-]\d{2,4}){2,4}(?![\w.,/-]\d)"
    r"|(?<![\w.])\+\d{8,15}\b"
)
_DATE: Final = re.compile(r"\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}")
_ACCOUNT: Final = re.compile(
    r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,4})?\b"  # an IBAN
    r"|(?<![\w.])\d{4}(?:[ -]?\d{4}){3}(?![\w.])"  # a payment card
    r"|(?<![\w.-])\d{3}-\d{2}-\d{4}(?![\w-])"  # a social security number
)
_THINGS: Final = (
    r"(?:order|booking|reservation|ticket|invoice|case|account|tracking|policy|transaction"
    r"|customer|"
    r"member(?:ship)?|reference|ref|confirmation|shipment|parcel|package|claim|contract|patient|"
    r"employee|user|card|payment|transfer|subscription|application)"
)
_NUMBERED: Final = re.compile(
    rf"\b{_THINGS}\s*(?:(?:number|no\.?|nr\.?|id|code|ref(?:erence)?)\b\s*)?"
    r"(?:is\s+|[:#=]\s*|ending (?:in|with)\s+)?#?(?=[\w-]*\d)(?!\d{1,3}\b)[A-Za-z0-9][\w-]{3,}",
    _I,
)
_VALUES: Final = (
    r"(?:name|balance|address|age|birthday|date of birth|salary|score|grades?|iban|"
    r"(?:account|order|card|customer|member(?:ship)?|phone|tracking|reference|policy|user|sort|"
    r"routing) ?(?:numbers?|id|code|status|balance|name)|order status|status|plan|tier|due date|"
    r"next (?:payment|bill|appointment|invoice)|appointment|password|pin|username|user ?name|bill"
    r"|debt|"
    r"(?:credit|spending|remaining) (?:limit|score|balance)|points|location|ip(?: address)?|"
    r"last (?:order|payment|transaction|invoice|bill))"
)
_ASKS_VALUE: Final = re.compile(
    rf"(?:\bwhat(?:'s| is| was| are|s)|^\W*(?:please )?(?:tell me|show me|give me|check|look up))"
    rf" (?:my|our)(?: (?:current|new|own|exact|total|available))? {_VALUES}\b(?! (?:for|used|mean))"
    r"|\bhow (?:much|many) \w*\s?\w*\s?(?:do|did|have|am|will|must) (?:i|we)"
    r"(?: still)? (?:owe|have left|have in my|got left|spent|spend so far|earned?)\b"
    r"|\bhow much (?:money )?(?:is|do i have) (?:left )?(?:in|on) my\b"
    r"|\b(?:who|where) am i\b\W*$|\bwhat did (?:i|we) (?:say|ask|order|buy|do|agree|talk)"
    r"|\bam i (?:eligible|enrolled|registered|subscribed|late|overdue)\b",
    _I,
)
_SAID_BEFORE: Final = re.compile(
    r"\bas (?:we|i|you) (?:\w+ )?(?:discussed|said|mentioned|agreed|told|wrote|talked|spoke)"
    r"|\b(?:you|i|we) (?:just |already )?(?:said|told (?:me|you)|mentioned|discussed|talked|asked)"
    r"(?: \w+){0,3} (?:earlier|before|above|previously|yesterday|last time)\b"
    r"|\b(?:my|our|your) (?:previous|last|earlier|prior) "
    r"(?:question|message|e-?mail|conversation|chat|call|answer|reply|request)\b"
    r"|\b(?:last|next) time we\b|\bremember (?:me|when (?:i|we))\b|\bas (?:above|before)\b",
    _I,
)
_DISCLOSES: Final = re.compile(
    r"\bmy (?:full |first |last |real )?name(?:'s| is|:) (?-i:[A-Z])"
    r"|\bmy (?:home |e-?mail |phone |postal |account |card |user ?)?(?:name|address|number"
    r"|password|"
    r"passcode|pin|birthday|iban|ssn)(?: is|:| =) (?=\S*\d|\")"
    r"|\bi(?:'m| am) \d{1,3}(?: years? old| ?y/?o)?\b(?! ?%| percent| (?:days|hours|minutes"
    r"|weeks)\b)"
    r"|\bi was born (?:on|in)\b"
    r"|\bi (?:was|am|have been|'ve been) diagnosed\b|\bi(?:'m| am) (?:pregnant|diabetic)\b"
    r"|\bi live (?:at|on) \d",
    _I,
)
_TELLS: Final = re.compile(
    r"^\W*(?:dear|hi|hello|hey) (?!there\b|all\b|everyone\b|customer\b|sir\b|madam\b|team\b|and\b|"
    r"from\b|world\b|again\b|user\b|friend\b)(?-i:[A-Z])\w+(?: (?-i:[A-Z])\w+)?\s*[,!.:\n]"
    r"|(?<!once )(?<!when )(?<!if )(?<!after )(?<!until )(?<!before )(?<!whether )(?<!that )"
    r"\byour (?:\w+ )?(?:balance|order|package|parcel|payment|refund|transfer|shipment|appointment|"
    r"booking|reservation|subscription|account|claim|application|ticket|card) "
    r"(?:is (?:currently |now )?(?:[$€£]|\d|out for|on its|scheduled|due|at\b|overdue|confirmed)|"
    r"was (?:shipped|sent|delivered|declined|processed|cancell?ed|rejected|made|placed|received"
    r"|issued|"
    r"approved)\b|has (?:been )?(?:shipped|sent|delivered|dispatched|arrived|declined|processed|"
    r"cancell?ed|left|approved)\b|shipped\b|arrived\b|will (?:arrive|be delivered) (?:on|by|today"
    r"|tom))"
    r"|\byou (?:currently |still )?(?:owe|have) (?:[$€£]\s?\d|\d+(?:[.,]\d+)? ?(?:points|dollars"
    r"|euros|"
    r"credits|usd|eur|gbp)\b)"
    r"|\bi(?:'ve| have)(?: just| now)? (?:checked|looked up|updated|cancell?ed|refunded|sent"
    r"|issued|"
    r"processed|reset|found|located|opened|created|scheduled|booked) (?:your|you|an? \w+ for you)\b"
    r"|\bi (?:can )?see (?:that |here )?(?:you|your)\b|\b(?:our|my) records\b|\baccording to your\b"
    r"|\bas you (?:said|mentioned|told)\b|\byou (?:mentioned|told me|said earlier)\b"
    r"|\bearlier (?:in (?:our|this)|you)\b|\bas we discussed\b|\byour name is\b",
    _I | re.MULTILINE,
)
_MARKET: Final = (
    r"(?:stocks?|shares?|bitcoin|btc|ethereum|eth|crypto(?:currency)?|gold|silver|oil|gas|petrol|"
    r"nasdaq|dow(?: jones)?|s&p(?: 500)?|ftse|dax)"
)
_DAY: Final = re.compile(
    r"\b(?:today|tonight|tomorrow|to-?day)(?:'s)?\b"
    r"|\bthis (?:morning|afternoon|evening|week|weekend|month|year|season|quarter)(?:'s)?\b"
    r"|\bnext (?:week|weekend|month|year|season|quarter|few days)\b"
    r"|\b(?:weather|forecast)\b(?! (?:api|app|model|icon|widget|station))"
    r"|\bwhat(?:'s| is|s)? (?:the )?(?:time|date|day)(?: of the week)?(?: is it| right now| now"
    r"|\s*\?|$)"
    r"|\bwhat (?:time|day|date|year|month) is (?:it|now)\b|\bis it (?:raining|snowing|sunny|day"
    r"|night)\b"
    rf"|\b{_MARKET}(?:'s)? (?:price|prices|trading|worth|value|index|doing)\b"
    rf"|\b(?:price|value|worth) of (?:an? |the |one )?(?:\w+ )?{_MARKET}\b"
    r"|\bhow much is (?:an? |the |one )?(?:bitcoin|ethereum|dollar|euro|pound|yen|gold)\b"
    r"|\b(?:what|how much)(?:'s| is| are) (?:the |your )?(?:\w+ )?exchange rate\b"
    r"|\bconvert (?:\d|one\b).{0,40} (?:to|into) |\b(?:live|breaking|latest) (?:score|news"
    r"|results?)\b"
    r"|\bthe news\b|\bheadlines?\b|\b(?:traffic|flight|train|bus) (?:status|delays?|jam)\b"
    r"|\bhow (?:many|long)(?: days| weeks| hours| months)? (?:until|till|to go|left|before) "
    r"(?:christmas|new year|easter|the (?:election|deadline))\b"
    r"|\b(?:open|closed|available|playing|showing|happening|trending) (?:right )?now\b"
    r"|\bwho (?:won|is winning|is leading) (?:the )?(?:game|match|race|election) ?(?:last|to|$|\?)",
    _I,
)
_DAY_ELSEWHERE: Final = re.compile(
    r"\b(?:heute|morgen|jetzt|aktuell\w*|derzeit|wetter|wie sp[äa]t|hoy|ahora|mañana"
    r"|actual(?:mente)?|"
    r"clima|qué hora|aujourd'hui|maintenant|demain|actuel\w*|météo|quelle heure|oggi|adesso|domani|"
    r"attual\w*|che ore|hoje|agora|amanhã|atual\w*|que horas|vandaag|nu|actueel|weer|hoe laat)\b",
    _I,
)
_NOW: Final = re.compile(
    r"\b(?:right now|just now|now|currently|at the moment|at present|these days|nowadays|as of"
    r"|so far|"
    r"up to date|latest|most recent|recent news|current)\b(?! account)",
    _I,
)
_OWN: Final = re.compile(r"\b(?:i|i'm|i've|i'd|my|me|mine|we|our)\b", _I)
_TOLD_TODAY: Final = re.compile(
    r"\bas of (?:today|now|this|\d|(?-i:[A-Z])\w+ \d)|\btoday(?:'s (?:date|weather|price|rate"
    r"|forecast|"
    r"high|low|news|special|menu|exchange)| is\b|, (?:the|it)\b)"
    r"|\bit(?:'s| is) (?:currently |now )?\d{1,2}[:.]\d\d\b|\bit(?:'s| is) (?:currently|now) \d"
    r"|\bthe current (?:time|date|temperature|price|exchange rate|weather|score)\b"
    r"|\b(?:currently|now) (?:trading|raining|sunny|cloudy|at [$€£]?\d)"
    r"|\bat the time of (?:writing|this)\b|\btomorrow(?:'s| will| is| at| morning)\b"
    r"|\d ?°[CF]?\b.{0,40}"
    r"\b(?:today|now|currently|outside)\b",
    _I,
)
_CHANCE: Final = re.compile(
    r"^\W*(?:please )?(?:can you |could you )?(?:give|pick|choose|tell|generate|make|name|select"
    r"|show)"
    r"(?: me| us)?(?: an?| some| \d+)? (?:\w+ )?random"
    r"|\b(?:roll|throw) (?:a |the |\d*)(?:d\d|dice|die)\b|\b(?:flip|toss) a coin\b"
    r"|^\W*(?:please |can you |could you )?(?:generate|create|make|give|suggest|invent)(?: me| us)?"
    r"(?: an?| another| \d+)?(?: \w+){0,3} (?:password|passphrase|passcode|uuid|guid|secret|token"
    r"|otp)s?\b"
    r"|\b(?:another|a different|a new) (?:joke|idea|version|answer|example|poem|story)\b",
    _I,
)


def why_not_kept(text: str, answer: str, finish_reason: str | None) -> str | None:
    """Why an answer is not kept; None where it may be. Both texts are plain."""
    if finish_reason not in COMPLETE:
        return f"incomplete: it ended with {finish_reason or 'nothing'}"
    asked, told = _bounded(text), _bounded(answer)
    return _personal(asked, told) or _of_today(asked, told) or _of_chance(asked)


def _bounded(text: str) -> str:
    text = text.replace("\u2019", "'")
    half = READ_CHARS_MAX // 2
    return (
        text if len(text) <= READ_CHARS_MAX + half else text[:READ_CHARS_MAX] + "\n" + text[-half:]
    )


def _personal(asked: str, told: str) -> str | None:
    dateless = _DATE.sub(" ", asked)
    for what, pattern, where in (
        ("an e-mail address", _EMAIL, asked),
        ("an account's or card's number", _ACCOUNT, asked),
        ("a telephone number", _PHONE, dateless),
        ("a number of its own", _NUMBERED, asked),
    ):
        if pattern.search(where):
            return f"personal: the question has {what}"
    if _ASKS_VALUE.search(asked):
        return "personal: it asks for what only the asker has"
    if _SAID_BEFORE.search(asked):
        return "personal: it speaks of what was said before"
    if _DISCLOSES.search(asked):
        return "personal: the asker says who they are"
    if _ACCOUNT.search(told) or _TELLS.search(told):
        return "personal: the answer speaks of the asker's own affairs"
    return None


def _of_today(asked: str, told: str) -> str | None:
    if _DAY.search(asked) or _DAY_ELSEWHERE.search(asked):
        return "time-bound: another day answers it otherwise"
    if _NOW.search(asked) and not _OWN.search(asked):
        return "time-bound: it asks how things are now"
    if _TOLD_TODAY.search(told):
        return "time-bound: the answer is of today"
    return None


def _of_chance(asked: str) -> str | None:
    return "of chance: another answer is wanted each time" if _CHANCE.search(asked) else None

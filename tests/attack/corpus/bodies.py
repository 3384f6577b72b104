"""Where a message ends: lengths, codings, chunks, extensions, trailers."""

from __future__ import annotations

from tests.attack.corpus.attack import FOLLOW, INNER, chunked, family, get, post

TE = b"Transfer-Encoding: chunked\r\n"
LAST = b"0\r\n\r\n"
CL5 = b"Content-Length: 5\r\n"
HIDDEN = b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER)

CONFLICTS = {
    "CL then TE": post(CL5 + TE, LAST),
    "TE then CL": post(TE + CL5, LAST),
    "CL.TE with a request inside": post(
        b"Content-Length: %d\r\n" % (5 + len(INNER)) + TE, LAST + INNER
    ),
    "TE.CL with a request inside": post(TE + b"Content-Length: 4\r\n", HIDDEN),
    "CL 0 then TE": post(b"Content-Length: 0\r\n" + TE, HIDDEN),
    "TE then CL 0": post(TE + b"Content-Length: 0\r\n", HIDDEN),
    "TE, CL, TE": post(TE + CL5 + TE, LAST),
    "CL, TE, CL": post(CL5 + TE + CL5, LAST),
    "TE in HTTP/1.0 with CL": b"POST /a HTTP/1.0\r\nHost: a\r\n"
    + TE
    + CL5
    + b"\r\n"
    + LAST
    + FOLLOW,
    "TE in HTTP/1.0": b"POST /a HTTP/1.0\r\nHost: a\r\n" + TE + b"\r\n" + LAST + FOLLOW,
    "TE in HTTP/1.0, keep-alive": b"POST /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n"
    + TE
    + b"\r\n"
    + HIDDEN
    + FOLLOW,
    "CL and a broken TE": post(CL5 + b"Transfer-Encoding: xchunked\r\n", b"hello"),
    "CL and an empty TE": post(CL5 + b"Transfer-Encoding:\r\n", b"hello"),
    "CL and identity": post(CL5 + b"Transfer-Encoding: identity\r\n", b"hello"),
    "GET with TE": b"GET /a HTTP/1.1\r\nHost: a\r\n" + TE + b"\r\n" + HIDDEN + FOLLOW,
    "GET with CL": b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(INNER)
    + INNER
    + FOLLOW,
    "HEAD with CL": b"HEAD /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + FOLLOW,
    "DELETE with CL": b"DELETE /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + FOLLOW,
    "OPTIONS with TE": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n" + TE + b"\r\n" + HIDDEN + FOLLOW,
    "POST without a length": b"POST /a HTTP/1.1\r\nHost: a\r\n\r\n" + INNER + FOLLOW,
}

LENGTHS = {
    name: post(value, b"hello")
    for name, value in {
        "twice the same": CL5 + CL5,
        "twice, 5 and 6": CL5 + b"Content-Length: 6\r\n",
        "twice, 5 and 0": CL5 + b"Content-Length: 0\r\n",
        "twice, in other case": CL5 + b"CONTENT-LENGTH: 6\r\n",
        "list of the same": b"Content-Length: 5, 5\r\n",
        "list, 5 and 6": b"Content-Length: 5, 6\r\n",
        "list, 5 and nothing": b"Content-Length: 5,\r\n",
        "list without space": b"Content-Length: 5,5\r\n",
        "list and field": b"Content-Length: 5, 5\r\n" + CL5,
        "plus": b"Content-Length: +5\r\n",
        "minus": b"Content-Length: -5\r\n",
        "minus zero": b"Content-Length: -0\r\n",
        "hex": b"Content-Length: 0x5\r\n",
        "octal": b"Content-Length: 0o5\r\n",
        "underscore": b"Content-Length: 0_5\r\n",
        "leading zeros": b"Content-Length: 0000000005\r\n",
        "many leading zeros": b"Content-Length: " + b"0" * 400 + b"5\r\n",
        "point": b"Content-Length: 5.0\r\n",
        "exponent": b"Content-Length: 5e0\r\n",
        "empty": b"Content-Length:\r\n",
        "only a space": b"Content-Length: \r\n",
        "space inside": b"Content-Length: 5 0\r\n",
        "trailing tab": b"Content-Length: 5\t\r\n",
        "vertical tab": b"Content-Length: \x0b5\r\n",
        "form feed": b"Content-Length: 5\x0c\r\n",
        "NUL behind": b"Content-Length: 5\x00\r\n",
        "NUL before": b"Content-Length: \x005\r\n",
        "no-break space": b"Content-Length: \xa05\r\n",
        "superscript": b"Content-Length: \xb2\r\n",
        "arabic digit": b"Content-Length: \xd9\xa5\r\n",
        "full-width digit": b"Content-Length: \xef\xbc\x95\r\n",
        "quoted": b'Content-Length: "5"\r\n',
        "semicolon": b"Content-Length: 5;a=b\r\n",
        "2^64 + 5": b"Content-Length: 18446744073709551621\r\n",
        "2^63": b"Content-Length: 9223372036854775808\r\n",
        "2^32 + 5": b"Content-Length: 4294967301\r\n",
        "400 digits": b"Content-Length: " + b"9" * 400 + b"\r\n",
        "folded": b"Content-Length:\r\n 5\r\n",
        "folded, two values": b"Content-Length: 5\r\n 6\r\n",
        "space before colon": b"Content-Length : 5\r\n",
        "tab before colon": b"Content-Length\t: 5\r\n",
        "underscore in the name": b"Content_Length: 5\r\n",
        "hyphen missing": b"ContentLength: 5\r\n",
        "NUL in the name": b"Content-\x00Length: 5\r\n",
        "leading space in the name": b" Content-Length: 5\r\n",
    }.items()
}

CODINGS = {
    name: post(b"Transfer-Encoding:" + value + b"\r\n", HIDDEN)
    for name, value in {
        "upper case": b" CHUNKED",
        "mixed case": b" cHuNkEd",
        "no space": b"chunked",
        "two spaces": b"  chunked",
        "tab": b"\tchunked",
        "trailing space": b" chunked ",
        "trailing tab": b" chunked\t",
        "xchunked": b" xchunked",
        "chunkedx": b" chunkedx",
        "chunk": b" chunk",
        "vertical tab before": b" \x0bchunked",
        "vertical tab behind": b" chunked\x0b",
        "form feed": b" \x0cchunked",
        "NUL behind": b" chunked\x00",
        "no-break space": b" chunked\xa0",
        "carriage return": b" chunked\r\r",
        "comma behind": b" chunked,",
        "comma before": b" , chunked",
        "chunked, identity": b" chunked, identity",
        "identity, chunked": b" identity, chunked",
        "chunked, chunked": b" chunked, chunked",
        "gzip, chunked": b" gzip, chunked",
        "chunked, gzip": b" chunked, gzip",
        "identity": b" identity",
        "cow": b" cow",
        "quoted": b' "chunked"',
        "parameter": b" chunked;q=1",
        "empty": b"",
        "folded": b"\r\n chunked",
        "folded with a tab": b"\r\n\tchunked",
        "second value folded": b" chunked\r\n , identity",
        "LF for CRLF behind": b" chunked\nA: b",
        "full-width": b" \xef\xbd\x83hunked",
    }.items()
} | {
    "two headers": post(TE + TE, HIDDEN),
    "two headers, second identity": post(TE + b"Transfer-Encoding: identity\r\n", HIDDEN),
    "two headers, first identity": post(b"Transfer-Encoding: identity\r\n" + TE, HIDDEN),
    "two headers, one broken": post(TE + b"Transfer-Encoding: x\r\n", HIDDEN),
    "space before colon": post(b"Transfer-Encoding : chunked\r\n", HIDDEN),
    "underscore in the name": post(b"Transfer_Encoding: chunked\r\n", HIDDEN),
    "NUL in the name": post(b"Transfer-Encoding\x00: chunked\r\n", HIDDEN),
    "leading space in the name": post(b" Transfer-Encoding: chunked\r\n", HIDDEN),
    "behind a bare LF": post(b"A: b\nTransfer-Encoding: chunked\r\n", HIDDEN),
    "behind a bare CR": post(b"A: b\rTransfer-Encoding: chunked\r\n", HIDDEN),
    "TE header is not it": post(b"TE: chunked\r\n" + CL5, b"hello"),
}

SIZES = {
    name: chunked(size + b"\r\n" + b"a" * 2 + b"\r\n" + LAST)
    for name, size in {
        "0_2": b"0_2",
        "0_2e": b"0_2e",
        "+2": b"+2",
        "-2": b"-2",
        "-0": b"-0",
        "0x2": b"0x2",
        "0X2": b"0X2",
        "leading space": b" 2",
        "trailing space": b"2 ",
        "trailing tab": b"2\t",
        "leading tab": b"\t2",
        "leading zeros": b"0002",
        "16 digits": b"0000000000000002",
        "400 zeros": b"0" * 400 + b"2",
        "2^64 + 2": b"10000000000000002",
        "2^63": b"8000000000000000",
        "all f": b"f" * 16,
        "20 f": b"f" * 20,
        "g": b"g",
        "2g": b"2g",
        "2 2": b"2 2",
        "empty": b"",
        "point": b"2.0",
        "comma": b"2,2",
        "NUL": b"2\x00",
        "vertical tab": b"\x0b2",
        "no-break space": b"2\xa0",
        "superscript": b"\xb2",
        "arabic digit": b"\xd9\xa2",
        "full-width": b"\xef\xbc\x92",
        "quoted": b'"2"',
        "h": b"2h",
        "newline first": b"\r\n2",
    }.items()
} | {
    "one too many": chunked(b"2\r\nabc\r\n" + LAST),
    "one too few": chunked(b"3\r\nab\r\n" + LAST),
    "0 with zeros": chunked(b"2\r\nab\r\n0000\r\n\r\n"),
    "no CRLF behind the data": chunked(b"2\r\nab0\r\n\r\n"),
    "wrong bytes behind the data": chunked(b"2\r\nabXX0\r\n\r\n"),
    "LF behind the data": chunked(b"2\r\nab\n0\r\n\r\n"),
    "CR behind the data": chunked(b"2\r\nab\r0\r\n\r\n"),
    "LF behind the size": chunked(b"2\nab\r\n0\r\n\r\n"),
    "CR behind the size": chunked(b"2\rab\r\n0\r\n\r\n"),
    "CR CR LF behind the size": chunked(b"2\r\r\nab\r\n0\r\n\r\n"),
    "LF behind the last size": chunked(b"2\r\nab\r\n0\n\r\n"),
    "LF at the end": chunked(b"2\r\nab\r\n0\r\n\n"),
    "no last line": chunked(b"2\r\nab\r\n0\r\n"),
    "request as a chunk": chunked(HIDDEN),
    "size over the body": chunked(b"ffffff\r\nab\r\n0\r\n\r\n"),
}

EXTENSIONS = {
    name: chunked(b"2" + extension + b"\r\nab\r\n" + LAST)
    for name, extension in {
        "a name": b";a",
        "a value": b";a=b",
        "space before": b" ;a=b",
        "tab before": b"\t;a=b",
        "space behind": b"; a=b",
        "quoted": b';a="b"',
        "quoted CRLF": b';a="\r\n"',
        "quoted request": b';a="\r\n\r\n' + INNER + b'"',
        "open quote": b';a="b',
        "LF inside": b";a\nb",
        "CR inside": b";a\rb",
        "LF and a size": b";\n3",
        "NUL inside": b";\x00",
        "empty": b";",
        "many": b";a=b" * 50,
        "1 KB": b";" + b"a" * 1_000,
        "64 KB": b";" + b"a" * 65_536,
        "obs-text": b";\xff",
        "escape": b";\x1b[31m",
        "no semicolon": b" a=b",
        "comma": b",a=b",
    }.items()
} | {
    "in many chunks": chunked((b"1;" + b"a" * 900 + b"\r\nx\r\n") * 100 + LAST),
    "at the last chunk": chunked(b"2\r\nab\r\n0;a=b\r\n\r\n"),
    "LF at the last chunk": chunked(b"2\r\nab\r\n0;\n\r\n"),
}

TRAILERS = {
    name: chunked(b"2\r\nab\r\n0\r\n" + trailer + b"\r\n")
    for name, trailer in {
        "plain": b"A: b\r\n",
        "Content-Length": b"Content-Length: 9\r\n",
        "Transfer-Encoding": b"Transfer-Encoding: chunked\r\n",
        "Host": b"Host: b\r\n",
        "authorization": b"Authorization: Bearer x\r\n",
        "folded": b"A: b\r\n c\r\n",
        "space before colon": b"A : b\r\n",
        "no colon": b"A\r\n",
        "empty name": b": b\r\n",
        "LF": b"A: b\n",
        "NUL": b"A: \x00\r\n",
        "CR inside": b"A: b\rc\r\n",
        "a request": INNER[:-2],
        "200 of them": b"A: b\r\n" * 200,
        "64 KB": b"A: " + b"b" * 65_536 + b"\r\n",
        "Connection": b"Connection: close\r\n",
    }.items()
}

BODIES = (
    *family("TE and CL", "RFC 9112 section 6.3; CWE-444", CONFLICTS),
    *family("Content-Length", "RFC 9112 section 6.2; RFC 9110 section 8.6", LENGTHS),
    *family("Transfer-Encoding", "RFC 9112 section 6.1; CVE-2019-18277, CVE-2021-21295", CODINGS),
    *family("chunk size", "RFC 9112 section 7.1; CVE-2023-47627, CVE-2022-24766", SIZES),
    *family(
        "chunk extension", "RFC 9112 section 7.1.1; CVE-2023-39326, CVE-2025-58056", EXTENSIONS
    ),
    *family("trailer", "RFC 9110 section 6.5.1; RFC 9112 section 7.1.2", TRAILERS),
    *family("TE and CL", "RFC 9110 section 10.1.1", {"GET follows at once": get(b"")}, "pipeline"),
)

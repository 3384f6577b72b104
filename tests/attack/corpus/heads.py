"""Where a head ends and what it says: request lines, fields, line ends, hops, counts."""

from __future__ import annotations

from tests.attack.corpus.attack import FOLLOW, INNER, family, get, line, post

LINES = {
    name: line(first + b"\r\n")
    for name, first in {
        "HTTP/1.2": b"GET /a HTTP/1.2",
        "HTTP/2.0": b"GET /a HTTP/2.0",
        "HTTP/0.9": b"GET /a HTTP/0.9",
        "HTTP/1.10": b"GET /a HTTP/1.10",
        "HTTP/01.1": b"GET /a HTTP/01.1",
        "HTTP/1": b"GET /a HTTP/1",
        "HTTP/1.1x": b"GET /a HTTP/1.1x",
        "http/1.1": b"GET /a http/1.1",
        "HTTP/ 1.1": b"GET /a HTTP/ 1.1",
        "no version": b"GET /a",
        "no target": b"GET HTTP/1.1",
        "two targets": b"GET /a /b HTTP/1.1",
        "two spaces": b"GET  /a HTTP/1.1",
        "tab": b"GET\t/a\tHTTP/1.1",
        "trailing space": b"GET /a HTTP/1.1 ",
        "leading space": b" GET /a HTTP/1.1",
        "vertical tab": b"GET\x0b/a HTTP/1.1",
        "lower case method": b"get /a HTTP/1.1",
        "method with colon": b"GE:T /a HTTP/1.1",
        "empty method": b" /a HTTP/1.1",
        "CONNECT": b"CONNECT a:80 HTTP/1.1",
        "TRACE": b"TRACE /a HTTP/1.1",
        "PRI": b"PRI * HTTP/2.0",
        "absolute form": b"GET http://b/a HTTP/1.1",
        "absolute form, other port": b"GET http://a:81/a HTTP/1.1",
        "https form": b"GET https://a/ HTTP/1.1",
        "authority form": b"GET a:80 HTTP/1.1",
        "star with GET": b"GET * HTTP/1.1",
        "no slash": b"GET a HTTP/1.1",
        "fragment": b"GET /a#b HTTP/1.1",
        "NUL": b"GET /a\x00b HTTP/1.1",
        "CR inside": b"GET /a\rb HTTP/1.1",
        "obs-text": b"GET /\xff HTTP/1.1",
        "DEL": b"GET /\x7f HTTP/1.1",
        "UTF-8": b"GET /\xc3\xa9 HTTP/1.1",
        "escaped CRLF": b"GET /a%0d%0aX:%20y HTTP/1.1",
        "escaped NUL": b"GET /a%00b HTTP/1.1",
        "dot segments": b"GET /../../b HTTP/1.1",
        "RTSP": b"GET /a RTSP/1.0",
        "ICE": b"SOURCE /a ICE/1.0",
        "8 KB": b"GET /" + b"a" * 8_180 + b" HTTP/1.1",
        "9 KB": b"GET /" + b"a" * 9_000 + b" HTTP/1.1",
        "70 KB": b"GET /" + b"a" * 70_000 + b" HTTP/1.1",
        "method of 1 KB": b"G" * 1_000 + b" /a HTTP/1.1",
    }.items()
}

FIELDS = {
    name: get(field + b"\r\n")
    for name, field in {
        "folded": b"A: b\r\n c",
        "folded with a tab": b"A: b\r\n\tc",
        "folded, nothing": b"A:\r\n ",
        "folded request": b"A: b\r\n GET /smuggled HTTP/1.1",
        "space before colon": b"A : b",
        "tab before colon": b"A\t: b",
        "empty name": b": b",
        "no colon": b"A",
        "only a colon": b":",
        "space in the name": b"A B: c",
        "leading space": b" A: b",
        "parenthesis in the name": b"A(: b",
        "slash in the name": b"A/: b",
        "quote in the name": b'A": b',
        "at in the name": b"A@: b",
        "obs-text in the name": b"A\xff: b",
        "NUL in the name": b"A\x00: b",
        "CR in the name": b"A\r: b",
        "escape in the name": b"A\x1b: b",
        "NUL in the value": b"A: b\x00c",
        "CR in the value": b"A: b\rc",
        "CR at the end of the value": b"A: b\r",
        "LF in the value": b"A: b\nC: d",
        "LF and a length": b"A: b\nContent-Length: 5",
        "CR and a length": b"A: b\rContent-Length: 5",
        "vertical tab in the value": b"A: b\x0bc",
        "DEL in the value": b"A: b\x7fc",
        "escape in the value": b"A: \x1b[31mred",
        "backspace in the value": b"A: b\x08",
        "obs-text in the value": b"A: b\xff",
        "UTF-8 in the value": b"A: \xe2\x80\xa8",
        "empty value": b"A:",
        "value of spaces": b"A: \t \t",
        "underscore for hyphen": b"X_Forwarded_For: 127.0.0.1",
        "next line (U+0085)": b"A: b\xc2\x85Content-Length: 5",
    }.items()
}

HOSTS = {
    "missing": b"GET /a HTTP/1.1\r\n\r\n" + FOLLOW,
    "missing in 1.0": b"GET /a HTTP/1.0\r\n\r\n" + FOLLOW,
    "twice the same": get(b"Host: a\r\n"),
    "twice": get(b"Host: b\r\n"),
    "twice, in other case": get(b"HOST: b\r\n"),
    "empty": b"GET /a HTTP/1.1\r\nHost:\r\n\r\n" + FOLLOW,
    "list": b"GET /a HTTP/1.1\r\nHost: a, b\r\n\r\n" + FOLLOW,
    "space before colon": b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n" + FOLLOW,
    "folded": b"GET /a HTTP/1.1\r\nHost:\r\n a\r\n\r\n" + FOLLOW,
    "first line folded": b"GET /a HTTP/1.1\r\n Host: a\r\n\r\n" + FOLLOW,
    "absolute form against Host": b"GET http://b/a HTTP/1.1\r\nHost: a\r\n\r\n" + FOLLOW,
    "bad characters": b"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n" + FOLLOW,
    "NUL": b"GET /a HTTP/1.1\r\nHost: a\x00b\r\n\r\n" + FOLLOW,
}

ENDS = {
    "LF for the request line": b"GET /a HTTP/1.1\nHost: a\r\n\r\n" + FOLLOW,
    "LF for the first field": b"GET /a HTTP/1.1\r\nHost: a\n\r\n" + FOLLOW,
    "LF for the empty line": b"GET /a HTTP/1.1\r\nHost: a\r\n\n" + FOLLOW,
    "LF everywhere": b"GET /a HTTP/1.1\nHost: a\n\n" + FOLLOW,
    "LF LF behind a field": b"GET /a HTTP/1.1\r\nHost: a\n\n" + FOLLOW,
    "CR for the request line": b"GET /a HTTP/1.1\rHost: a\r\n\r\n" + FOLLOW,
    "CR for the empty line": b"GET /a HTTP/1.1\r\nHost: a\r\n\r" + FOLLOW,
    "CR CR LF": b"GET /a HTTP/1.1\r\r\nHost: a\r\n\r\n" + FOLLOW,
    "CR CR LF at the end": b"GET /a HTTP/1.1\r\nHost: a\r\n\r\r\n" + FOLLOW,
    "LF CR": b"GET /a HTTP/1.1\n\rHost: a\r\n\r\n" + FOLLOW,
    "LF behind a wrong version": b"HEAD /a HTTP/2.1\r\nHost: a\r\nA: b\n\r\n\r\n" + FOLLOW,
    "NUL behind CR": b"GET /a HTTP/1.1\r\x00\nHost: a\r\n\r\n" + FOLLOW,
    "one empty line before": b"\r\n" + get(b""),
    "two empty lines before": b"\r\n\r\n" + get(b""),
    "ten empty lines before": b"\r\n" * 10 + get(b""),
    "LF before": b"\n" + get(b""),
    "CR before": b"\r" + get(b""),
    "empty lines between": get(b"", b"\r\n" + FOLLOW),
    "LF between": get(b"", b"\n" + FOLLOW),
    "space between": get(b"", b" " + FOLLOW),
    "NUL between": get(b"", b"\x00" + FOLLOW),
    "junk between": get(b"", b"0\r\n\r\n" + FOLLOW),
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32) + FOLLOW,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9) + FOLLOW,
    "PROXY protocol": b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + get(b""),
}

HOPS = {
    name: post(field + b"Content-Length: 5\r\n", b"hello")
    for name, field in {
        "Connection: content-length": b"Connection: content-length\r\n",
        "Connection: close, content-length": b"Connection: close, Content-Length\r\n",
        "Connection: host": b"Connection: Host\r\n",
        "Connection: authorization": b"Connection: authorization\r\nAuthorization: Bearer x\r\n",
        "Connection twice": b"Connection: close\r\nConnection: keep-alive\r\n",
        "Connection: keep-alive": b"Connection: keep-alive\r\n",
        "Keep-Alive": b"Keep-Alive: timeout=9999, max=9999\r\n",
        "Proxy-Connection": b"Proxy-Connection: keep-alive\r\n",
        "Connection with NUL": b"Connection: close\x00\r\n",
        "Upgrade": b"Connection: upgrade\r\nUpgrade: websocket\r\n",
        "Upgrade without Connection": b"Upgrade: websocket\r\n",
        "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
        "Expect": b"Expect: 100-continue\r\n",
        "Expect in upper case": b"Expect: 100-CONTINUE\r\n",
        "Expect of something else": b"Expect: 200-ok\r\n",
        "Expect, empty": b"Expect:\r\n",
        "Expect twice": b"Expect: 100-continue\r\nExpect: 100-continue\r\n",
        "Expect with junk": b"Expect: y 100-continue\r\n",
        "Expect folded": b"Expect:\r\n 100-continue\r\n",
        "Max-Forwards": b"Max-Forwards: 0\r\n",
        "TE: trailers": b"Connection: TE\r\nTE: trailers\r\n",
    }.items()
} | {
    "Connection: transfer-encoding": post(
        b"Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + INNER
    ),
    "Expect on a GET": get(b"Expect: 100-continue\r\n"),
    "Expect with chunks": post(
        b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", b"2\r\nab\r\n0\r\n\r\n"
    ),
    "Upgrade with a body of a request": b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n"
    b"Upgrade: websocket\r\n\r\n" + INNER + FOLLOW,
    "HTTP/1.0 keep-alive": b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + FOLLOW,
    "close, then a request": get(b"Connection: close\r\n"),
}

COUNTS = {
    "127 fields": get(b"A: b\r\n" * 126),
    "128 fields": get(b"A: b\r\n" * 127),
    "129 fields": get(b"A: b\r\n" * 128),
    "5,000 fields": get(b"A: b\r\n" * 5_000),
    "a value of 8 KB": get(b"A: " + b"b" * 8_000 + b"\r\n"),
    "a value of 60 KB": get(b"A: " + b"b" * 60_000 + b"\r\n"),
    "a value of 70 KB": get(b"A: " + b"b" * 70_000 + b"\r\n"),
    "a name of 10 KB": get(b"A" * 10_000 + b": b\r\n"),
    "16 requests at once": get(b"", b"") * 15 + FOLLOW,
    "40 requests at once": get(b"", b"") * 39 + FOLLOW,
    "request in a body": post(b"Content-Length: %d\r\n" % len(INNER), INNER),
    "request in a JSON string": post(
        b"Content-Length: %d\r\n" % (len(INNER) + 2), b'"' + INNER + b'"'
    ),
}

HEADS = (
    *family("request line", "RFC 9112 section 3", LINES),
    *family("field", "RFC 9112 section 5; RFC 9110 section 5.5; CVE-2024-52875", FIELDS),
    *family("Host", "RFC 9112 section 3.2", HOSTS),
    *family("line end", "RFC 9112 sections 2.2 and 11.1", ENDS),
    *family("hop by hop", "RFC 9110 sections 7.6.1, 7.8 and 10.1.1", HOPS),
    *family("count", "RFC 9112 section 11.2; RFC 9110 section 5.4", COUNTS),
)

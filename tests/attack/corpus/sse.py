"""Streams of server-sent events that an engine, or somebody on its way, could send."""

from __future__ import annotations

D = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}'

STREAMS: tuple[bytes, ...] = (
    D + b"\n\n" + D + b"\n\ndata: [DONE]\n\n",
    D + b"\r\n\r\n" + D + b"\r\n\r\ndata: [DONE]\r\n\r\n",
    D + b"\r\r" + D + b"\r\rdata: [DONE]\r\r",
    D + b"\n\r\n" + D + b"\r\n\n" + D + b"\r\n\r" + D + b"\n\r",
    b": ping\n\n: \n\n" + D + b"\n\n",
    b":" * 5000 + b"\n\n" + D + b"\n\n",
    b"data\n\ndata:\n\ndata: \n\ndata:  \n\n",
    b"data: a\ndata: b\ndata\ndata: c\n\n",
    b"event: error\ndata: {}\n\nevent: \ndata: {}\n\nevent:x\n\n" + D + b"\n\n",
    b"id: 1\nretry: 5\nid: \x00\n" + D + b"\n\n",
    b"\xef\xbb\xbf" + D + b"\n\n",
    b"DATA: a\n\n data: b\n\ndata : c\n\n",
    b'{"choices":[]}\n{"choices":[]}\n\n',
    b'{"choices":[]}',
    D,
    D + b"\n",
    D + b"\r",
    b"data: \xff\xfe\x00\x1b[31m\n\n",
    b"data: \xe2\x80\xa8\xc2\x85\x0b\x0c\x1c\n\n",
    b"data: [DONE]\n\n" + D + b"\n\n",
    b"data: [DONE]data: [DONE]\n\n",
    b"\n" * 1000 + b"\r" * 1000 + b"\r\n" * 1000,
    b"data: " + b"x" * 70_000 + b"\n\n",
    b"data: x\n" * 500 + b"\n",
    b"event: " + b"y" * 5000 + b"\n" + D + b"\n\n",
    b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n" + D + b"\n\n",
)

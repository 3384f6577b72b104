"""Access logs and flows: a row of the table for each vendor's form.

What is read of a line is where it was answered, when, and how many bytes went out and came in.
Nothing about who asked for what is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from selvedge.plan.history import BadPlan, Finding
from selvedge.plan.ingest.logs_adding import Cells, add_up
from selvedge.plan.ingest.logs_delimited import Style, read_delimited
from selvedge.plan.ingest.logs_fields import Chosen, Vendor, choose
from selvedge.plan.ingest.logs_flows import IPFIX, finish_flows
from selvedge.plan.ingest.logs_json import constant, read_json
from selvedge.plan.ingest.logs_lines import Account
from selvedge.plan.ingest.logs_text import read_combined
from selvedge.plan.ingest.reading import Batch, Form, SourceFile

CLOUDFRONT: Final = Vendor(
    "cloudfront",
    {
        "pop": ("x-edge-location",),
        "at": ("timestamp(ms)", "timestamp"),
        "date": ("date",),
        "time": ("time",),
        "out_bytes": ("sc-bytes",),
        "in_bytes": ("cs-bytes",),
    },
    "log x-edge-location",
)
CLOUDFLARE: Final = Vendor(
    "cloudflare",
    {
        "pop": ("EdgeColoCode",),
        "at": ("EdgeStartTimestamp", "EdgeEndTimestamp"),
        "out_bytes": ("EdgeResponseBytes",),
        "in_bytes": ("ClientRequestBytes",),
    },
    "log EdgeColoCode",
)
AKAMAI: Final = Vendor(
    "akamai",
    {
        "pop": ("edgeIP",),
        "at": ("reqTimeSec",),
        "out_bytes": ("totalBytes", "bytes"),
    },
    "log edgeIP (1066) and give its networks as pop.names, or log the PoP in a custom field "
    "and name that as pop.column",
)
AKAMAI_IDS: Final = {
    "999": "streamId",
    "1000": "cp",
    "1002": "reqId",
    "1005": "bytes",
    "1006": "cliIP",
    "1008": "statusCode",
    "1009": "proto",
    "1011": "reqHost",
    "1012": "reqMethod",
    "1013": "reqPath",
    "1014": "reqPort",
    "1015": "rspContentLen",
    "1016": "rspContentType",
    "1017": "UA",
    "1066": "edgeIP",
    "1100": "reqTimeSec",
    "2010": "cacheStatus",
    "2012": "country",
    "2013": "state",
    "2014": "city",
    "2019": "cacheable",
}
"""Names of DataStream 2's fields by their numbers."""
FASTLY: Final = Vendor(
    "fastly",
    {
        "pop": ("datacenter", "server_datacenter", "fastly_datacenter", "pop"),
        "at": ("time_start", "start_time", "time_start_msec", "timestamp", "time"),
        "out_bytes": ("bytes_written", "resp_bytes_written", "response_bytes", "bytes_sent"),
        "in_bytes": ("bytes_read", "req_bytes_read", "request_bytes", "bytes_received"),
    },
    "log server.datacenter, and name its field in the mapping file as pop.column",
)
ACCESS: Final = Vendor(
    "access",
    {
        "pop": ("hostname", "server", "host_name"),
        "at": ("msec", "time_iso8601", "@timestamp", "timestamp", "time_local", "time"),
        "out_bytes": ("bytes_sent", "body_bytes_sent", "bytes"),
        "in_bytes": ("request_length", "bytes_received"),
    },
    "log $hostname, or give pop.value or pop.column in the mapping file",
)


def read_cloudfront(source: SourceFile) -> Iterator[Batch | Finding]:
    """Standard logs: W3C text, an object a line, or Parquet."""
    head = _head(source)
    if head.startswith(b"PAR1"):
        yield from _read_parquet(source, CLOUDFRONT)
    elif head.startswith(b"{"):
        yield from read_json(source, CLOUDFRONT)
    else:
        yield from read_delimited(source, CLOUDFRONT, Style(names=_fields(source)))


def read_akamai(source: SourceFile) -> Iterator[Batch | Finding]:
    """DataStream 2: an object a line, or structured text whose fields the mapping file lists."""
    head = _head(source)
    if head.startswith(b"{"):
        yield from read_json(source, AKAMAI)
        return
    names = tuple(AKAMAI_IDS.get(name, name) for name in _fields(source))
    if not names:
        raise BadPlan(
            f"{source.name}: structured text does not name its columns; give the stream's fields "
            "in order in the mapping file, as `fields: [1000, 1100, 1066, 1005]`."
        )
    is_tabbed = b"\t" in head.partition(b"\n")[0]
    yield from read_delimited(source, AKAMAI, Style("\t" if is_tabbed else " ", names=names))


def read_access(source: SourceFile) -> Iterator[Batch | Finding]:
    """Of nginx, Varnish or Apache: an object a line, or combined."""
    if _head(source).startswith(b"{"):
        yield from read_json(source, ACCESS)
    else:
        yield from read_combined(source)


def read_ipfix(source: SourceFile) -> Iterator[Batch | Finding]:
    """Flows: an object a line, or CSV with a header."""
    finish = partial(finish_flows, source)
    head = _head(source)
    if head.startswith(b"{"):
        yield from read_json(source, IPFIX, finish)
    else:
        first = head.partition(b"\n")[0]
        delimiter = max(",;\t|", key=lambda one: first.count(one.encode()))
        style = Style(delimiter, is_quoted=True, has_header=True)
        yield from read_delimited(source, IPFIX, style, finish)


def _read_only_json(vendor: Vendor, source: SourceFile) -> Iterator[Batch | Finding]:
    _head(source)
    return read_json(source, vendor)


def _head(source: SourceFile) -> bytes:
    with source.open() as file:
        head = file.read(4096)
    source.done_bytes = 0
    if not head.strip():
        raise BadPlan(f"{source.name} is empty; there is nothing to read.")
    if _ARRAY.match(head):
        words = "an object a line is read: write it so, as `jq -c '.[]'` does"
        raise BadPlan(f"{source.name} is one JSON array; {words}.")
    return head.lstrip()


def _fields(source: SourceFile) -> tuple[str, ...]:
    return tuple(str(one) for one in source.mapping.fields) if source.mapping else ()


def _read_parquet(source: SourceFile, vendor: Vendor) -> Iterator[Batch | Finding]:
    account = Account(source)
    with pq.ParquetFile(source.path, page_checksum_verification=True) as file:
        schema = file.schema_arrow
        chosen = choose(source, vendor, schema.names)
        wanted = sorted(set(chosen.fields.values()))
        for name in wanted:
            if schema.names.count(name) > 1:
                raise BadPlan(f"{source.name}: column {name!r} is there twice; name one anew.")
            kind = schema.field(name).type
            if pa.types.is_nested(kind) or pa.types.is_binary(kind):
                words = f"column {name!r} is of type {kind}, neither text nor numbers"
                raise BadPlan(f"{source.name}: {words}; name another in the mapping file.")
        for group in range(file.num_row_groups):
            place = f"row group {group}"
            try:
                table = file.read_row_group(group, columns=wanted)
                yield from _of_group(table, chosen, account, place)
            except (OSError, pa.ArrowException) as error:
                words = f"its rows cannot be read: {' '.join(str(error).split())[:200]}; left out"
                count = file.metadata.row_group(group).num_rows
                where = source.finding(place)
                yield Finding(kind="unreadable", count=count, source=where, detail=words)
            source.done_bytes = source.path.stat().st_size * (group + 1) // file.num_row_groups
    yield from account.rest()


def _of_group(
    table: pa.Table, chosen: Chosen, account: Account, place: str
) -> Iterator[Batch | Finding]:
    columns = {role: table[name] for role, name in chosen.fields.items()}
    if chosen.pop:
        columns["pop"] = constant(chosen.pop, len(table))
    cells = Cells(columns, range(1, len(table) + 1), place=place)
    for found in add_up(cells, account, len(table)):
        if isinstance(found, Finding):
            where = f"{found.source.replace('line', 'row')} of {place}"
            found = msgspec.structs.replace(found, source=where)
        yield found


_ARRAY: Final = re.compile(rb"\s*\[\s*\{")
LOG_FORMS: Final[tuple[Form, ...]] = (
    Form("cloudfront", "CloudFront standard logs: W3C, JSON or Parquet.", read_cloudfront),
    Form(
        "cloudflare",
        "Cloudflare Logpush of HTTP requests: an object a line.",
        partial(_read_only_json, CLOUDFLARE),
    ),
    Form("akamai", "Akamai DataStream 2: JSON or structured text.", read_akamai),
    Form(
        "fastly",
        "Fastly's log streaming: an object a line, of fields you declared.",
        partial(_read_only_json, FASTLY),
    ),
    Form("nginx", "nginx or Apache: combined, or an object a line.", read_access),
    Form("varnish", "varnishncsa: combined, or an object a line.", read_access),
    Form("ipfix", "IPFIX flows as CSV with a header, or an object a line.", read_ipfix),
)
"""Rows of the table of forms."""

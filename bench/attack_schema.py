"""schemathesis over `/openapi.json` of a real PoP, in an environment of its own.

It asks whatever the document allows and much that it forbids, and checks every answer against the
document. Models are told to it, or it would never get past the first 404.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

from bench.attack_stage import Stage
from bench.figures import OUT, Figures
from bench.line import open_line

PACKAGE = "schemathesis==4.32.5"
ENVIRONMENT = OUT / "environments" / "schemathesis"
EXAMPLES = 80
RUN_S_MAX = 180
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)
# An unknown method is a 501 (RFC 9110 section 9.1); 503 is documented, with when to come back.
CONFIG = """\
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 501, 503]
"""


async def attack_by_schema(at: Stage, directory: Path) -> tuple[Figures, str]:
    """Its figures, and its report. Raises `RuntimeError` where it cannot be installed."""
    program = await _installed()
    document = json.loads(await _document(at))
    _name_models(document)
    schema, config = directory / "openapi.json", directory / "schemathesis.toml"
    schema.write_text(json.dumps(document))
    config.write_text(CONFIG)
    report = await _output(
        *(str(program), "--config-file", str(config), "run", str(schema)),
        *("--url", f"http://127.0.0.1:{at.port}", "-H", f"Authorization: Bearer {at.key}"),
        *("--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES), "--seed", "1"),
        *("--phases", "examples,coverage,fuzzing", "--no-color"),
        cwd=directory,
    )
    cases = re.search(r"([\d,]+) generated", report)
    found = re.search(r"found ([\d,]+) unique failure", report)
    tested = re.search(r"Tested: (\d+)", report)
    figures: Figures = {
        "operations": int(tested.group(1)) if tested else 0,
        "cases": int(cases.group(1).replace(",", "")) if cases else 0,
        "failures": int(found.group(1)) if found else 0,
        "faults": at.faults(),
    }
    return figures, report


def _name_models(document: dict[str, Any]) -> None:  # Any: JSON
    for schema in document["components"]["schemas"].values():
        model = schema.get("properties", {}).get("model")
        if model is not None:
            model["enum"] = ["scripted", "scripted-llama", "nobody"]


async def _document(at: Stage) -> bytes:
    line = await open_line(at.port)
    heard = await line.ask(b"GET /openapi.json HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    line.close()
    return heard.raw.partition(b"\r\n\r\n")[2]


async def _installed() -> Path:
    program = ENVIRONMENT / "bin" / "schemathesis"
    if not program.exists():
        await _output(sys.executable, "-m", "venv", str(ENVIRONMENT))
        python = str(ENVIRONMENT / "bin" / "python")
        await _output(python, "-m", "pip", "install", "-q", PACKAGE)
    if not program.exists():
        raise RuntimeError(f"{PACKAGE} could not be installed into {ENVIRONMENT}")
    return program


async def _output(*argv: str, cwd: Path | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(RUN_S_MAX):
            text, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return text.decode(errors="replace")

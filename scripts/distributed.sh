#!/usr/bin/env bash
# Makes build/distributed/: Selvedge's `plan` extra, ClickHouse (chdb) and Spark (pyspark) in an
# environment of their own, to run the utilisation report on another engine. About 1.8 GB; the
# product needs none of it. Spark needs Java besides: apt-get install default-jre-headless.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly INTO=build/distributed LOG=build/distributed.log
mkdir -p build
if [ -e "$INTO/.installed" ] && [ "$INTO/.installed" -nt pyproject.toml ] &&
    [ "$INTO/.installed" -nt scripts/distributed.sh ]; then
    exit 0
fi
printf 'installing an environment for chdb and pyspark into %s (a minute or two)\n' "$INTO"
if ! { "${PYTHON:-python3}" -m venv "$INTO" &&
    "$INTO/bin/pip" install -c constraints.txt -e '.[plan]' \
        chdb==4.4.0 chdb-core==26.9.0 pyspark==4.3.0; } >"$LOG" 2>&1; then
    printf 'selvedge: %s could not be made; see %s\n' "$INTO" "$LOG" >&2
    exit 1
fi
command -v java >/dev/null ||
    printf 'no Java here, so Spark is left out: apt-get install default-jre-headless\n' >&2
touch "$INTO/.installed"

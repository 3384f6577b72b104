#!/usr/bin/env bash
# Compiles the hot path with mypyc: `make compile` runs this. The package is copied to
# build/compiled/ and the modules named in scripts/compiled.txt become extension modules there;
# the sources stay beside them and say the same. Use it as
#   PYTHONPATH=build/compiled .venv/bin/selvedge pop --settings FILE
# Needs a C compiler. Nothing is done where the result is newer than every source.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly INTO=build/compiled STAMP=build/compiled/.compiled LOG=build/compile.log
readonly LIST=scripts/compiled.txt MYPYC=$PWD/.venv/bin/mypyc

newer() {
    find src "$LIST" scripts/compile.sh -newer "$STAMP" -type f ! -name "*.pyc" -print -quit
}

if [ -e "$STAMP" ] && [ -z "$(newer)" ]; then exit 0; fi
if ! command -v "${CC:-cc}" >/dev/null; then
    printf 'selvedge: no C compiler was found: install gcc, or name one in CC.\n' >&2
    exit 1
fi
rm -rf "$INTO"
mkdir -p "$INTO"
cp -r src/selvedge "$INTO/selvedge"
find "$INTO" -name __pycache__ -prune -exec rm -rf {} +
printf 'selvedge: compiling %s modules (about a minute)\n' "$(wc -l <"$LIST")" >&2
if ! (cd "$INTO" && sed 's#^#selvedge/#' "../../$LIST" | xargs "$MYPYC") >"$LOG" 2>&1; then
    grep -E 'error' "$LOG" | head -n 15 >&2 || tail -n 15 "$LOG" >&2
    printf 'selvedge: compiling failed; the whole story is in %s.\n' "$LOG" >&2
    exit 1
fi
rm -rf "$INTO/build" "$INTO/.mypy_cache"
touch "$STAMP"

#!/usr/bin/env bash
# Compiles the hot path with mypyc into build/compiled/: `make compile` runs this, and `make up`,
# `make test`, `make wheel` and the benches through it. The package is copied there and the modules
# named in scripts/compiled.txt become extension modules; their sources stay beside them and say the
# same. Whoever has build/compiled in PYTHONPATH runs it. With --sim the simulator's modules,
# scripts/compiled_sim.txt, are compiled too: serving needs none of them, and they double the time.
# Nothing is done where the result is newer than every source. Without a C compiler this says so and
# leaves nothing behind, and what would have been compiled is interpreted. With --must that is a
# failure; with --try even a compilation that fails is none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly INTO=build/compiled NEW=build/compiling LIST=scripts/compiled.txt LOG=build/compile.log
readonly SIM_LIST=scripts/compiled_sim.txt
readonly STAMP=$INTO/.compiled SIM_STAMP=$INTO/.compiled_sim MYPYC=$PWD/.venv/bin/mypyc

must='' try='' sim=''
for word in "$@"; do
    case $word in
    --must) must=yes ;;
    --try) try=yes ;;
    --sim) sim=yes ;;
    *)
        printf 'selvedge: %s is not one of --must, --try, --sim\n' "$word" >&2
        exit 2
        ;;
    esac
done

newer() {
    find src "$LIST" "$SIM_LIST" scripts/compile.sh .venv/.installed -newer "$STAMP" -type f \
        ! -name "*.pyc" -print -quit
}

mkdir -p build
exec 9>build/.compiling
flock 9
if [ -e "$STAMP" ] && { [ -z "$sim" ] || [ -e "$SIM_STAMP" ]; } && [ -z "$(newer)" ]; then
    exit 0
fi
rm -rf "$INTO" "$NEW"
headers=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("include"))')
if ! "${CC:-cc}" -E -x c -I"$headers" - -o /dev/null <<<'#include <Python.h>' >/dev/null 2>&1; then
    printf 'selvedge: %s\n' "no C compiler with Python's headers was found: the hot path is" \
        "interpreted, at about 60 % of its rate. To compile it, install gcc and python3-dev." >&2
    [ -z "$must" ] || exit 1
    exit 0
fi
mkdir -p "$NEW"
touch "$NEW/.compiled" # what is changed from now on is newer
modules=$(cat "$LIST" ${sim:+"$SIM_LIST"})
[ -z "$sim" ] || touch "$NEW/.compiled_sim"
cp -r src/selvedge "$NEW/selvedge"
find "$NEW" -name __pycache__ -prune -exec rm -rf {} +
printf 'selvedge: compiling the hot path, %s modules (a minute or more, once)\n' \
    "$(wc -l <<<"$modules")" >&2
if ! (cd "$NEW" && sed 's#^#selvedge/#' <<<"$modules" | xargs "$MYPYC") >"$LOG" 2>&1; then
    rm -rf "$NEW"
    grep -E 'error' "$LOG" | head -n 15 >&2 || tail -n 15 "$LOG" >&2
    printf 'selvedge: compiling failed; the whole story is in %s.\n' "$LOG" >&2
    [ -n "$try" ] || exit 1
    printf 'selvedge: going on with the hot path interpreted.\n' >&2
    exit 0
fi
rm -rf "$NEW/build" "$NEW/.mypy_cache"
mv "$NEW" "$INTO"

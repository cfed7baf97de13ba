# Shared by scripts/smoke and scripts/static-binary: a program in the background that must become ready and end well.
# shellcheck shell=bash

work=$(mktemp -d)
program_pid=

fail() {
  echo "$0: $*" >&2
  [ ! -s "$work/log" ] || { echo "--- last lines of the program:" >&2; tail -n 40 "$work/log" >&2; }
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# start COMMAND…: in the background, output in $work/out and $work/log.
start() {
  set -m # without job control a background program would start with SIGINT ignored
  "$@" >"$work/out" 2>"$work/log" &
  program_pid=$!
  set +m
}

# wait_for_file FILE SECONDS_MAX: until the program has written it.
wait_for_file() {
  local tenths=0
  until [ -s "$1" ]; do
    [ -e "/proc/$program_pid" ] || fail "the program ended before it was ready"
    [ $((tenths += 1)) -le $(($2 * 10)) ] || fail "not ready after $2 s"
    sleep 0.1
  done
}

# interrupt PID: Ctrl-C; the program must end by itself, with exit code 0.
interrupt() {
  local tenths=0 code=0
  kill -INT "$1" 2>/dev/null || as_root kill -INT "$1"
  while [ -e "/proc/$1" ]; do
    [ $((tenths += 1)) -le 300 ] || fail "still running 30 s after SIGINT"
    sleep 0.1
  done
  wait "$program_pid" || code=$?
  program_pid=
  [ $code -eq 0 ] || fail "exit code $code after SIGINT, expected 0"
}

clean_up() {
  [ -z "$program_pid" ] || kill -KILL "$program_pid" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT

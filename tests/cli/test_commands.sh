#!/usr/bin/env bash
# The command line as a whole: help, mistakes, exit codes, streams.
set -euo pipefail
cyclotomo=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; exit 1; }
# expect CODE ARGS...: runs with stdout in out, stderr in err
expect() {
	local want=$1 got=0
	shift
	"$cyclotomo" "$@" >out 2>err || got=$?
	[ "$got" = "$want" ] || { cat out err >&2; fail "'cyclotomo $*' ended with $got, wanted $want"; }
}

expect 0 --help
grep -q '^  cycle ' out || fail "help does not list the commands"
[ ! -s err ] || fail "help talks on stderr"
expect 2
grep -q usage err || fail "no usage without a command"
grep -q '^cyclotomo: error: no command given$' err || fail "no error without a command"
[ ! -s out ] || fail "usage of a mistaken call is on stdout"
expect 2 versoin
grep -q "error: unknown command 'versoin'" err || fail "unknown command"
grep -q "hint: did you mean 'version'" err || fail "no did-you-mean"
expect 0 --version
grep -Eq '^cyclotomo [0-9]+\.[0-9]+\.[0-9]+$' out || fail "version"
expect 0 version --verbose
grep -q '^compiler: ' out || fail "version -v"
expect 0 help version
expect 2 version --rot x
grep -q "^cyclotomo version: error: unknown option '--rot'$" err || fail "form of the error"
grep -q '^  hint: did you mean --root' err || fail "form of the hint"
if "$cyclotomo" version >/dev/full 2>err; then fail "full disk behind stdout is not noticed"; fi
grep -q 'cannot write to standard output' err || fail "message of a full disk"

# Every command documents itself, and refuses what it does not know.
for command in $("$cyclotomo" --help | sed -n 's/^  \([a-z][a-z0-9-]*\) .*/\1/p'); do
	expect 0 "$command" --help
	grep -q -- '--threads <n>  (also --j)' out || fail "$command has no --threads"
	grep -q "^usage: cyclotomo $command" out || fail "usage of $command"
	expect 2 "$command" --no-such-option
	expect 0 "$command" --help-man
	grep -q "^\.TH CYCLOTOMO-$command 1" out || fail "man page of $command"
	[ -z "$(ls -A | grep -vx -e out -e err)" ] || fail "$command left files behind"
done

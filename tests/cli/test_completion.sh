#!/usr/bin/env bash
# Completion by bash and zsh: every command, every option in each of its spellings, words of choices.
set -euo pipefail
cyclotomo=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; exit 1; }

commands=$("$cyclotomo" --help | sed -n 's/^  \([a-z][a-z0-9-]*\) .*/\1/p')
[ "$(wc -w <<<"$commands")" -ge 19 ] || fail "commands are not found"
# All spellings in a command's help: "  --box <px>  (also --b, --box_size)".
spellings() { "$cyclotomo" "$1" --help | sed -n '/^  -/p' | grep -oE '(^  |[( ])--?[A-Za-z][A-Za-z0-9_.-]*' | tr -d '( ' | sort -u; }

"$cyclotomo" completion --shell bash >cyclotomo.bash
bash -n cyclotomo.bash
source cyclotomo.bash
# completes LAST WORD...: the candidates for the last of the words, one a line, sorted
completes() {
	COMP_WORDS=(cyclotomo "$@") COMP_CWORD=$#
	_cyclotomo
	printf '%s\n' "${COMPREPLY[@]}" | sort -u
}
complete -p cyclotomo | grep -q _cyclotomo || fail "bash does not know the function"
completes '' >offered
for command in $commands; do
	grep -qx -- "$command" offered || fail "bash does not complete the command $command"
	spellings "$command" >wanted
	[ "$(wc -l <wanted)" -ge 5 ] || fail "options of $command are not found"
	completes "$command" - >options
	comm -23 wanted options >missing
	[ ! -s missing ] || fail "bash does not complete of $command: $(tr '\n' ' ' <missing)"
	# Each is completed from its own beginning, so no branch hides another.
	while read -r option; do
		COMP_WORDS=(cyclotomo "$command" "$option") COMP_CWORD=2
		_cyclotomo
		[[ " ${COMPREPLY[*]} " == *" $option "* ]] || fail "$command $option"
	done <wanted
	# Nothing is offered that the command would not take.
	comm -13 wanted options | grep -vx -- --help >more || true
	while read -r option; do
		"$cyclotomo" "$command" "$option" 2>&1 </dev/null | grep -q 'unknown option' && fail "$command does not know $option"
	done < <(head -n 3 more)
done
[ "$(completes ctf)" = ctfrefine ] && [ "$(completes help ctf)" = ctfrefine ] || fail "beginning of a command"
[ "$(completes polish --deformation-model s)" = spline ] || fail "words of a choice: $(completes polish --deformation-model s)"
[ "$(completes mask --thre)" = "--threads
--threshold" ] || fail "beginning of an option"
mkdir folder
touch file.mrc
[ "$(completes polish --o f)" = folder ] || fail "folders"
[ "$(completes mask --i f)" = "file.mrc
folder" ] || fail "files"
[ -z "$(completes mask --pixel-size f)" ] || fail "something is offered for a number"

# zsh, with its own functions replaced by ones that say what they are given.
"$cyclotomo" completion --shell zsh >_cyclotomo
head -n 1 _cyclotomo | grep -qx '#compdef cyclotomo' || fail "head of the file for zsh"
if ! command -v zsh >/dev/null; then
	echo "skipped: no zsh"
	exit 0
fi
cat >ask <<'Z'
_describe() { print -l -- "${(@)commands%%:*}"; }
_arguments() { for spec in "${@:3}"; do print -r -- "${${spec#\(*\)}%%\[*}"; done; }
words=(cyclotomo "$@") CURRENT=$(( $# + 1 ))
source ./_cyclotomo
Z
zsh -f ask '' | sort >offered
for command in $commands; do
	grep -qx -- "$command" offered || fail "zsh does not complete the command $command"
	spellings "$command" >wanted
	zsh -f ask "$command" - | sort >options
	comm -23 wanted options >missing
	[ ! -s missing ] || fail "zsh does not complete of $command: $(tr '\n' ' ' <missing)"
done
# The real functions take the specifications.
cat >real <<'Z'
autoload -Uz compinit
fpath=("$PWD" $fpath)
compinit -u -d dump
[[ $_comps[cyclotomo] == _cyclotomo ]] || exit 1
Z
zsh -f real || fail "zsh does not find the function"

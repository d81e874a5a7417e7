#!/usr/bin/env bash
# Jobs in parts: ctfrefine, polish and extract leave the same files whether they were dealt or not, whatever the number of parts;
# parts at the same time, killed, repeated; more parts than series; parts of other options.
set -euo pipefail
cyclotomo=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; [ ! -e log ] || tail -n 20 log >&2; exit 1; }
source "$here/kill_at_line.sh"

"$cyclotomo" simulate -q --preset tiny --sym O --series 3 --tilts 9 --particles 6 --signal 6 --o p >/dev/null
"$cyclotomo" reconstruct -q --root p --i optimisation_set.star --b 32 --sym O --o R/ >/dev/null
"$cyclotomo" postprocess -q --root p --i R/half1.mrc --i2 R/half2.mrc --mask mask_fsc.mrc --o PP/postprocess >/dev/null
with=(--root p --i optimisation_set.star --b 32)
references=(--ref1 R/half1.mrc --ref2 R/half2.mrc --fsc PP/postprocess.star --mask mask_align.mrc)
# Everything that a job leaves but what has times in it, or the command line.
results() {
	(cd "p/$1" && find . -type f ! -name 'run*.json' ! -name note.txt ! -name job.star ! -name .cyclotomo_files ! -name '*.record' \
		! -name 'RELION_JOB_*' ! -name '*.pdf' | LC_ALL=C sort | xargs sed "s|$1|JOB|g" | sha256sum
	find . -type f ! -name 'run_part*' ! -name '.cyclotomo_files' | LC_ALL=C sort)
}
declare -A arguments=([ctfrefine]="${references[*]}" [aberrations]="${references[*]} --even-aberrations --odd-aberrations --magnification --scale-model ice --per-tilt-bfactor"
	[polish]="${references[*]} --motion" [extract]="--stacks --crop 24" [volumes]="--crop 24")
run() { # KIND FOLDER OPTIONS...
	local kind=$1 folder=$2 command=$1
	shift 2
	case $kind in aberrations) command=ctfrefine ;; volumes) command=extract ;; esac
	"$cyclotomo" "$command" "${with[@]}" ${arguments[$kind]} --o "$folder/" "$@"
}

numbers="1 2 5"
[ -z "${CYCLOTOMO_FEW_WAYS:-}" ] || numbers=5 # set under sanitizers
for kind in ctfrefine aberrations polish extract volumes; do
	run $kind whole_$kind --j 2 >/dev/null 2>log || fail "$kind"
	results whole_$kind >wanted
	for n in $numbers; do
		folder=${kind}_$n
		for ((k = n; k >= 1; k--)); do
			run $kind "$folder" --part $k/$n --j 1 >out 2>log || fail "$kind, part $k/$n"
			grep -q "part $k/$n: " out || fail "$kind: part $k/$n does not report: $(cat out)"
			[ "$k" -le 3 ] || grep -q "part $k/$n has no tilt series" log || fail "$kind: an empty part does not report that"
			[ -s "p/$folder/run_part${k}of$n.json" ] || fail "$kind: part $k/$n has no run.json of its own"
		done
		for name in job.star note.txt run.json optimisation_set.star .cyclotomo_files RELION_JOB_EXIT_SUCCESS; do
			[ ! -e "p/$folder/$name" ] || fail "$kind: a part wrote $name"
		done
		run $kind "$folder" --j 2 >out 2>log || fail "$kind: gathering $n parts"
		grep -q "$n of $n parts have finished" log || fail "$kind: the parts are not counted"
		! grep -q 'made with other input' log || fail "$kind: the parts' records are not used"
		results "$folder" >found
		diff wanted found || fail "$kind in $n parts is not what it is without"
		[ ! -e "p/$folder/temp" ] || fail "$kind: temp/ is left"
		[ -e "p/$folder/RELION_JOB_EXIT_SUCCESS" ] || fail "$kind: no exit flag"
	done
done

# The gathering command computes nothing that parts have: a record that is lost is the only series it refines.
results whole_polish >wanted
for k in 1 2 3; do run polish lost --part $k/3 >/dev/null 2>log || fail "part $k/3"; done
[ "$(find p/lost/temp -name '*.polish' | wc -l)" = 3 ] || fail "parts left other than 3 records"
# A part that is repeated does nothing new, and reports that.
stat -c '%n %Y %s' p/lost/temp/* >before
run polish lost --part 2/3 >out 2>log || fail "repeating part 2/3"
grep -q 'part 2/3 had finished earlier; nothing was computed' log || fail "a repeated part does not report that it had finished"
stat -c '%n %Y %s' p/lost/temp/* | diff before - || fail "a repeated part writes again"
rm p/lost/temp/part2of3.record "$(find p/lost/temp -name '*.polish' | head -1)"
run polish lost --j 2 >out 2>log || fail "gathering with a record lost"
grep -q '2 of 3 parts have finished; what the others have left out is computed now' log || fail "a missing part is not reported"
results lost >found
diff wanted found || fail "a lost record changes results"

# Preparing first changes nothing, and all parts at once are safe.
for kind in aberrations polish volumes; do
	results whole_$kind >wanted
	run $kind "at_once_$kind" --part 0/3 >out 2>log || fail "$kind: preparing"
	for k in 1 2 3; do run $kind "at_once_$kind" --part $k/3 --j 1 >/dev/null 2>"log_$k" & pids[k]=$!; done
	for k in 1 2 3; do wait "${pids[k]}" || fail "$kind: part $k/3 beside the others: $(tail -5 "log_$k")"; done
	run $kind "at_once_$kind" >/dev/null 2>log || fail "$kind: gathering"
	results "at_once_$kind" >found
	diff wanted found || fail "$kind: parts at the same time change results"
done
# ... without preparation, too: each learns the same.
results whole_aberrations >wanted
for k in 1 2 3; do run aberrations together --part $k/3 --j 1 >/dev/null 2>"log_$k" & pids[k]=$!; done
for k in 1 2 3; do wait "${pids[k]}" || fail "unprepared part $k/3: $(tail -5 "log_$k")"; done
run aberrations together >/dev/null 2>log || fail "gathering unprepared parts"
results together >found
diff wanted found || fail "unprepared parts change results"

# A part that is killed, or told to stop, and repeated: the same.
results whole_polish >wanted
for signal in KILL TERM; do
	rm -rf p/killed
	kill_at_line $signal 1 -e 'reference to' "$cyclotomo" polish "${with[@]}" ${arguments[polish]} --o killed/ --part 1/2 --j 1
	[ "$killed_code" != 0 ] || fail "part 1/2 was not ended by SIG$signal"
	run polish killed --part 2/2 >/dev/null 2>log || fail "part 2/2 beside a killed one"
	run polish killed --part 1/2 >/dev/null 2>log || fail "repeating a part after SIG$signal"
	run polish killed >/dev/null 2>log || fail "gathering after SIG$signal"
	results killed >found
	diff wanted found || fail "SIG$signal changes results"
done

# Parts of other options, or a gathering command of others: refused before anything is computed.
run polish mixed --part 1/2 >/dev/null 2>log || fail "part 1/2"
! run polish mixed --part 2/2 --range 5 >/dev/null 2>log || fail "a part of other options is taken"
grep -q "part 1/2 in .*mixed/temp/' was begun with other input or options" log || fail "parts of other options: $(cat log)"
! run polish mixed --range 5 >/dev/null 2>log || fail "parts of other options are gathered"
grep -q 'was begun with other input or options' log || fail "gathering with other options: $(cat log)"
run polish mixed --range 5 --resume >/dev/null 2>log || fail "--resume does not give up the parts"
grep -q 'parts .* were made with other input or options, and are not used' log || fail "parts that are given up are not reported"
! run ctfrefine mixed --part 1/2 >/dev/null 2>log || fail "a part of another job is taken"

# Results of an earlier run of other options do not stay beside those of the parts.
run volumes E >/dev/null 2>log || fail "volumes"
run extract E --part 1/1 >/dev/null 2>log || fail "stacks over volumes"
run extract E >/dev/null 2>log || fail "gathering stacks over volumes"
find p/E -name '*_stack2d.mrcs' | grep -q . || fail "no stacks"
run volumes E >/dev/null 2>log || fail "volumes over stacks of parts"
! find p/E -name '*_stack2d.mrcs' | grep . || fail "files of parts are not on the list of the folder"

# More series than all is learned from, and an optics group that none of those has: it is learned from the first series that has it,
# whoever that belongs to.
rm -rf p
"$cyclotomo" simulate -q --preset tiny --sym O --series 11 --tilts 7 --particles 6 --signal 6 --o p >/dev/null
awk '/^data_/ { section = $1 }
	section == "data_optics" && $2 == "opticsGroup1" { print; $1 = 2; $2 = "opticsGroup2" }
	section == "data_particles" && $1 ~ /^TS_(02|05|09)$/ { if (++n[$1] > 4) next; if (n[$1] % 2 == 0) $NF = 2 }
	{ print }' p/particles.star >particles.star && mv particles.star p/
with=(--root p --i optimisation_set.star --b 32)
"$cyclotomo" reconstruct -q "${with[@]}" --sym O --o R/ >/dev/null 2>log || fail "reconstruct"
"$cyclotomo" postprocess -q --root p --i R/half1.mrc --i2 R/half2.mrc --mask mask_fsc.mrc --o PP/postprocess >/dev/null 2>log || fail "postprocess"
arguments[aberrations]+=" --kmin 40"
run aberrations whole_groups --j 2 >/dev/null 2>log || fail "two optics groups"
for k in 4 2 1 3; do run aberrations parts_groups --part $k/4 --j 1 >/dev/null 2>log || fail "two optics groups, part $k/4"; done
run aberrations parts_groups >/dev/null 2>log || fail "two optics groups: gathering"
results whole_groups >wanted
results parts_groups >found
diff wanted found || fail "parts change what a rare optics group learns"
grep -q '^ *2 *even' p/whole_groups/aberrations.star || fail "nothing is known of the rare group"

# What was logged about the tilt series is in the log of the run that takes their results, each once: of parts, and of a run that was
# interrupted.
for image in $(find p/frames p/tilt_series -name '*.mrc' | sort | awk 'NR % 11 == 3'); do
	size=$(stat -c %s "$image")
	truncate -s 1024 "$image" && truncate -s "$size" "$image"
done
texts() { sed 's/^\[[^]]*\] //' log | grep -E 'tilt series TS|estimated errors' | grep -v -e '^error' | LC_ALL=C sort; }
said() { texts >"$1"; [ -z "$(grep warning "$1" | uniq -d)" ] || fail "$1: warnings twice: $(uniq -d <"$1")"; }
for kind in aberrations polish extract; do
	run $kind noisy_$kind --j 2 >/dev/null 2>log || fail "$kind of constant images"
	said wanted
	[ "$(grep -c 'row.*constant' wanted)" -gt 3 ] || fail "$kind: constant images are not warned about"
	for k in 3 1 2; do run $kind "noisy_parts_$kind" --part $k/3 --j 1 >/dev/null 2>log || fail "$kind of constant images, part $k/3"; done
	run $kind "noisy_parts_$kind" >/dev/null 2>log || fail "$kind of constant images: gathering"
	said found
	diff wanted found || fail "$kind: another log with parts"
	CYCLOTOMO_PROCESSES=3 run $kind "noisy_ranks_$kind" --j 1 >/dev/null 2>log || fail "$kind of constant images on 3 ranks"
	said found
	diff <(grep warning wanted) <(grep warning found) || fail "$kind: other warnings with ranks"
done
kill_at_line KILL 1 -e 'TS_05: held-out' "$cyclotomo" polish "${with[@]}" ${arguments[polish]} --o noisy_killed/ --j 1
run polish noisy_polish >/dev/null 2>log || fail "polish of constant images again"
said wanted
run polish noisy_killed --resume >/dev/null 2>log || fail "resuming a polish of constant images"
said found
diff wanted found || fail "another log after a resume"

for text in 3/2 -1/2 a/b 1 1/0 1/ /2 1/2/3 0x1/2 1/99999; do
	rc=0
	run polish bad --part "$text" >/dev/null 2>log || rc=$?
	[ "$rc" = 2 ] || fail "--part $text ends with $rc"
	grep -q -- '--part' log || fail "--part $text: $(cat log)"
done
[ ! -e p/bad ] || fail "a faulty --part leaves a folder"
echo "parts: all as without"

#!/usr/bin/env bash
# A cycle that stops for parts, and the job files for a cluster: the same files as in one process; what --part refuses; a damaged note.
set -euo pipefail
cyclotomo=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; [ ! -e log ] || tail -n 20 log >&2; exit 1; }
refused() { # CODE TEXT COMMAND...
	local code=$1 text=$2 found=0
	shift 2
	"$@" >out 2>log || found=$?
	[ "$found" = "$code" ] || fail "ends with $found instead of $code: $*"
	grep -q -- "$text" log || fail "'$text' is not in: $(cat log)"
}

"$cyclotomo" simulate -q --preset tiny --sym O --series 3 --tilts 11 --particles 6 --signal 6 --o project >/dev/null
options=(--i optimisation_set.star --b 32 --sym O --mask-align mask_align.mrc --mask-fsc mask_fsc.mrc --o Cycle/ --no-figures --odd-aberrations)
results() { (cd "$1/Cycle" && find . -name '*.star' -o -name '*.mrc' -o -name '*.txt' ! -name note.txt | LC_ALL=C sort | xargs sha256sum); }
cp -r project whole
cp -r project parts
"$cyclotomo" cycle --root whole "${options[@]}" >/dev/null 2>log || fail "the cycle in one process"
results whole >wanted

part() { "$cyclotomo" cycle --root parts --o Cycle/ --part "$1" --j 1; }
go_on() { "$cyclotomo" cycle --root parts "${options[@]}" --parts 2; }
refused 1 'there is no run' part 1/2
go_on >out 2>log || fail "up to the polishing"
grep -q 'Cycle/Polish/job003/ waits for its 2 parts: cyclotomo cycle --root parts --o Cycle/ --part k/2' out || fail "the run does not report that it waits: $(cat out)"
"$cyclotomo" status --root parts Cycle >out 2>log || fail "status"
grep -q 'waits for its 2 parts' out || fail "the status does not report that it waits: $(cat out)"
refused 2 'waits for 2 parts, but --part is 1/3' part 1/3
refused 2 'options from the run' "$cyclotomo" cycle --root parts --o Cycle/ --part 1/2 --b 64
refused 2 'run folder is missing' "$cyclotomo" cycle --root parts --part 1/2
part 2/2 >out 2>log || fail "part 2/2"
grep -q 'part 2/2: 1 tilt series' out || fail "part 2/2: $(cat out)"
# One of two is not enough; a run that is repeated too early waits again, and harms nothing.
go_on >out 2>log || fail "repeated too early"
grep -q 'Polish/job003/ waits' out || fail "one part of two was enough"
cp parts/Cycle/.cyclotomo_parts note
sed -i 's/Polish/polish/' parts/Cycle/.cyclotomo_parts
refused 3 'is damaged' part 1/2
cp note parts/Cycle/.cyclotomo_parts
part 1/2 >out 2>log || fail "part 1/2"
go_on >out 2>log || fail "up to the CTF refinement"
grep -q 'CtfRefine/job006/ waits' out || fail "the run did not continue: $(cat out)"
# The particles that the parts start from are not written again.
stamp=$(stat -c %Y.%y parts/Cycle/CtfRefine/job006/judged/particles.star)
part 1/2 >out 2>log && part 2/2 >out 2>log || fail "parts of the CTF refinement"
go_on >out 2>log || fail "to the end"
[ "$stamp" = "$(stat -c %Y.%y parts/Cycle/CtfRefine/job006/judged/particles.star)" ] || fail "particles were judged again"
grep -q 'next job' out || fail "the run has not ended: $(cat out)"
[ ! -e parts/Cycle/.cyclotomo_parts ] || fail "the note is left"
[ -z "$(find parts/Cycle -name temp)" ] || fail "temp/ is left"
part 1/2 >out 2>log || fail "a part when nothing waits"
grep -q 'no step of Cycle/ waits for parts' out || fail "a part when nothing waits: $(cat out)"
results parts >found
diff wanted found || fail "parts change the cycle's results"

# Job files; what the plan, the site and the user say stands in them.
slurm() { "$cyclotomo" slurm --root project "${options[@]}" "$@"; }
slurm --parts 2 --cpus 3 --partition big --account lab --time 1:00:00 >out 2>log || fail "job files"
for name in 01_start 02_polish_1 03_after_polish_1 04_ctfrefine_2 05_after_ctfrefine_2; do
	bash -n "project/Cycle/slurm/$name.sh" || fail "$name.sh is not a script"
	for text in '--partition=big$' '--account=lab$' '--time=1:00:00$' '--cpus-per-task=3$' '--mem=[0-9]*M$' '--requeue' ' --threads 3 &'; do
		grep -q -- "$text" "project/Cycle/slurm/$name.sh" || fail "$name.sh lacks $text"
	done
done
bash -n project/Cycle/slurm/submit.sh || fail "submit.sh is not a script"
[ "$(grep -c '^submit .*--array=1-2$' project/Cycle/slurm/submit.sh)" = 2 ] || fail "submit.sh has not two arrays"
grep -q -- '--parts 2 --threads' project/Cycle/slurm/03_*.sh || fail "the jobs between the arrays do not wait for parts"
! grep -q -- '--parts 2' project/Cycle/slurm/05_*.sh || fail "the last job would wait for parts"
slurm --cycles 2 --skip-polish >out 2>log || fail "two cycles"
grep -q -- '--array=1-3$' project/Cycle/slurm/submit.sh || fail "by default there are other than as many parts as series"
grep -q -- '--cycles 2 .*--skip-polish\|--skip-polish.* --cycles 2' project/Cycle/slurm/01_start.sh || fail "options are not passed on: $(grep threads project/Cycle/slurm/01_start.sh)"
! grep -q 'SBATCH --partition' project/Cycle/slurm/01_start.sh || fail "a line without a value is left"
printf '#!/bin/sh\n#SBATCH --mem={memory_MB}M\n#SBATCH --qos=ours\n{launcher} {command} # ${HOME}\n' >own
slurm --template own --nodes 2 --launcher 'srun --mpi=pmix' >out 2>log || fail "an own template"
grep -q '^srun --mpi=pmix .* cycle .*# ${HOME}$' project/Cycle/slurm/01_start.sh || fail "an own template is not used: $(cat project/Cycle/slurm/01_start.sh)"
grep -q '^ .* cycle .* --part "$SLURM_ARRAY_TASK_ID/3"' project/Cycle/slurm/02_*.sh || fail "parts have a launcher"
echo 'nothing' >empty
refused 3 'does not have the word {command}' slurm --template empty
refused 2 'needs a --launcher' slurm --nodes 2
"$cyclotomo" slurm --print-template | bash -n || fail "the template is not a script"
refused 1 'there are no job files' "$cyclotomo" slurm --root project --o Other/ --status
echo "the cycle in parts: the same files"

#!/usr/bin/python3
"""compare_postprocess.py OURS.star RELION.star: bars on the curves and figures of two post-process files."""
import sys


def read(path):
    blocks, columns, block, loop = {}, [], None, False
    for line in open(path):
        w = line.split('#')[0].split()
        if not w:
            continue
        if w[0].startswith('data_'):
            block, columns, loop = blocks.setdefault(w[0][5:], {}), [], False
        elif w[0] == 'loop_':
            loop = True
        elif w[0].startswith('_') and loop:
            columns.append(w[0][1:])
            block[columns[-1]] = []
        elif w[0].startswith('_'):
            block[w[0][1:]] = w[1]
        else:
            for c, v in zip(columns, w):
                block[c].append(float(v))
    return blocks


def worst(a, b):
    assert len(a) == len(b), 'numbers of rows differ'
    return max(abs(x - y) for x, y in zip(a, b))


ours, theirs = read(sys.argv[1]), read(sys.argv[2])
failed = False


def check(what, value, bound):
    global failed
    ok = value <= bound
    failed = failed or not ok
    print('%-34s %.3g (bar %g)%s' % (what, value, bound, '' if ok else '  FAILED'))


same_random = len(sys.argv) > 3
f, g = ours['fsc'], theirs['fsc']
assert list(f) == list(g), 'columns of fsc differ: %s' % list(f)
assert list(ours['guinier']) == list(theirs['guinier']), 'columns of guinier differ'
# Beside RELION's labels there may be this program's own.
assert [x for x in ours['general'] if not x.startswith('cyc')] == list(theirs['general']), 'labels of general differ'
check('resolution column', worst(f['rlnAngstromResolution'], g['rlnAngstromResolution']), 1e-3)
check('unmasked FSC', worst(f['rlnFourierShellCorrelationUnmaskedMaps'], g['rlnFourierShellCorrelationUnmaskedMaps']), 1e-4)
check('masked FSC', worst(f['rlnFourierShellCorrelationMaskedMaps'], g['rlnFourierShellCorrelationMaskedMaps']), 1e-4)
check('randomise from (A)', abs(float(ours['general']['rlnRandomiseFrom']) - float(theirs['general']['rlnRandomiseFrom'])), 1e-4)
check('box fraction of the mask', abs(float(ours['general']['rlnParticleBoxFractionSolventMask']) - float(theirs['general']['rlnParticleBoxFractionSolventMask'])), 1e-5)
column = 'rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps'
if same_random:
    check('corrected FSC', worst(f['rlnFourierShellCorrelationCorrected'], g['rlnFourierShellCorrelationCorrected']), 1e-4)
    check('final resolution (A)', abs(float(ours['general']['rlnFinalResolution']) - float(theirs['general']['rlnFinalResolution'])), 1e-4)
    b = float(theirs['general']['rlnBfactorUsedForSharpening'])
    check('B-factor, relative', abs(float(ours['general']['rlnBfactorUsedForSharpening']) / b - 1), 2e-3)
    for c in list(ours['guinier'])[1:]:
        check(c, worst(ours['guinier'][c][1:], theirs['guinier'][c][1:]), 2e-3)
else:
    print('%-34s %.3g (one draw against the mean of many)' % ('randomised FSC', worst(f[column], g[column])))
    print('final resolution: %s, RELION %s' % (ours['general']['rlnFinalResolution'], theirs['general']['rlnFinalResolution']))
sys.exit(failed)

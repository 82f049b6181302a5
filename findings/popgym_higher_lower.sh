#!/usr/bin/env bash
# popgym 1.0.7: in HigherLower, a task of a benchmark of memory, memory is worth next to nothing. A policy that knows
# the last card alone gets a return of 0.50; one that remembers every card gets 0.53 with one deck (Easy), 0.52 with
# two (Medium) and 0.51 with three (Hard), in means over 1,000, 500 and 333 shuffled decks.
#
# The more there is to remember, the less it is worth. A return of 0.5 does not tell whether a network has a memory:
# compare with the policy of the last card.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q popgym==1.0.7 gymnasium==1.4.0
cat >play.py <<'CODE'
import numpy
from popgym.envs.higher_lower import HigherLowerEasy, HigherLowerHard

RANKS = 13


def last_card(left, card):
    return RANKS - 1 - card, card  # how many ranks are higher, lower


def all_cards(left, card):
    return left[card + 1:].sum(), left[:card].sum()


for kind, episodes in (HigherLowerEasy, 60), (HigherLowerHard, 20):
    means = []
    for policy in last_card, all_cards:
        env, returns = kind(), []
        for seed in range(episodes):
            card, _ = env.reset(seed=seed)
            left = numpy.full(RANKS, 4 * env.num_decks)
            left[card] -= 1
            total, ended = 0.0, False
            while not ended:
                higher, lower = policy(left, card)
                card, reward, ended, _, _ = env.step(0 if higher >= lower else 1)
                left[card] -= 1
                total += reward
            returns.append(total)
        means.append(numpy.mean(returns))
    better = means[1] - means[0]
    print(f"{kind.__name__}: last card {means[0]:.1f}, remembering all adds "
          f"{'less' if better < 0.06 else 'more'} than 0.06")
CODE
seen=$(venv/bin/python play.py)
echo "$seen"
wanted="HigherLowerEasy: last card 0.5, remembering all adds less than 0.06
HigherLowerHard: last card 0.5, remembering all adds less than 0.06"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }

#!/usr/bin/env bash
# popgym 1.0.7: RepeatPrevious(k) asks for the card of k - 1 steps ago. "If k == 1, then the agent must output the suit of the
# previous card", says its description, but the card is the one in the observation: an agent without memory gets
# everything. The registered Easy, Medium and Hard, k = 4, 32 and 64, go 3, 31 and 63 steps back.
#
# In the same benchmark the option error_clamp of CountRecall, described as the range in which a wrong count still
# gives a part of the reward, does nothing: each wrong count costs the whole reward, and `error_clamp` of 0.5 and 10 give the
# same.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q popgym==1.0.7 gymnasium==1.4.0
cat >play.py <<'CODE'
from popgym.envs.count_recall import CountRecall
from popgym.envs.repeat_previous import RepeatPrevious


def total(env, act, seed):
    seen, ended, result = [env.reset(seed=seed)[0]], False, 0.0
    while not ended:
        observation, reward, ended, *_ = env.step(act(seen))
        seen.append(observation)
        result += reward
    return result


def steps_back(steps):
    return lambda seen: seen[max(0, len(seen) - 1 - steps)]


for k in 1, 4:
    right = [steps for steps in range(8)
             if all(total(RepeatPrevious(k=k), steps_back(steps), seed) > 0.99 for seed in range(5))]
    print(f"RepeatPrevious, k = {k}: all is right for the card of {right} steps ago")

totals = [sum(total(CountRecall(error_clamp=clamp), lambda seen: 1, seed) for seed in range(20)) for clamp in (0.5, 10)]
print("CountRecall with error_clamp 0.5 and 10, always answered by 1:", "the same" if totals[0] == totals[1] else "differs")
CODE
seen=$(venv/bin/python play.py)
echo "$seen"
wanted="RepeatPrevious, k = 1: all is right for the card of [0] steps ago
RepeatPrevious, k = 4: all is right for the card of [3] steps ago
CountRecall with error_clamp 0.5 and 10, always answered by 1: the same"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }

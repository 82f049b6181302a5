"""The kinds of task, supervised and reinforcement learning, and the measures that tables and figures
show of each."""

import math
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Measure:
    key: str  # in the lines of metrics.jsonl, or in the metrics of summary.json
    label: str
    decimals: int | None = None  # None: three significant digits or more
    scale: float = 1  # a table shows scale * value; 100 gives percent
    unit: str = ""
    optional: bool = False  # whether there are tasks without it

    @property
    def percent(self):
        return self.scale == 100

    @property
    def axis_label(self):
        return self.label[0].upper() + self.label[1:] + (f" ({self.unit})" if self.unit else "")


@dataclass(frozen=True)
class Kind:
    noun: str  # of a score; the names of baselines are <name>_<noun>
    scores: tuple  # of a run: the first is compared with baselines, the last between sets
    costs: tuple
    energy: Measure  # one of the costs, for the figure of energy over score
    seconds: Measure
    time: Measure  # the time axis, in the lines of metrics.jsonl
    time_axis: str
    curves: tuple  # over time, one panel each: the score and, if metrics.jsonl has it, the energy
    learning: Measure  # a model has learnt the task when this measure reaches
    learnt: float | None  # this value; None: half the way from random play to the best model
    names: dict = field(default_factory=dict)  # names of models that differ from those in runs.NAMES

    def of(self, metrics):
        """This kind without the optional measures that are not among the metrics."""
        def known(measures):
            return tuple(measure for measure in measures
                         if not measure.optional or measure.key in metrics)

        scores = known(self.scores)
        return replace(self, scores=scores, costs=known(self.costs),
                       learning=next(iter(known([self.learning])), scores[0]))


CONDUCTANCE = "V² × conductance"
WALL_SECONDS = Measure("wall_seconds", "seconds", decimals=0)
EPOCHS = Measure("epoch", "epochs", decimals=0)
VALIDATION_ACCURACY = Measure("validation_accuracy", "validation accuracy", scale=100)
ENERGY_PER_STEP = Measure("energy_per_step", "energy per step", unit=CONDUCTANCE)
ENERGY_PER_SEQUENCE = Measure("energy_per_sequence", "energy per sequence", unit=CONDUCTANCE)
REWARD_SHARE = Measure("reward_share", "share of the oracle's margin", decimals=1, scale=100,
                       optional=True)
ENERGY_PER_NEURON = Measure("energy_per_neuron", "energy per neuron and step", unit=CONDUCTANCE)

SUPERVISED = Kind(
    noun="accuracy",
    scores=(Measure("test_accuracy", "test accuracy", decimals=2, scale=100),
            Measure("test_recall_accuracy", "recall", decimals=2, scale=100, optional=True),
            Measure("test_tracking_accuracy", "tracking", decimals=2, scale=100, optional=True)),
    costs=(ENERGY_PER_STEP, ENERGY_PER_SEQUENCE),
    energy=ENERGY_PER_SEQUENCE,
    seconds=WALL_SECONDS,
    time=EPOCHS,
    time_axis="Epoch",
    curves=(VALIDATION_ACCURACY, ENERGY_PER_STEP),
    learning=VALIDATION_ACCURACY,
    learnt=0.99)

RL = Kind(
    noun="reward",
    scores=(Measure("reward", "reward per episode", decimals=1), REWARD_SHARE),
    costs=(ENERGY_PER_NEURON,
           Measure("energy_per_neuron_without_reward", "without the reward input", optional=True)),
    energy=ENERGY_PER_NEURON,
    seconds=Measure("seconds_per_iteration", "seconds per iteration"),
    time=Measure("episodes", "thousand episodes", scale=1e-3),
    time_axis="Training episodes",
    curves=(Measure("reward", "reward per training episode"),),
    learning=REWARD_SHARE,
    learnt=None,  # the share that a model can reach is not known
    names={"stpn": "STPNr", "stpn_a2c": "STPNr", "stpn_scalar": "STPNr, scalar"})

# RL whose time is measured in steps, because episodes become longer as a model learns.
RL_STEPS = replace(
    RL,
    scores=(RL.scores[0], Measure("sampled_reward", "with sampled actions", decimals=1)),
    seconds=Measure("steps_per_second", "steps per second"),
    time=Measure("environment_steps", "thousand steps", scale=1e-3),
    time_axis="Environment steps",
    learning=RL.curves[0])

# The first that a run has the score, the speed and the time of.
KINDS = (SUPERVISED, RL_STEPS, RL)


def kind_of(metrics):
    """The kind of task of a run with these metrics in its summary."""
    for kind in KINDS:
        if {kind.scores[0].key, kind.seconds.key} <= metrics.keys():
            return kind.of(metrics)
    for kind in KINDS:  # an error will say what is missing
        if kind.scores[0].key in metrics:
            return kind.of(metrics)
    raise ValueError("its metrics have no "
                     + " and no ".join(dict.fromkeys(kind.scores[0].key for kind in KINDS)))


def kind_of_line(line):
    """The kind of task of a run with this line in its metrics.jsonl."""
    for kind in KINDS:
        if {kind.curves[0].key, kind.time.key} <= line.keys():
            return kind.of(line)
    for kind in KINDS:
        if kind.curves[0].key in line:
            return kind.of(line)
    raise KeyError(KINDS[0].curves[0].key)


def accuracies_from(baselines, lowest):
    """Where an axis of accuracies begins: at 0.4 if chance is above 0.5 and no value is below 0.4."""
    return 0.4 if baselines and min(baselines) > 0.5 and lowest >= 0.4 else 0


def plain(value):
    """Three significant digits or more, without an exponent: 5.02, 1610."""
    size = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{max(0, 2 - size)}f}"


def number(measure, value):
    """The value as in a table, without the percent sign."""
    value = measure.scale * value
    return plain(value) if measure.decimals is None else f"{value:.{measure.decimals}f}"

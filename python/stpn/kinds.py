"""What is measured of the tasks of a kind, and so what tables and figures show of them."""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Measure:
    key: str  # in a line of metrics.jsonl, or in the metrics of summary.json
    label: str
    decimals: int | None = None  # None: three digits or more
    scale: float = 1  # a number in a table is so many times the value; 100 makes percent
    unit: str = ""

    @property
    def percent(self):
        return self.scale == 100

    @property
    def axis_label(self):
        return self.label[0].upper() + self.label[1:] + (f" ({self.unit})" if self.unit else "")


@dataclass(frozen=True)
class Kind:
    noun: str  # what a score is; baselines are named <name>_<noun>
    scores: tuple  # what a run came to: the first beside baselines, the last to compare sets by
    costs: tuple
    energy: Measure  # the one of the costs that a figure has against the score
    seconds: Measure
    time: Measure  # how far a line of metrics.jsonl is
    time_axis: str
    curves: tuple  # over time, a panel each: the score, and energy where a line has it
    learning: Measure  # tells when a model has learnt:
    learnt: float | None  # at this value; None: half way to the best model's last score
    names: dict = field(default_factory=dict)  # of models, where they differ from runs.NAMES


CONDUCTANCE = "V² × conductance"
EPOCHS = Measure("epoch", "epochs", decimals=0)
VALIDATION_ACCURACY = Measure("validation_accuracy", "validation accuracy", scale=100)
ENERGY_PER_STEP = Measure("energy_per_step", "energy a step", unit=CONDUCTANCE)
ENERGY_PER_SEQUENCE = Measure("energy_per_sequence", "energy a sequence", unit=CONDUCTANCE)
REWARD_SHARE = Measure("reward_share", "share of the oracle's margin", decimals=1, scale=100)
ENERGY_PER_NEURON = Measure("energy_per_neuron", "energy a neuron and step", unit=CONDUCTANCE)

SUPERVISED = Kind(
    noun="accuracy",
    scores=(Measure("test_accuracy", "test accuracy", decimals=2, scale=100),),
    costs=(ENERGY_PER_STEP, ENERGY_PER_SEQUENCE),
    energy=ENERGY_PER_SEQUENCE,
    seconds=Measure("wall_seconds", "seconds", decimals=0),
    time=EPOCHS,
    time_axis="Epoch",
    curves=(VALIDATION_ACCURACY, ENERGY_PER_STEP),
    learning=VALIDATION_ACCURACY,
    learnt=0.99)

PLAYED = Kind(
    noun="reward",
    scores=(Measure("reward", "reward an episode", decimals=1), REWARD_SHARE),
    costs=(ENERGY_PER_NEURON,
           Measure("energy_per_neuron_without_reward", "without the reward input")),
    energy=ENERGY_PER_NEURON,
    seconds=Measure("seconds_per_iteration", "seconds an iteration"),
    time=Measure("episodes", "thousand episodes", scale=1e-3),
    time_axis="Training episodes",
    curves=(Measure("reward", "reward a training episode"),),
    learning=REWARD_SHARE,
    learnt=None,  # nobody knows what share can be had
    names={"stpn": "STPNr", "stpn_scalar": "STPNr, scalar"})

KINDS = (SUPERVISED, PLAYED)


def kind_of(metrics):
    """The kind of task of which a run has these metrics in its summary."""
    for kind in KINDS:
        if kind.scores[0].key in metrics:
            return kind
    raise ValueError("its metrics have no " + " and no ".join(kind.scores[0].key for kind in KINDS))


def plain(value):
    """Three digits or more, and never an exponent for what people read: 5.02, 1610."""
    size = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{max(0, 2 - size)}f}"


def number(measure, value):
    """As in a table, without the sign of percent."""
    value = measure.scale * value
    return plain(value) if measure.decimals is None else f"{value:.{measure.decimals}f}"

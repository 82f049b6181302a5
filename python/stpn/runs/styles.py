"""How a model is drawn: its colour, line and marker, the same in every figure."""

import itertools

from stpn.runs import NAMES

# Distinguishable for people with colour blindness (Okabe and Ito).
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
LINES = ["-", "--", ":"]
MARKERS = "osD^vPX*<>hpd"  # 13; with 6 colours, 78 combinations before the first repeats

# Indices of colour and line, chosen so that models that are often in one figure differ in colour.
KNOWN = {
    "stpn": (0, 0), "lstm": (1, 0), "gru": (2, 0), "rnn": (3, 0), "fast_weights": (4, 0),
    "modplast": (1, 2), "stpn_small": (0, 1), "stpn_current": (0, 2), "stpn_scalar": (2, 1),
    "stpn_feedforward": (5, 1), "stpn_feedforward_scalar": (4, 1), "hebbff": (3, 1),
    "perceptron": (4, 2), "lstm_normalised": (1, 1), "rnn_normalised": (3, 2), "stpn_anti": (0, 1),
    "stpn_gated": (5, 0), "stpn_gated_delta": (5, 2), "gated_delta": (3, 0), "gru_beside_stpn": (2, 1),
    "stpn_a2c": (0, 0), "lstm_a2c": (1, 0), "gru_a2c": (2, 0), "perceptron_a2c": (4, 2),
}


def position(model):
    """Sort key: models in the order of NAMES, then the others in alphabetical order."""
    known = list(NAMES)
    return (known.index(model) if model in known else len(known), model)


def styles(models):
    """{model: {"color", "linestyle", "marker"}}, for matplotlib. Models without a place in KNOWN get
    what no other has, in their order."""
    models, found, taken = set(models), {}, set()
    for model in sorted(models & set(KNOWN), key=position):
        colour, line = KNOWN[model]
        found[model] = colour, line, list(KNOWN).index(model) % len(MARKERS)
        taken.add(found[model])
    free = ((i % len(COLOURS), i // len(COLOURS) % len(LINES), i % len(MARKERS)) for i in itertools.count())
    for model in sorted(models - set(KNOWN), key=position):
        found[model] = next((look for look in itertools.islice(free, 1000) if look not in taken))
    return {model: {"color": COLOURS[colour], "linestyle": LINES[line], "marker": MARKERS[marker]}
            for model, (colour, line, marker) in found.items()}

"""The figures of a report, as Vega-Lite: curves, energy over the score, and all tasks at a glance.

Vega-Altair makes the descriptions. The page draws them with Vega, whose script it contains; vl-convert,
which needs neither a browser nor a network, makes the PNG and SVG files of the same descriptions.
"""

import csv
import io
from dataclasses import dataclass

import altair
import numpy
import PIL.Image
import vl_convert

from stpn.runs.kinds import EPOCHS, accuracies_from
from stpn.report.statistics import OF_CURVES, interquartile_mean, interval
from stpn.report.tables import at_a_glance, score_of
from stpn.reproduction import metric
from stpn.runs import NAMES, baseline_label
from stpn.runs.curves import common_curves
from stpn.runs.files import whole, write_text
from stpn.runs.styles import styles

POINTS = 80  # of a curve, at most
DASHES = {"-": [1, 0], "--": [6, 3], ":": [2, 2]}
# Markers as paths in a square from -1 to 1, for Vega and for the page's own legends.
SHAPES = {
    "o": "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0Z", "s": "M-.85,-.85H.85V.85H-.85Z", "D": "M0,-1L1,0L0,1L-1,0Z",
    "^": "M0,-1L1,.8L-1,.8Z", "v": "M0,1L1,-.8L-1,-.8Z", "<": "M-1,0L.8,-1L.8,1Z", ">": "M1,0L-.8,-1L-.8,1Z",
    "P": "M-.35,-1H.35V-.35H1V.35H.35V1H-.35V.35H-1V-.35H-.35Z",
    "X": "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z",
    "*": "M0,-1L.3,-.3L1,-.3L.45,.15L.65,1L0,.45L-.65,1L-.45,.15L-1,-.3L-.3,-.3Z",
    "h": "M-1,0L-.5,-.87L.5,-.87L1,0L.5,.87L-.5,.87Z", "p": "M0,-1L.95,-.31L.59,.81L-.59,.81L-.95,-.31Z",
    "d": "M0,-1L.6,0L0,1L-.6,0Z"}
# The models at a glance: one of each kind.
COMPARED = ["stpn", "stpn_gated", "stpn_feedforward", "hebbff", "lstm", "gru", "rnn", "fast_weights", "modplast",
            "perceptron"]
BASELINE = "#737373"
HEIGHT = 240
CONFIG = {"font": "Helvetica, Arial, DejaVu Sans, sans-serif", "view": {"stroke": None}, "aria": False,
          "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "gridColor": "#e6e6e6",
                   "labelColor": "#222", "titleColor": "#222", "domainColor": "#888", "tickColor": "#888"},
          "title": {"anchor": "start", "fontSize": 14}, "legend": {"labelFontSize": 12, "title": None},
          "background": "white"}


def brief(value):
    """Six significant digits: more cannot be seen."""
    return float(f"{value:.6g}")


@dataclass(frozen=True)
class Look:
    """How a model is drawn, and its name in legends."""
    name: str
    colour: str
    dash: list
    shape: str


def looks_of(names):
    """The looks of {model: name}."""
    return [Look(names[model], style["color"], DASHES[style["linestyle"]], SHAPES[style["marker"]])
            for model, style in styles(names).items()]


def looks_in(runs):
    return looks_of({model: runs.model_name(model) for model in runs.models})


def by_model(channel, looks, of, **options):
    """The encoding of a channel by the model, with a legend for files."""
    scale = altair.Scale(domain=[look.name for look in looks], range=[getattr(look, of) for look in looks])
    return channel("model:N", scale=scale, legend=altair.Legend(symbolStrokeWidth=2, **options))


def without_legends(spec):
    """The same for the page, which has legends of its own: they fit into any width."""
    if isinstance(spec, list):
        return [without_legends(each) for each in spec]
    if not isinstance(spec, dict):
        return spec
    return {key: None if key == "legend" and "symbolStrokeWidth" in (value or {}) else without_legends(value)
            for key, value in spec.items()}


def as_csv(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def data(rows, **types):
    """Inline data as CSV, which is a quarter as long as a list of objects."""
    return altair.Data(values=as_csv(rows), format=altair.CsvDataFormat(type="csv", parse=types))


def some(count):
    """At most POINTS indices of `count`, the first and the last among them."""
    return sorted({round(i) for i in numpy.linspace(0, count - 1, min(count, POINTS))})


def mean_rows(name, times, curves):
    """A row for each point of the interquartile mean of the curves; none if there is no common time."""
    if not times:
        return []
    chosen = some(len(times))
    curves = numpy.array(curves)[:, chosen]
    middle, ends = interquartile_mean(curves, axis=0), interval([curves], OF_CURVES)
    rows = []
    for i, place in enumerate(chosen):
        low, high = ("", "") if ends is None else (brief(end[i]) for end in ends)
        rows.append({"model": name, "line": name, "of": "mean", "time": times[place],
                     "value": brief(middle[i]), "low": low, "high": high})
    return rows


def curve_rows(runs, measure):
    """A row for each point: of the finished runs of a model their interquartile mean with its interval,
    of another run what it wrote."""
    rows = []
    for model, finished in runs.models.items():
        name = runs.model_name(model)
        if finished:
            rows += mean_rows(name, *common_curves(finished, runs.kind.time, measure))
        for count, run in enumerate(run for run in runs.stopped(model) if run.epochs):
            for place in some(len(run.epochs)):
                epoch = run.epochs[place]
                rows.append({"model": name, "line": f"{name} {run.state} {count}", "of": "stopped",
                             "time": epoch[runs.kind.time.key], "value": brief(epoch[measure.key]),
                             "low": "", "high": ""})
    return rows


def scale_of(measure, values, baselines):
    """The axis of a score or an energy: an accuracy up to 1; energies that differ a lot on a
    logarithmic scale."""
    if measure.percent:
        return altair.Scale(domain=[accuracies_from(baselines.values(), min(values)), 1], nice=False)
    if "energy" in measure.key:
        if min(values) > 0 and max(values) > 8 * min(values):
            return altair.Scale(type="log", nice=False)
        return altair.Scale(zero=False)
    return altair.Scale(zero=True)


def axis_of(measure, **options):
    if measure.unit:  # 200k and 10M, but 0.05, not 50m
        options["labelExpr"] = "datum.label && datum.value < 10000 ? format(datum.value, '~g') : datum.label"
    return altair.Axis(title=None, format="%" if measure.percent else "~s" if measure.unit else "~g", tickCount=5,
                       **options)


def baseline_rules(runs, measure, channel):
    """Lines of the task's baselines across a score, those that do not stretch the axis to more than
    twice the results."""
    if measure.key not in (runs.kind.curves[0].key, runs.kind.scores[0].key):
        return []
    highest = max(value for run in runs.drawn() for value in run.curve(runs.kind.curves[0].key))
    near = [{"level": value, "baseline": baseline_label(name, runs.kind)}
            for name, value in runs.baselines.items() if measure.percent or value <= 2 * highest]
    if not near:
        return []
    base = altair.Chart(data(near, level="number"))
    other = "x" if channel == "y" else "y"
    rule = base.mark_rule(color=BASELINE, strokeDash=[3, 3]).encode(
        tooltip=["baseline:N", altair.Tooltip("level:Q", format=".4~g")], **{channel: "level:Q"})
    beside = {"baseline": "bottom", "dy": -2} if channel == "y" else {"baseline": "top"}
    label = base.mark_text(color=BASELINE, fontSize=11, align="left", dx=3, **beside).encode(
        text="baseline:N", **{channel: "level:Q", other: altair.value(0)})
    return [rule, label]


def curves(runs, measure):
    """A measure over the time of training; None if no mean can be drawn and no other run."""
    kind, looks = runs.kind, looks_in(runs)
    rows = curve_rows(runs, measure)
    if not rows:
        return None
    table = data(rows, time="number", value="number", low="number", high="number")
    base = altair.Chart(table).encode(
        x=altair.X("time:Q", title=kind.time_axis, scale=altair.Scale(zero=kind.time is not EPOCHS, nice=False),
                   axis=altair.Axis(format="d" if kind.time is EPOCHS else "~s", tickCount=6, grid=False)))
    shown = {"color": by_model(altair.Color, looks, "colour"), "strokeDash": by_model(altair.StrokeDash, looks, "dash")}
    scale = scale_of(measure, [number for row in rows for number in (row["value"], row["low"]) if number != ""],
                     runs.baselines)
    y = altair.Y("value:Q", axis=axis_of(measure), scale=scale)
    tips = ["model:N", altair.Tooltip("time:Q", title=kind.time_axis, format="~s"),
            altair.Tooltip("value:Q", title=measure.label, format=".4~g"),
            altair.Tooltip("low:Q", format=".4~g"), altair.Tooltip("high:Q", format=".4~g")]
    layers = baseline_rules(runs, measure, "y")
    if any(row["low"] != "" for row in rows):
        low = altair.Y("low:Q", axis=axis_of(measure), scale=scale)
        layers.append(base.transform_filter("isValid(datum.low)").mark_area(opacity=0.16, clip=True).encode(
            y=low, y2="high:Q", color=shown["color"], detail="line:N"))
    layers.append(base.transform_filter("datum.of == 'mean'").mark_line(strokeWidth=2, clip=True).encode(
        y=y, detail="line:N", tooltip=tips, **shown))
    if any(row["of"] == "stopped" for row in rows):
        layers.append(base.transform_filter("datum.of == 'stopped'").mark_line(strokeWidth=1, clip=True).encode(
            y=y, detail="line:N", tooltip=tips, **shown))
    if min(len(run.epochs) for run in runs.drawn()) == 1:
        layers.append(base.mark_point(filled=True, size=40).encode(y=y, tooltip=tips, color=shown["color"]))
    return finish(altair.layer(*layers), measure.axis_label)


def energy(runs):
    """Energy over the score, a mark for each finished run: lower and further right is better."""
    kind, looks = runs.kind, looks_in(runs)
    score, cost = kind.scores[0], kind.energy
    rows = [{"model": runs.model_name(model), "seed": run.seed, "score": run.metrics[score.key],
             "energy": run.metrics[cost.key], "parameters": run.parameters}
            for model, finished in runs.finished.items() for run in finished]
    x_scale = (scale_of(score, [row["score"] for row in rows], runs.baselines) if score.percent
               else altair.Scale(zero=False))
    points = altair.Chart(data(rows, score="number", energy="number", seed="number", parameters="number")).mark_point(
        filled=True, size=80, opacity=0.85, stroke="white", strokeWidth=0.6).encode(
        x=altair.X("score:Q", scale=x_scale, title=score.axis_label,
                   axis=altair.Axis(format="%" if score.percent else "~g", tickCount=5, grid=False)),
        y=altair.Y("energy:Q", scale=scale_of(cost, [row["energy"] for row in rows], runs.baselines), axis=axis_of(cost)),
        color=by_model(altair.Color, looks, "colour"), shape=by_model(altair.Shape, looks, "shape"),
        tooltip=["model:N", "seed:Q", altair.Tooltip("score:Q", title=score.label, format=".4~g"),
                 altair.Tooltip("energy:Q", title=cost.label, format=".4~g"), "parameters:Q"])
    rules = baseline_rules(runs, score, "x") if score.percent else []
    return finish(altair.layer(*rules, points), cost.axis_label)


def glance_rows(tasks):
    """A row for each model of each set at a glance: its score as a share of the best in the set, as is the lowest
    baseline."""
    rows = []
    for runs in at_a_glance(tasks):
        score = runs.kind.scores[0]
        values = {model: metric(finished, score) for model, finished in runs.finished.items() if model in COMPARED}
        means = {model: float(interquartile_mean(each)) for model, each in values.items()}
        best = max(score_of(runs, model) for model in runs.finished)
        if best <= 0:
            continue
        lowest = min(runs.baselines.values(), default=-1)
        chance = brief(lowest / best) if lowest >= 0 else ""
        for model, mean in means.items():
            ends = interval([values[model]])
            low, high = ("", "") if ends is None else (brief(end / best) for end in ends)
            rows.append({"set": runs.title, "model": NAMES[model], "id": model, "score": brief(mean),
                         "share": brief(mean / best), "low": low, "high": high,
                         "chance": chance})
    return rows


def looks_at_a_glance(rows):
    shown = {row["id"] for row in rows}
    return looks_of({model: NAMES[model] for model in COMPARED if model in shown})


def glance(rows):
    """A row of marks for each set: the scores of the models, as shares of the best, with intervals, and a line at
    chance."""
    looks = looks_at_a_glance(rows)
    names = [look.name for look in looks]
    order = list(dict.fromkeys(row["set"] for row in rows))
    table = data(rows, score="number", share="number", low="number", high="number", chance="number")
    band = 9 * len(looks)
    base = altair.Chart(table).encode(
        y=altair.Y("set:N", sort=order, title=None, scale=altair.Scale(paddingInner=0.25),
                   axis=altair.Axis(labelLimit=150, labelExpr="split(datum.label, ', ')", ticks=False, domain=False)),
        yOffset=altair.YOffset("model:N", sort=names),
        color=by_model(altair.Color, looks, "colour", orient="bottom", columns=4))
    scale = altair.Scale(domain=[0, 1.02], nice=False)
    chance = altair.Chart(table).transform_filter("isValid(datum.chance)").mark_tick(
        color=BASELINE, thickness=1.5, size=band).encode(
        y=altair.Y("set:N", sort=order), x=altair.X("chance:Q", scale=scale))
    bars = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2.5, opacity=0.55, clip=True).encode(
        x=altair.X("low:Q", scale=scale), x2="high:Q")
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        x=altair.X("share:Q", title="Share of the best model's score; grey lines: chance or random play", scale=scale,
                   axis=altair.Axis(format="%", tickCount=5)),
        shape=by_model(altair.Shape, looks, "shape", orient="bottom", columns=4),
        tooltip=["set:N", "model:N", altair.Tooltip("score:Q", format=".4~g"),
                 altair.Tooltip("share:Q", format=".1%")])
    return finish(altair.layer(chance, bars, points), None, height=(band + 14) * len(order))


def finish(chart, title, height=HEIGHT):
    chart = chart.properties(width="container", height=height,
                             autosize=altair.AutoSizeParams(type="fit-x", contains="padding"))
    if title:
        chart = chart.properties(title=title)
    return chart.configure(**CONFIG).to_dict(validate=False)


def write_files(spec, path, width=560):
    """Writes path.png, with a palette, which makes it a third as large, and path.svg."""
    fixed = {key: value for key, value in spec.items() if key != "autosize"} | {"width": width}
    svg = vl_convert.vegalite_to_svg(fixed)
    write_text(path.with_suffix(".svg"), svg)
    with PIL.Image.open(io.BytesIO(vl_convert.svg_to_png(svg, scale=2))) as image:
        reduced = image.convert("RGB").quantize(256, dither=PIL.Image.Dither.NONE)
    with whole(path.with_suffix(".png")) as partial:
        reduced.save(partial, optimize=True)

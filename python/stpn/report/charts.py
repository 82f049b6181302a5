"""The figures of a report, as Vega-Lite: curves, energy over the score, and all tasks at a glance.

Vega-Altair makes the descriptions. The page draws them with Vega, whose script it contains; vl-convert,
which needs neither a browser nor a network, makes the PNG and SVG files of the same descriptions.
"""

import csv
import io

import altair
import numpy
import vl_convert

from stpn.kinds import EPOCHS
from stpn.report.statistics import interquartile_mean, interval
from stpn.reproduction import metric
from stpn.runs import baseline_label
from stpn.styles import styles

POINTS = 80  # of a curve, at most
DASHES = {"-": [1, 0], "--": [6, 3], ":": [2, 2]}
SHAPES = {"o": "circle", "s": "square", "D": "diamond", "^": "triangle-up", "v": "triangle-down", "P": "cross",
          "X": "M-1,-1L1,1M1,-1L-1,1", "*": "M0,-1L0.3,-0.3L1,-0.3L0.45,0.15L0.65,1L0,0.45L-0.65,1L-0.45,0.15L-1,-0.3L-0.3,-0.3Z",
          "<": "triangle-left", ">": "triangle-right", "h": "M-1,0L-0.5,-0.87L0.5,-0.87L1,0L0.5,0.87L-0.5,0.87Z",
          "p": "M0,-1L0.95,-0.31L0.59,0.81L-0.59,0.81L-0.95,-0.31Z", "d": "M0,-1L0.6,0L0,1L-0.6,0Z"}
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


class Looks:
    """Colour, dashes and shape of each model of a set, by its name."""

    def __init__(self, runs):
        self.names = {model: runs.model_name(model) for model in runs.models}
        self.style = styles(runs.models)

    def of(self, model):
        style = self.style[model]
        return {"name": self.names[model], "colour": style["color"], "dash": DASHES[style["linestyle"]],
                "shape": SHAPES[style["marker"]]}

    def encoding(self, models, legend):
        """The encodings of colour, dashes and shape."""
        looks = [self.of(model) for model in models]
        domain = [look["name"] for look in looks]
        shown = altair.Legend(orient="right", symbolStrokeWidth=2) if legend else None
        return {"color": altair.Color("model:N", legend=shown,
                                      scale=altair.Scale(domain=domain, range=[look["colour"] for look in looks])),
                "strokeDash": altair.StrokeDash("model:N", legend=shown,
                                                scale=altair.Scale(domain=domain, range=[look["dash"] for look in looks]))}


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


def curve_rows(runs, measure):
    """A row for each point: of the finished runs of a model their interquartile mean with its interval,
    of another run what it wrote."""
    rows = []
    for model, finished in runs.models.items():
        name = runs.model_name(model)
        if finished:
            curves = numpy.array([values for values in zip(*(run.curve(measure.key) for run in finished))]).T
            times = finished[0].curve(runs.kind.time.key)[:curves.shape[1]]
            chosen = some(len(times))
            curves = curves[:, chosen]
            middle, ends = interquartile_mean(curves, axis=0), interval([curves])
            for i, place in enumerate(chosen):
                low, high = ("", "") if ends is None else (brief(end[i]) for end in ends)
                rows.append({"model": name, "line": name, "of": "mean", "time": times[place],
                             "value": brief(middle[i]), "low": low, "high": high})
        for count, run in enumerate(run for run in runs.stopped(model) if run.epochs):
            for place in some(len(run.epochs)):
                epoch = run.epochs[place]
                rows.append({"model": name, "line": f"{name} {run.state} {count}", "of": "stopped",
                             "time": epoch[runs.kind.time.key], "value": brief(epoch[measure.key]),
                             "low": "", "high": ""})
    return rows


def scale_of(measure, values):
    """The axis of a score or an energy: an accuracy from 0 to 1; energies that differ a lot on a
    logarithmic scale."""
    if measure.percent:
        return altair.Scale(domain=[0, 1], nice=False)
    if "energy" in measure.key:
        if min(values) > 0 and max(values) > 8 * min(values):
            return altair.Scale(type="log", nice=False)
        return altair.Scale(zero=False)
    return altair.Scale(zero=True)


def axis_of(measure, **options):
    return altair.Axis(title=None, format="%" if measure.percent else "~g", tickCount=5, **options)


def baseline_rules(runs, measure, channel):
    """Lines of the task's baselines across a score, those that do not stretch the axis to more than
    twice the results."""
    if measure.key not in (runs.kind.curves[0].key, runs.kind.scores[0].key):
        return []
    highest = max([value for run in runs.drawn() for value in run.curve(runs.kind.curves[0].key)])
    near = [{"level": value, "baseline": baseline_label(name, runs.kind)}
            for name, value in runs.baselines.items() if measure.percent or value <= 2 * highest]
    if not near:
        return []
    rule = altair.Chart(data(near, level="number")).mark_rule(color=BASELINE, strokeDash=[3, 3]).encode(
        tooltip=["baseline:N", altair.Tooltip("level:Q", format=".4~g")])
    label = altair.Chart(data(near, level="number")).mark_text(color=BASELINE, fontSize=11)
    if channel == "y":
        return [rule.encode(y="level:Q"),
                label.encode(y="level:Q", text="baseline:N", x=altair.value(4)).properties()
                if False else altair.Chart(data(near, level="number")).mark_text(
                    color=BASELINE, fontSize=11, align="left", baseline="bottom", dx=3, dy=-2).encode(
                    y="level:Q", text="baseline:N", x=altair.value(0))]
    return [rule.encode(x="level:Q"),
            altair.Chart(data(near, level="number")).mark_text(
                color=BASELINE, fontSize=11, align="left", baseline="top", dx=3).encode(
                x="level:Q", text="baseline:N", y=altair.value(0))]


def curves(runs, measure, legend=False):
    """A measure over the time of training."""
    kind, looks = runs.kind, Looks(runs)
    rows = curve_rows(runs, measure)
    table = data(rows, time="number", value="number", low="number", high="number")
    base = altair.Chart(table).encode(
        x=altair.X("time:Q", title=kind.time_axis, scale=altair.Scale(zero=kind.time is not EPOCHS, nice=False),
                   axis=altair.Axis(format="d" if kind.time is EPOCHS else "~s", tickCount=6, grid=False)))
    shown = looks.encoding(runs.models, legend)
    scale = scale_of(measure, [row["value"] for row in rows])
    y = altair.Y("value:Q", axis=axis_of(measure), scale=scale)
    tips = ["model:N", altair.Tooltip("time:Q", title=kind.time_axis, format="~s"),
            altair.Tooltip("value:Q", title=measure.label, format=".4~g"),
            altair.Tooltip("low:Q", format=".4~g"), altair.Tooltip("high:Q", format=".4~g")]
    layers = baseline_rules(runs, measure, "y")
    if any(row["low"] != "" for row in rows):
        layers.append(base.transform_filter("isValid(datum.low)").mark_area(opacity=0.16, clip=True).encode(
            y=altair.Y("low:Q", axis=axis_of(measure), scale=scale), y2="high:Q", color=shown["color"], detail="line:N"))
    layers.append(base.transform_filter("datum.of == 'mean'").mark_line(strokeWidth=2, clip=True).encode(
        y=y, detail="line:N", tooltip=tips, **shown))
    if any(row["of"] == "stopped" for row in rows):
        layers.append(base.transform_filter("datum.of == 'stopped'").mark_line(strokeWidth=1, clip=True).encode(
            y=y, detail="line:N", tooltip=tips, **shown))
    if min(len(run.epochs) for run in runs.drawn()) == 1:
        layers.append(base.mark_point(filled=True, size=40).encode(y=y, tooltip=tips, color=shown["color"]))
    return finish(altair.layer(*layers), measure.axis_label)


def energy(runs, legend=False):
    """Energy over the score, a mark for each finished run: lower and further right is better."""
    kind, looks = runs.kind, Looks(runs)
    score, cost = kind.scores[0], kind.energy
    rows = [{"model": runs.model_name(model), "seed": run.seed, "score": run.metrics[score.key],
             "energy": run.metrics[cost.key], "parameters": run.parameters}
            for model, finished in runs.finished.items() for run in finished]
    models = list(runs.finished)
    marks = [looks.of(model) for model in models]
    domain = [mark["name"] for mark in marks]
    shape = altair.Shape("model:N", legend=None, scale=altair.Scale(domain=domain, range=[m["shape"] for m in marks]))
    colour = altair.Color("model:N", scale=altair.Scale(domain=domain, range=[m["colour"] for m in marks]),
                          legend=altair.Legend(orient="right") if legend else None)
    x_scale = altair.Scale(domain=[0, 1], nice=False) if score.percent else altair.Scale(zero=False)
    points = altair.Chart(data(rows, score="number", energy="number", seed="number", parameters="number")).mark_point(
        filled=True, size=80, opacity=0.85, stroke="white", strokeWidth=0.6).encode(
        x=altair.X("score:Q", scale=x_scale, title=score.axis_label,
                   axis=altair.Axis(format="%" if score.percent else "~g", tickCount=5, grid=False)),
        y=altair.Y("energy:Q", scale=scale_of(cost, [row["energy"] for row in rows]), axis=axis_of(cost)),
        color=colour, shape=shape,
        tooltip=["model:N", "seed:Q", altair.Tooltip("score:Q", title=score.label, format=".4~g"),
                 altair.Tooltip("energy:Q", title=cost.label, format=".4~g"), "parameters:Q"])
    rules = baseline_rules(runs, score, "x") if score.percent else []
    return finish(altair.layer(*rules, points), cost.axis_label)


def glance(tasks):
    """Rows of the sets of all tasks, the score of each model in a place of its own on a common axis: its
    share of the best in that set. Intervals are of the interquartile mean."""
    rows = []
    for task in tasks:
        for runs in task.sets:
            if "stpn" not in runs.finished:
                continue
            score = runs.kind.scores[0]
            best = max(float(interquartile_mean(metric(each, score))) for each in runs.finished.values())
            for model, finished in runs.finished.items():
                values = metric(finished, score)
                ends = interval([values])
                rows.append({"set": runs.title, "model": Looks(runs).names[model].replace("STPNr", "STPN"), "id": model,
                             "score": brief(float(interquartile_mean(values))),
                             "share": brief(float(interquartile_mean(values)) / best) if best > 0 else 0,
                             "low": "" if ends is None else brief(float(ends[0]) / best),
                             "high": "" if ends is None else brief(float(ends[1]) / best)})
    if not rows:
        return None
    style = styles({row["id"] for row in rows})
    names = {}
    for model in style:
        names.setdefault(next(row["model"] for row in rows if row["id"] == model), style[model])
    order = list(dict.fromkeys(row["set"] for row in rows))
    table = data(rows, score="number", share="number", low="number", high="number")
    base = altair.Chart(table).encode(
        y=altair.Y("set:N", sort=order, title=None, axis=altair.Axis(labelLimit=260, grid=True, ticks=False, domain=False)),
        color=altair.Color("model:N", scale=altair.Scale(domain=list(names), range=[s["color"] for s in names.values()]),
                           legend=altair.Legend(orient="bottom", columns=4, symbolType="circle")))
    tips = ["set:N", "model:N", altair.Tooltip("score:Q", format=".4~g"), altair.Tooltip("share:Q", format=".1%")]
    x = altair.X("share:Q", title="Share of the best model's score", axis=altair.Axis(format="%"),
                 scale=altair.Scale(domain=[0, 1.02], nice=False))
    bars = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2, opacity=0.6, clip=True).encode(
        x=altair.X("low:Q", scale=altair.Scale(domain=[0, 1.02], nice=False)), x2="high:Q")
    points = base.mark_point(filled=True, size=70, opacity=0.9).encode(
        x=x, shape=altair.Shape("model:N", scale=altair.Scale(domain=list(names), range=[SHAPES[s["marker"]] for s in names.values()]),
                                legend=altair.Legend(orient="bottom", columns=4)), tooltip=tips)
    return finish(altair.layer(bars, points), None, height=26 * len(order) + 20)


def finish(chart, title, height=HEIGHT):
    chart = chart.properties(width="container", height=height, autosize=altair.AutoSizeParams(type="fit-x", contains="padding"))
    if title:
        chart = chart.properties(title=title)
    return chart.configure(**CONFIG).to_dict(validate=False)


def write_files(spec, path, width=560):
    """Writes path.png and path.svg. Returns the files."""
    fixed = {key: value for key, value in spec.items() if key != "autosize"} | {"width": width}
    svg, png = path.with_suffix(".svg"), path.with_suffix(".png")
    svg.write_text(vl_convert.vegalite_to_svg(fixed), encoding="utf-8")
    png.write_bytes(vl_convert.vegalite_to_png(fixed, scale=2))
    return [png, svg]

"""Puts the report into one file, and the figures and the table at a glance into a folder beside it."""

import json
import re
from dataclasses import dataclass
from importlib.resources import files

import jinja2
import vl_convert

from stpn.report import charts, statistics, tables
from stpn.report.synapses import at_work
from stpn.reproduction import other_lines
from stpn.runs import printable
from stpn.runs.files import write_text


@dataclass
class Figure:
    id: str
    alt: str  # what it shows, for those who do not see it
    spec: dict


@dataclass
class SetPart:
    runs: object  # RunSet
    id: str
    table: object  # Table or None
    figures: list
    legend: list
    others: list


@dataclass
class TaskPart:
    task: object  # Task
    sets: list
    together: object
    run: object = None  # whose synapses are shown
    synapses: dict | None = None
    reason: str = ""  # why there are none


def identifier(*parts):
    return re.sub(r"[^A-Za-z0-9]+", "_", "_".join(parts)).strip("_").lower()


def names(runs):
    return ", ".join(runs.model_name(model) for model in runs.models)


def set_part(task, runs):
    own = identifier(task.name, runs.name)
    figures = []
    if runs.drawn():
        for measure in runs.kind.curves:
            what = f"{measure.axis_label} over {runs.kind.time_axis.lower()}"
            if curves := charts.curves(runs, measure):
                figures.append(Figure(identifier(own, measure.key), f"{what}: {runs.title}; {names(runs)}", curves))
    if runs.finished:
        what = f"{runs.kind.energy.axis_label} over {runs.kind.scores[0].label}"
        figures.append(Figure(identifier(own, "energy_over", runs.kind.noun), f"{what}: {runs.title}; {names(runs)}",
                              charts.energy(runs)))
    return SetPart(runs, own, tables.set_table(runs) if runs.finished else None, figures, charts.looks_in(runs),
                   other_lines(runs))


def parts_of(tasks, synapses, progress):
    parts, notes = [], []
    for task in tasks:
        progress(f"{task.title}: {sum(len(runs.models) for runs in task.sets)} models in {len(task.sets)} sets")
        part = TaskPart(task, [set_part(task, runs) for runs in task.sets], tables.together_table(task))
        if synapses:
            part.run, shown = at_work(task)
            if part.run:
                part.synapses = shown
            else:
                part.reason = printable(shown)
        parts.append(part)
        notes += [f"{runs.name}/{line}" for runs in task.sets for line in other_lines(runs)]
    return parts, notes


def all_runs(tasks):
    return [run for task in tasks for runs in task.sets
            for run in [*(each for finished in runs.models.values() for each in finished), *runs.others.values()]]


def markdown(table):
    """The table at a glance, for a README."""
    rows = [table.columns, ["---"] * len(table.columns)]
    rows += [[row.name, *(cell.text for cell in row.cells)] for row in table.rows]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def as_script(value):
    """JSON that may stand inside a <script> element."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/").replace("<!--", "<\\!--")


def write_page(tasks, out, synapses=True, progress=lambda text: None):
    """Writes the page, and the folder of its figures. Returns warnings: the runs that are in no mean."""
    parts, notes = parts_of(tasks, synapses, progress)
    glance, at_a_glance = tables.glance_table(tasks), charts.glance_rows(tasks)
    figures = [figure for part in parts for each in part.sets for figure in each.figures]
    if at_a_glance:
        figures.insert(0, Figure("at_a_glance", "The score of each model in each set, as a share of the best model's",
                                 charts.glance(at_a_glance)))
    runs = all_runs(tasks)
    here = files("stpn.report")
    environment = jinja2.Environment(loader=jinja2.BaseLoader(), autoescape=True, trim_blocks=True, lstrip_blocks=True,
                                     undefined=jinja2.StrictUndefined)
    template = environment.from_string((here / "page.html.jinja").read_text(encoding="utf-8"))
    text = template.render(
        parts=parts, glance=glance if glance.rows else None, looks=charts.looks_at_a_glance(at_a_glance),
        points=charts.POINTS, runs=runs, finished=sum(run.finished for run in runs), statistics=statistics,
        printable=printable, style=(here / "page.css").read_text(encoding="utf-8"),
        vega=vl_convert.javascript_bundle().replace("</script", "<\\/script"),
        script=(here / "page.js").read_text(encoding="utf-8"),
        specs=as_script({figure.id: charts.without_legends(figure.spec) for figure in figures}),
        synapses=as_script({part.task.key: part.synapses for part in parts if part.synapses}))
    folder = out.with_suffix("")
    progress(f"{len(figures)} figures as PNG and SVG")
    folder.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        charts.write_files(figure.spec, folder / figure.id)
    if glance.rows:
        write_text(folder / "at_a_glance.md", markdown(glance))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text)
    return notes

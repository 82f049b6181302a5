"""The command line of the report."""

import argparse
import sys
from pathlib import Path

from stpn.report.gather import find_tasks
from stpn.report.page import write_page
from stpn.runs import RunError, printable


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m stpn.report", description="One page of runs, and its figures.")
    parser.add_argument("folders", metavar="FOLDER", nargs="*", default=["results"],
                        help="run folders, or folders with runs in them, finished or not (default: results)")
    parser.add_argument("--out", default="report.html",
                        help="the page; figures go into the folder of the same name without .html "
                             "(default: report.html)")
    parser.add_argument("--no-synapses", action="store_true", help="leave out the synapses at work")
    given = parser.parse_args(arguments)
    out = Path(given.out)
    try:
        if out.suffix.lower() not in (".html", ".htm"):
            raise RunError(f"{printable(out)}: the name of the page must end in .html")
        tasks = find_tasks(given.folders)
        notes = write_page(tasks, out, synapses=not given.no_synapses,
                           progress=lambda text: print(f"report: {text}", file=sys.stderr))
    except (RunError, OSError) as error:
        print(f"stpn: {printable(error)}", file=sys.stderr)
        return 2
    for note in notes:
        print(f"stpn: warning: {printable(note)}", file=sys.stderr)
    print(f"Page: {printable(out)}\nFigures and tables: {printable(out.with_suffix(''))}")
    return 0

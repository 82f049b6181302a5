"""One page of runs: learning curves, tables, energy, and the synapses of an STPN at work.

python -m stpn.report FOLDER... --out PAGE.html    which `stpn report` calls

stpn.report.gather      finds the runs and groups them by task and set
stpn.report.statistics  interquartile means and their intervals
stpn.report.tables      the tables, of which every number says what it is
stpn.report.charts      the figures, as Vega-Lite
stpn.report.synapses    runs a trained STPN again
stpn.report.page        puts it all into one file
"""

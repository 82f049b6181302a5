"""The learning curves of several runs of a model, side by side."""


def common_curves(runs, time, measure):
    """(times, values of each run) at the epochs that all of the runs have. Epochs are matched by their
    number, because a run may begin late: lines from before its first episode ended are left out."""
    values = [{line["epoch"]: line[measure.key] for line in run.epochs} for run in runs]
    shared = set.intersection(*map(set, values))
    lines = [line for line in runs[0].epochs if line["epoch"] in shared]
    return ([line[time.key] for line in lines],
            [[of_run[line["epoch"]] for line in lines] for of_run in values])

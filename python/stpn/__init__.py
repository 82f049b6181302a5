"""Short-term plasticity neurons from Python.

stpn.ops              the units as PyTorch ops
stpn.figures          what the figures share: files, and names at the ends of lines
stpn.films            what the films share: a run, its trace, its STPN that runs again
stpn.kinds            what tables and figures show of supervised and of reinforcement-learning runs
stpn.learning_curves  a table and a picture of runs:  python -m stpn.learning_curves RUN_DIR...
stpn.maze_picture     a picture of an episode:        python -m stpn.maze_picture TRACE.json
stpn.pendulum_film    a film of an episode:           python -m stpn.pendulum_film RUN TRACE.json
stpn.pong_film        a film of an Atari game:        python -m stpn.pong_film RUN TRACE.json
stpn.report           one page of runs:              python -m stpn.report FOLDER... --out PAGE.html
stpn.reproduction     table and figures of many runs:  python -m stpn.report           one page of runs:              python -m stpn.report FOLDER... --out PAGE.html
stpn.reproduction FOLDER
stpn.run_sets         finds runs in folders and groups them by set and model
stpn.runs             reads runs, finished or not
stpn.styles           how a model is drawn: colour, line, marker
"""

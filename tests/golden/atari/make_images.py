"""Makes images.json: screens of Atari games, and what OpenCV makes of them in both modes of our tasks.

python tests/golden/atari/make_images.py -o tests/golden/atari/images.json

Needs ale-py 0.12.1, numpy and opencv-python-headless; the file has the version it was made with (4.14.0 and
5.0.0 give the same bytes). Nothing of ours is used. Screens are pairs, the last but one and the last, of
indices into the palette; those of real games are stored, those made up are formulas that the test repeats.
"""

import argparse
import base64
import json
import pathlib

import ale_py
import cv2
import numpy
from ale_py import roms

HEIGHT, WIDTH, SIZE = 210, 160, 84


def text(array):
    """Run-length encoded, in base64."""
    runs, flat, at = bytearray(), array.ravel(), 0
    while at < flat.size:
        length = 1
        while length < 255 and at + length < flat.size and flat[at + length] == flat[at]:
            length += 1
        runs += bytes([length, flat[at]])
        at += length
    return base64.b64encode(runs).decode()


def load(game):
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0)
    ale.loadROM(roms.get_rom_path(game))
    return ale


def play(game, frames):
    """The last two screens of some frames with changing actions, and the colours in them as ALE has them."""
    ale, colours = load(game), numpy.zeros((256, 4), numpy.uint8)
    actions, screens = ale.getMinimalActionSet(), []
    for frame in range(frames):
        ale.act(actions[frame * frame // 40 % len(actions)])
        screens.append(ale.getScreen().copy())
        colours[screens[-1], :3], colours[screens[-1], 3] = ale.getScreenRGB(), ale.getScreenGrayscale()
    return screens[-2], screens[-1], colours


def formula(kind):
    y, x = numpy.mgrid[:HEIGHT, :WIDTH]
    value = {0: (x * x * 7 + y * 13 + x * y * 3) // 5 % 256,      # no two neighbours are equal
             1: (x // 3 + y // 2) % 2 * 255,                      # black and white
             2: (x * 31 + y * 17) % 11 + y % 7 * 20,
             3: y % 5 * 40 + 0 * x}[kind]                         # equal columns
    return value.astype(numpy.uint8)


def luma(before, last, grey):
    return cv2.resize(numpy.maximum(grey[before], grey[last]), (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def channels(last, colours):
    """Each channel; the mean of the three is not OpenCV's."""
    return cv2.resize(colours[last][25:-25], (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", required=True)
    out = parser.parse_args().out
    # Colours of made-up screens: index k is k, k * 3, k * 7 and for grey k, modulo 256.
    plain = numpy.array([[k, k * 3 % 256, k * 7 % 256, k] for k in range(256)], numpy.uint8)
    cases = []
    for kind in range(4):
        last, before = formula(kind), formula(kind)[::-1]
        cases.append({"formula": kind, "luma": text(luma(before, last, plain[:, 3])),
                      "channels": [text(c) for c in channels(last, plain[:, :3]).transpose(2, 0, 1)]})
    for game, frames in (("pong", 250), ("breakout", 90), ("ms_pacman", 400)):
        before, last, colours = play(game, frames)
        cases.append({"game": game, "before": text(before), "last": text(last),
                      "palette": {str(k): colours[k].tolist() for k in numpy.union1d(before, last)},
                      "luma": text(luma(before, last, colours[:, 3])),
                      "channels": [text(c) for c in channels(last, colours[:, :3]).transpose(2, 0, 1)]})
    golden = {"opencv": cv2.__version__, "ale": ale_py.__version__, "cases": cases}
    pathlib.Path(out).write_text(json.dumps(golden, indent=0) + "\n")


if __name__ == "__main__":
    main()

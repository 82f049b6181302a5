"""Keeps one command for each source in compile_commands.json, the first, without options that only GCC has.

clang-tidy runs once for each command, and the kernels' sources are compiled several times: for each
type and layout. Their headers are the same, and so are the findings.
"""

import json
import sys

ONLY_GCC = (" -fschedule-insns", " -fsched-pressure")

path = sys.argv[1]
with open(path, encoding="utf-8") as file:
    commands = json.load(file)
first = {}
for command in commands:
    for option in ONLY_GCC:
        command["command"] = command["command"].replace(option, "")
    first.setdefault(command["file"], command)
with open(path, "w", encoding="utf-8") as file:
    json.dump(list(first.values()), file, indent=1)

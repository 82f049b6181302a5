"""Files in the safetensors format, as the program's checkpoints are, without the package of that name."""

import json
import struct
from pathlib import Path
from typing import Any


def read(path: Path) -> tuple[dict[str, Any], bytearray]:
    """The header, by name of a tensor its dtype, shape and data_offsets, and the bytes of all tensors.

    Raises OSError if the file cannot be read, ValueError if it is not in this format.
    """
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else 0
    header = json.loads(content[8:8 + size])
    data = bytearray(content[8 + size:])
    for name, entry in header.items():
        if name != "__metadata__" and entry["data_offsets"][1] > len(data):
            raise ValueError(f"{name} is cut off")
    return header, data


def packed(header: dict[str, Any], data: bytes | bytearray) -> bytes:
    """The content of a file with this header and these bytes."""
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data

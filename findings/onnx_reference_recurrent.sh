#!/usr/bin/env bash
# onnx 1.23.2: its reference evaluator runs RNN, GRU and LSTM as if some inputs and attributes were not there:
# sequence_lens, clip and, of the LSTM, input_forget change nothing, and neither do the activations of GRU and LSTM.
# There is no warning. RNN knows its activations but refuses most of them. direction, peepholes, initial states and
# linear_before_reset work.
#
# So the evaluator that defines what a model should give cannot check a recurrent network on padded batches. ONNX Runtime
# 1.32.0 follows all five; compare with that.
#
# Fails if that changes. Needs python3 with venv; installs into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat >recurrent.py <<'CODE'
import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

STEPS, BATCH, INPUTS, HIDDEN = 5, 3, 2, 4
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
LENGTHS = np.array([5, 2, 3], np.int32)


def outputs(op, attributes, lengths=None):
    """Of ONNX Runtime and of the reference evaluator, with the same weights each time."""
    draw = np.random.default_rng(0)
    rows = GATES[op] * HIDDEN
    tensors = {"W": draw.normal(size=(1, rows, INPUTS)), "R": draw.normal(size=(1, rows, HIDDEN)),
               "B": draw.normal(size=(1, 2 * rows))}
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()]
    if lengths is not None:
        constants.append(numpy_helper.from_array(lengths, "lengths"))
    node = helper.make_node(op, ["X", "W", "R", "B"] + (["lengths"] if lengths is not None else []), ["Y"],
                            hidden_size=HIDDEN, **attributes)
    graph = helper.make_graph(
        [node], op, [helper.make_tensor_value_info("X", TensorProto.FLOAT, [STEPS, BATCH, INPUTS])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [STEPS, 1, BATCH, HIDDEN])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    checker.check_model(model, full_check=True)
    inputs = {"X": draw.normal(size=(STEPS, BATCH, INPUTS)).astype(np.float32)}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0], ReferenceEvaluator(model).run(None, inputs)[0]


plain = {op: outputs(op, {}) for op in GATES}
for op, what, attributes, lengths in (
        ("RNN", "sequence_lens", {}, LENGTHS), ("GRU", "sequence_lens", {}, LENGTHS),
        ("LSTM", "sequence_lens", {}, LENGTHS), ("RNN", "clip", {"clip": 0.5}, None),
        ("GRU", "clip", {"clip": 0.5}, None), ("LSTM", "clip", {"clip": 0.5}, None),
        ("GRU", "activations", {"activations": ["Tanh", "Tanh"]}, None),
        ("LSTM", "activations", {"activations": ["Tanh", "Tanh", "Tanh"]}, None),
        ("LSTM", "input_forget", {"input_forget": 1}, None)):
    says = ["the same" if np.array_equal(without, given) else "other numbers"
            for without, given in zip(plain[op], outputs(op, attributes, lengths))]
    print(f"{op} with {what}: runtime {says[0]}, reference {says[1]}")
CODE
seen=$(venv/bin/python recurrent.py)
echo "$seen"
wanted="RNN with sequence_lens: runtime other numbers, reference the same
GRU with sequence_lens: runtime other numbers, reference the same
LSTM with sequence_lens: runtime other numbers, reference the same
RNN with clip: runtime other numbers, reference the same
GRU with clip: runtime other numbers, reference the same
LSTM with clip: runtime other numbers, reference the same
GRU with activations: runtime other numbers, reference the same
LSTM with activations: runtime other numbers, reference the same
LSTM with input_forget: runtime other numbers, reference the same"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }

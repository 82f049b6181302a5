"""The options of each unit, for type checkers and readers. Made by make_options.py from the signatures
of the op library, where names, defaults and choices stand: do not edit."""

from typing import Literal, TypedDict


class STPNOptions(TypedDict, total=False):
    """Options of `STPN`."""

    # what the norm of each neuron's efficacies divides: the pre-activation and the fast weights
    # as they enter their update (pre), the pre-activation and the new fast weights (post), the
    # pre-activation only (preactivation), nothing (none). Default: 'pre'
    norm: Literal["none", "preactivation", "pre", "post"]
    # bound of the fast weights; inf: none. Set it where norm is none or post. Default: none
    clamp: float | None
    # synapses that have fast weights. Default: 'all'
    connections: Literal["all", "input", "recurrent"]
    # what the fast weights learn: the product of activities (hebb), that less what they already
    # predict (oja), or what the slow weights make of the inputs less what they already recall
    # (delta). Default: 'hebb'
    rule: Literal["hebb", "oja", "delta"]
    # whether only old fast weights decay (before_update) or what was just learnt too
    # (after_update). Default: 'before_update'
    decay: Literal["before_update", "after_update"]
    # recurrent activity in the Hebbian term: h[t-1] (previous, the paper) or h[t] (current, the
    # published retrieval code). Default: 'previous'
    presynaptic: Literal["previous", "current"]
    # activation function of the neurons. Default: 'tanh'
    activation: Literal["tanh", "sigmoid", "relu", "identity"]


class STPNFeedforwardOptions(TypedDict, total=False):
    """Options of `STPNFeedforward`."""

    # what the norm of each neuron's efficacies divides: the pre-activation and the fast weights
    # as they enter their update (pre), the pre-activation and the new fast weights (post), the
    # pre-activation only (preactivation), nothing (none). Default: 'pre'
    norm: Literal["none", "preactivation", "pre", "post"]
    # bound of the fast weights; inf: none. Set it where norm is none or post. Default: none
    clamp: float | None
    # what the fast weights learn: the product of activities (hebb), that less what they already
    # predict (oja), or what the slow weights make of the inputs less what they already recall
    # (delta). Default: 'hebb'
    rule: Literal["hebb", "oja", "delta"]
    # whether only old fast weights decay (before_update) or what was just learnt too
    # (after_update). Default: 'before_update'
    decay: Literal["before_update", "after_update"]
    # activation function of the neurons. Default: 'tanh'
    activation: Literal["tanh", "sigmoid", "relu", "identity"]


class FastWeightsOptions(TypedDict, total=False):
    """Options of `FastWeights`."""

    # how often the fast weights act within a step; cost grows with it. Default: 1
    inner_steps: int
    # what stays of the fast weights at each step, fixed; less forgets sooner. Default: 0.9
    decay: float
    # how much of each activity the fast weights learn, fixed. Default: 0.5
    rate: float


class BackpropamineOptions(TypedDict, total=False):
    """Options of `Backpropamine`."""

    # what writes the plastic part: a modulator computed from the activity (modplast), a learned
    # constant (plastic), or the modulator by way of an eligibility trace, which bridges delays
    # (modul). Default: 'modplast'
    neuromodulation: Literal["modplast", "plastic", "modul"]
    # how it is written: with a hard bound (clamp), a soft one (soft_clamp), none (additive), or
    # in place of what is there (decaying). Default: 'clamp'
    addition: Literal["clamp", "soft_clamp", "additive", "decaying"]
    # activation function of the modulator; unused with plastic. Default: 'tanh'
    modulator: Literal["tanh", "sigmoid", "linear"]

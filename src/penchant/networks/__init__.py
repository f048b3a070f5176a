"""Parts of trainable networks: sequence backbones, content networks, item tokens, losses and the training loop."""

from __future__ import annotations

from penchant.core.registry import Table

BACKBONES = Table(
    "backbone",
    {
        "transformer": "penchant.networks.backbones:Transformer",
        "ligr": "penchant.networks.backbones:LiGR",
        "gru": "penchant.networks.backbones:GRU",
        "lstm": "penchant.networks.backbones:LSTM",
        "rnn": "penchant.networks.backbones:RNN",
        "cnn": "penchant.networks.backbones:CNN",
        "mean": "penchant.networks.backbones:Mean",
    },
    group="penchant.backbones",
    base="penchant.networks.backbones:Backbone",
    extras={"torch": "networks"},
)

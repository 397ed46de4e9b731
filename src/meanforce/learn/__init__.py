"""Learning: one verb, `fit`, and priors read from the data."""

from meanforce.learn.curve import TrainingHistory
from meanforce.learn.fit import fit
from meanforce.learn.lastlayer import last_layer
from meanforce.learn.posterior import Posterior, Spread
from meanforce.learn.priors import priors
from meanforce.learn.result import Fit, History, Outcome
from meanforce.learn.score import Score
from meanforce.learn.training import Training
from meanforce.learn.tuning import tuned

__all__ = [
    "Fit",
    "History",
    "Outcome",
    "Posterior",
    "Score",
    "Spread",
    "Training",
    "TrainingHistory",
    "fit",
    "last_layer",
    "priors",
    "tuned",
]

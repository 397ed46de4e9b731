"""Learning: one verb, `fit`, and priors read from the data."""

from meanforce.learn.fit import fit
from meanforce.learn.posterior import Posterior
from meanforce.learn.priors import priors
from meanforce.learn.result import Fit, History, Outcome, Score

__all__ = ["Fit", "History", "Outcome", "Posterior", "Score", "fit", "priors"]

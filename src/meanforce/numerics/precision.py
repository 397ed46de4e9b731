"""Double precision is on: normal equations and response functions are worthless without it.

Every array of the package follows the precision of what it is given; simulations choose theirs.
"""

import jax

jax.config.update("jax_enable_x64", True)

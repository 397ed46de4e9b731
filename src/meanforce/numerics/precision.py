"""Double precision is on: normal equations and response functions are worthless without it.

Every array of the package follows the precision of what it is given; simulations and fits choose theirs. Compiled
programs are kept from here on, too.
"""

import jax

from meanforce.numerics import compilation

compilation.keep()
jax.config.update("jax_enable_x64", True)

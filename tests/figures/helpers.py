"""What tests of figures share."""

import numpy as np
from matplotlib.image import AxesImage


def grey(*values, side=4):
    """One-channel images, each of one grey."""
    return np.array(values, np.uint8)[:, None, None, None].repeat(side, 2).repeat(side, 3)


def picture(axes):
    (drawn,) = (child for child in axes.get_children() if isinstance(child, AxesImage))
    return np.asarray(drawn.get_array())

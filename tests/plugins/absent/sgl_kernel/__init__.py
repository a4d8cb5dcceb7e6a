"""A stand-in (see `stand_in.py`)."""

from stand_in import stand_in

__version__ = "0.29.1"
stand_in(__name__)

"""telechat: the whole life of the TeleChat2.5 and TeleChat3-Coder models, as one package."""

__version__ = "0.1.0"

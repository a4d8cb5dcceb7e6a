"""How the model learns: one trainer, the losses, one file for each stage."""

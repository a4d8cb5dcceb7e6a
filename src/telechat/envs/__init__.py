"""Where the model acts: rollouts over tasks and their tools."""

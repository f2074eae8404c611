"""Pure judgement: from what was observed to phase, conditions, the next step, an experiment's verdict."""

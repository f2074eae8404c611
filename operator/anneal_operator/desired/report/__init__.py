"""What people and other systems read of an ABExperiment: a page and a verdict, made from what its status has told."""

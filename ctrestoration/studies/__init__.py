"""Studies: many trainings whose results stand in one table. Each can be killed and goes on where it was."""

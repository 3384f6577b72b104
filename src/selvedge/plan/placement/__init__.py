"""Where GPUs go next: sites for them, with a bound that says how good the choice is."""

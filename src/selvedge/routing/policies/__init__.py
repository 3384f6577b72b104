"""The policies, as a table: ours, and those it is compared with."""

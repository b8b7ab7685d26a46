"""From what a user types to checked values: schema of a notebook, tiers, constraints."""

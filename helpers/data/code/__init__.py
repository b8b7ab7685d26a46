"""Code pairs of CodePMP: functions, descriptions, and copyists that make errors."""

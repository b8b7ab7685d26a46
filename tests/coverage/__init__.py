"""Does a nominal 95 % interval hold the truth in 95 % of simulated experiments?"""

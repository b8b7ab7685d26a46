"""What leaves the project: cards for the hub, and notebooks for Colab."""

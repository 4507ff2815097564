"""What a scene costs: how much CPU and room it will take, in money, and whether that is within its budget."""

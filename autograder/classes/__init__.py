"""What a class is beside its exercises: who is in it, what they handed in, when it was due, what they got."""

"""What a survey asked, who answered, what is doubtful about it, and the weights that follow."""

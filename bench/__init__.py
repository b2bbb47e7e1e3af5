"""Speed of every step beside that of what people use today: make bench."""

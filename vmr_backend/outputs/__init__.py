"""What a run leaves for people to look at: the overlay movie, the contact sheet and the report."""

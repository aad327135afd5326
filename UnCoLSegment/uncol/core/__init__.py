"""What engine and panel share, on numpy alone: everybody may enter, and the panel enters no other room."""

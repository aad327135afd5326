"""One result as a page with figures; plotting is loaded when it draws. Demo, benchmark and above may enter."""
